package rules

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func specs(t *testing.T, text string) []RuleSpec {
	t.Helper()
	var s []RuleSpec
	if err := yaml.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUsersRules(t *testing.T) {
	c := problem.Builtin()
	rules, defs, err := FromSpecs(specs(t, `
- kind: AcmeDriverStuck
  condition: AcmeHealthy
  severity: critical
  sources: [kernel]
  pattern: 'acme (?P<device>\w+): stuck'
  exclude: 'by design'
  count: 2
  within: 1m
  quiet: 10m
  subject: '{device}'
  message: 'the driver of {device} is stuck'
- kind: AcmeDriverStuck
  condition: AcmeHealthy
  quiet: 10m
  pattern: acme driver gave up
- kind: TaskHung
  severity: warning
  pattern: my own words
- kind: AcmePeersLost
  pattern: 'lost peer (?P<peer>\w+)'
  count: 3
  within: 1m
  distinct: peer
- kind: AcmeStarting
  pattern: acme is still starting
  within: 1m
  lasting: 10m
`), c)
	if err != nil {
		t.Fatal(err)
	}
	if want := (problem.Count{N: 3, Within: time.Minute, Distinct: "peer"}); rules[3].Logs != want || defs[1].Logs.Distinct != "" {
		t.Errorf("%+v, %+v", rules[3].Logs, defs[1].Logs)
	}
	if want := (problem.Count{N: 1, Within: time.Minute, Lasting: 10 * time.Minute}); rules[4].Logs != want {
		t.Errorf("%+v", rules[4].Logs)
	}
	if len(defs) != 3 || defs[0].Condition != "AcmeHealthy" || defs[0].Severity != problem.Critical ||
		defs[0].Logs != (problem.Count{N: 2, Within: time.Minute}) || defs[0].QuietTime() != 10*time.Minute {
		t.Fatalf("%+v", defs)
	}
	if c, err = c.With(defs...); err != nil {
		t.Fatal(err)
	}
	set, err := Compile(BuiltinUnits(), append(Builtin(), rules...))
	if err != nil {
		t.Fatal(err)
	}
	r := journal.Record{Kernel: true, Message: []byte("acme x1: stuck")}
	got := set.Match(&r)
	if len(got) != 1 || got[0].Subject != "x1" || got[0].Message != "the driver of x1 is stuck" || got[0].Logs.N != 2 {
		t.Fatalf("%+v", got)
	}
	if _, ok := c.Get(got[0].Kind); !ok {
		t.Error("the kind is not defined")
	}
	for _, no := range []journal.Record{
		{Kernel: true, Message: []byte("acme x1: stuck by design")},
		{Identifier: "sshd", Message: []byte("acme x1: stuck")},
	} {
		if got := set.Match(&no); len(got) != 0 {
			t.Errorf("%+v", got)
		}
	}
	r = journal.Record{Identifier: "x", Message: []byte("these are my own words here")}
	if got := set.Match(&r); len(got) != 1 || got[0].Kind != problem.TaskHung || got[0].Severity != problem.Warning || got[0].Message != string(r.Message) {
		t.Errorf("%+v", got)
	}
}

func TestMistakesInUsersRules(t *testing.T) {
	for _, tc := range []struct{ spec, field, want string }{
		{`- {pattern: a}`, "kind", "is missing"},
		{`- {kind: my_kind, pattern: a}`, "kind", "CamelCase"},
		{`- {kind: Mine}`, "pattern", "is missing"},
		{`- {kind: Mine, pattern: '('}`, "pattern", "missing closing"},
		{`- {kind: Mine, pattern: a, exclude: '['}`, "exclude", "missing closing"},
		{`- {kind: Mine, pattern: a, severity: fatal}`, "severity", `unknown severity "fatal"`},
		{`- {kind: Mine, pattern: a, sources: [kubelet, dokcer]}`, "sources", `unknown source "dokcer"`},
		{`- {kind: Mine, pattern: a, count: 3}`, "within", "is missing"},
		{`- {kind: Mine, pattern: a, count: -1}`, "count", "not from 1"},
		{`- {kind: Mine, pattern: a, within: -1s}`, "within", "negative"},
		{`- {kind: Mine, pattern: a, message: '{x}'}`, "message", "no capture"},
		{`- {kind: Mine, pattern: a, count: 2, within: 1m, distinct: x}`, "distinct", "no capture"},
		{`- {kind: Mine, pattern: '(?P<x>a)', within: 1m, distinct: x}`, "count", "is missing"},
		{`- {kind: Mine, pattern: '(?P<x>a)', count: 2, within: 1m, distinct: x, lasting: 1m}`, "lasting", "does not go with distinct"},
		{`- {kind: Mine, pattern: a, lasting: 1m}`, "within", "is missing"},
		{`- {kind: Mine, pattern: a, lasting: -1m}`, "lasting", "negative"},
		{`- {kind: Mine, pattern: a, apart: -1m}`, "apart", "negative"},
		{`- {kind: Mine, pattern: a, apart: 1m}`, "count", "is missing"},
		{`- {kind: Mine, pattern: '(?P<x>a)', count: 2, within: 5m, distinct: x, apart: 1m}`, "apart", "does not go with distinct"},
		{`- {kind: Mine, pattern: a, count: 7, within: 5m, apart: 1m}`, "within", "no room for 7 lines"},
		{`- {kind: Mine, pattern: a, condition: 'x y'}`, "condition", "CamelCase"},
		{`- {kind: TaskHung, pattern: a, condition: Mine}`, "condition", "kind of the catalogue"},
		{`- {kind: TaskHung, pattern: a, quiet: 1m}`, "quiet", "kind of the catalogue"},
		{"- {kind: Mine, pattern: a}\n- {kind: Mine, pattern: b, condition: Other}", "condition", "another condition"},
	} {
		list := specs(t, tc.spec)
		_, _, err := FromSpecs(list, problem.Builtin())
		var re *RuleError
		if !errors.As(err, &re) || re.Field != tc.field || re.Index != len(list)-1 || !strings.Contains(re.Error(), tc.want) {
			t.Errorf("%s: %v", tc.spec, err)
		}
	}
}
