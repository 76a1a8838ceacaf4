package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/report"
	"github.com/nodevitals/nodevitals/internal/report/kube"
)

// This file lets log lines and names try to be more than data: to steer a
// terminal, to forge lines, series, labels and records, to show a secret, to take
// all the room there is. They go through the whole agent, to all that it shows.

// hostilePassword must be shown nowhere.
const hostilePassword = "hunter2-hunter2"

// hostileTexts are what a pod, an image or a process may be called or may log.
func hostileTexts() []string {
	return []string{
		"\x1b[2J\x1b]0;owned\x07\x1b[31mred", "\u009b31mred\u009d0;owned\u009c", "del\x7f\x08\x08back", "\u202egnp.exe\u2066", "\u2028line\u2029paragraph\u0085next",
		"\r\nCRITICAL  ForgedKind  forged\r\n", "\nlevel=ERROR msg=forged kind=ForgedKind\n", "\n# HELP forged x\nnodevitals_problem{kind=\"ForgedKind\"} 1\n",
		`x",kind="ForgedKind",severity="critical"} 1`, `back\slash\`, `{"kind":"ForgedKind"}`, "</pre><script>forged()</script>", "{{.Node}} {device} %s %!d(x)",
		"\xff\xfe\xc3(", "\x00nul\x00", "😀\U000e0041tag", strings.Repeat("A", 100_000), strings.Repeat("\u202e", 10_000),
		"https://bob:" + hostilePassword + "@registry/", "password=" + hostilePassword, "Authorization: Bearer " + hostilePassword,
	}
}

// shows is all that is shown of a snapshot, by where.
func shows(t *testing.T, p *player, s *problem.Snapshot) map[string]string {
	t.Helper()
	var text, doc, metrics, log bytes.Buffer
	if err := report.Text(&text, s, p.state.agent.catalogue, report.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := report.JSON(&doc, s); err != nil {
		t.Fatal(err)
	}
	if err := report.Prometheus(&metrics, s); err != nil {
		t.Fatal(err)
	}
	own := slog.New(slog.NewTextHandler(&log, nil))
	logChanges(own, nil, s.Problems)
	logChanges(own, s.Problems, nil)
	var conditions, events strings.Builder
	for _, c := range kube.Conditions(s, kube.ConditionOptions{NPDTypes: true}) {
		fmt.Fprintf(&conditions, "%s %s\n", c.Reason, c.Message)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(&events, "%s\n", kube.Note(p))
	}
	return map[string]string{
		"text": text.String(), "JSON": doc.String(), "metrics": metrics.String(), "log": log.String(), "conditions": conditions.String(), "events": events.String(),
	}
}

// TestHostileText: whatever stands in log lines, and whatever things are called,
// is shown as data.
func TestHostileText(t *testing.T) {
	in := incident{Node: "healthy-k6.12", Look: 2 * time.Minute, Config: `
rules:
  - {kind: Told, pattern: '(?s)fault of (?P<what>.*)', subject: '{what}', message: 'a fault of {what}', severity: critical, condition: Trouble}
`}
	for i, text := range hostileTexts() {
		in.Logs = append(in.Logs, wroteLine{At: time.Minute, From: "kubelet", Line: "fault of " + text})
		if strings.Contains(text, hostilePassword) {
			continue // secrets are looked for in log lines
		}
		in.Sees = append(in.Sees, sight{
			Kind: problem.MountNotAnswering, Subject: fmt.Sprint("/mnt/", i, text), Message: "hangs: " + text, Evidence: []string{text},
			Holders: []problem.Holder{{Owner: "pod " + text, Process: text, Amount: 1}}, Touches: []problem.Ref{problem.Ref("mount:" + text)},
		})
	}
	in.Blind = map[string]string{"threads": "cannot read " + hostileTexts()[0] + strings.Repeat("B", 100_000)}
	p := newPlayer(t, t.TempDir(), in)
	s := p.play()
	if len(s.Problems) < 30 {
		t.Fatalf("only %d problems are told", len(s.Problems))
	}
	s.Host.Node, s.Host.OS = hostileTexts()[0], hostileTexts()[5]
	all := shows(t, p, s)
	for where, out := range all {
		if !utf8.ValidString(out) {
			t.Errorf("%s: not UTF-8", where)
		}
		for _, r := range out {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%s: %q came through", where, r)
				break
			}
		}
		for line := range strings.Lines(out) {
			for _, begin := range []string{"CRITICAL  ForgedKind", "level=ERROR", "# HELP forged", `nodevitals_problem{kind="ForgedKind"`} {
				if strings.HasPrefix(line, begin) {
					t.Errorf("%s: a line was forged: %s", where, line)
				}
			}
			if len(line) > 32<<10 {
				t.Errorf("%s: a line of %d bytes: %.100s…", where, len(line), line)
			}
		}
		if strings.Contains(out, hostilePassword) {
			t.Errorf("%s: a secret is shown", where)
		}
	}
	checkSeries(t, all["metrics"])
	var back problem.Snapshot
	if err := json.Unmarshal([]byte(all["JSON"]), &back); err != nil || len(back.Problems) != len(s.Problems) {
		t.Errorf("the JSON report cannot be read: %v", err)
	}
	for _, c := range kube.Conditions(s, kube.ConditionOptions{}) {
		if len(c.Message) > 1024 {
			t.Errorf("condition %s: a message of %d bytes", c.Type, len(c.Message))
		}
	}
	for _, p := range s.Problems {
		if n := kube.Note(p); len(n) > 1024 {
			t.Errorf("an Event's note of %d bytes", len(n))
		}
	}
	state, err := encodeState("boot", 0, p.state.cursors, p.state.tracker, nil)
	if err != nil || bytes.Contains(state, []byte(hostilePassword)) {
		t.Errorf("the state file holds a secret, or: %v", err)
	}
}

// checkSeries: the metrics can be read, and hold no series or label but ours.
func checkSeries(t *testing.T, text string) {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range families {
		if !strings.HasPrefix(name, "nodevitals_") {
			t.Errorf("family %s was forged", name)
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "kind" && l.GetValue() == "ForgedKind" {
					t.Errorf("%s: a label was forged", name)
				}
				if n := utf8.RuneCountInString(l.GetValue()); n > 401 {
					t.Errorf("%s: a label of %d runes", name, n)
				}
			}
		}
	}
	for _, m := range families["nodevitals_problem"].GetMetric() {
		if len(m.GetLabel()) != 3 {
			t.Errorf("nodevitals_problem has labels %v", m.GetLabel())
		}
	}
}
