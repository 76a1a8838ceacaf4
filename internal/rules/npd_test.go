package rules

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func readNPD(t testing.TB, file string) *NPD {
	t.Helper()
	raw, err := os.ReadFile("testdata/npd/" + file)
	if err != nil {
		t.Fatal(err)
	}
	n, err := ParseNPD(file, raw)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func parseNPD(t testing.TB, config string) *NPD {
	t.Helper()
	n, err := ParseNPD("x.json", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func compileNPD(t testing.TB, n *NPD) *Set {
	t.Helper()
	s, err := Compile(BuiltinUnits(), n.Rules())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func kmsg(line string) *journal.Record {
	return &journal.Record{Source: "kmsg", Kernel: true, Message: []byte(line)}
}

func TestNPDKeys(t *testing.T) {
	n := readNPD(t, "kernel.json")
	if n.Plugin != "kmsg" || n.LogPath != "" || n.Lookback != 5*time.Minute || n.Delay != 30*time.Second ||
		n.BufferSize != 10 || n.SkipList[0] != "harmless" || n.Source != "kernel-monitor" || !n.Metrics ||
		n.Conditions[0] != (NPDCondition{"AcmeDeadlock", "AcmeHasNoDeadlock", "the acme driver has no deadlock"}) || len(n.Patterns) != 5 {
		t.Errorf("%+v", n)
	}
	defs, err := n.Kinds(problem.Builtin(), 20*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range defs {
		got = append(got, fmt.Sprintf("%s %q %v %v", d.Kind, d.Condition, d.Severity, d.QuietTime()))
	}
	want := `AcmeHiccup "" info 15m0s, AcmeWarning "" info 15m0s, AcmeStuck "AcmeDeadlock" critical 20m0s, AcmeTrace "AcmeDeadlock" critical 20m0s`
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
	if _, err := problem.Builtin().With(defs...); err != nil {
		t.Error(err)
	}
}

func TestNPDMatchesAtTheEndOfALine(t *testing.T) {
	set := compileNPD(t, readNPD(t, "kernel.json"))
	for _, tc := range []struct {
		line string
		want problem.Kind
	}{
		{"xx acme: hiccup 12", "AcmeHiccup"},
		{"xx acme: hiccup 12 and more", ""},
		{"acme: task a is stuck", "AcmeStuck"},
		{"acme: task a is stuck.", ""},
		{"harmless acme: task a is stuck", ""},
		{"acme calls it hung", problem.TaskHung},
		{"acme: begin trace", ""},
	} {
		got := set.Match(kmsg(tc.line))
		if tc.want == "" && len(got) > 0 || tc.want != "" && (len(got) != 1 || got[0].Kind != tc.want) {
			t.Errorf("%q: %+v, want %q", tc.line, got, tc.want)
		}
	}
	if got := set.Match(kmsg("acme: warning of x")); got[0].Message != "acme: warning of x; see the manual" {
		t.Errorf("message %q", got[0].Message)
	}
	if got := set.Match(&journal.Record{Identifier: "app", Message: []byte("acme: hiccup 1")}); len(got) > 0 {
		t.Error("a kmsg rule read what is not the kernel's")
	}
}

func TestNPDAlternativesEndAsTheyStand(t *testing.T) {
	set := compileNPD(t, parseNPD(t, `{"plugin":"kmsg","rules":[{"type":"temporary","reason":"R","pattern":".*alpha fault|beta fault"}]}`))
	for line, want := range map[string]bool{"x alpha fault y": true, "x beta fault y": false, "x beta fault": true} {
		if got := len(set.Match(kmsg(line))) > 0; got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestNPDMultiline(t *testing.T) {
	b, err := readNPD(t, "kernel.json").Buffer(BuiltinUnits())
	if err != nil || b == nil {
		t.Fatal(b, err)
	}
	feed := func(lines ...string) (got []problem.Claim) {
		for _, l := range lines {
			got = append(got, b.Add(kmsg(l), nil, now)...)
		}
		return got
	}
	if got := feed("x acme: begin trace", "a", "b"); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	// A line of somebody else does not come in between.
	b.Add(&journal.Record{Identifier: "app", Message: []byte("c")}, nil, now)
	got := feed("acme: end trace")
	if len(got) != 1 || got[0].Kind != "AcmeTrace" || got[0].Message != "x acme: begin trace a b acme: end trace" {
		t.Fatalf("%+v", got)
	}
	if got := feed("d"); len(got) != 0 {
		t.Errorf("matched again: %+v", got)
	}
	feed("acme: begin trace", "1", "2", "3", "4", "5", "6", "7", "8", "9")
	if got := feed("acme: end trace"); len(got) != 0 {
		t.Errorf("matched over more lines than the buffer has: %+v", got)
	}
	for range 200 { // many times as much as is kept
		feed(strings.Repeat("y", 100000))
	}
	total := cap(b.joined)
	for _, l := range b.lines {
		total += cap(l)
	}
	if len(b.lines) != 10 || total > 4*10*maxBufferLine {
		t.Errorf("%d lines, %d bytes are kept", len(b.lines), total)
	}
	// Lines of a log file: only the kernel's, with or without a look at them before.
	for _, l := range []string{"Nov 22 10:00:00 n1 kernel: acme: begin trace", "Nov 22 10:00:00 n1 app[1]: c", "of nobody knows who", "Nov 22 10:00:00 n1 kernel: [    1.000000] acme: end trace"} {
		got = b.Add(&journal.Record{Source: "/var/log/messages", Message: []byte(l)}, []byte(l), now)
	}
	if len(got) != 1 || got[0].Message != "acme: begin trace acme: end trace" {
		t.Errorf("%+v", got)
	}
	if b, _ := parseNPD(t, `{"plugin":"kmsg","rules":[{"type":"temporary","reason":"R","pattern":"one line"}]}`).Buffer(nil); b != nil {
		t.Error("a buffer for nothing")
	}
}

func TestNPDFilelog(t *testing.T) {
	n := parseNPD(t, `{"plugin":"filelog","logPath":"/var/log/acme.log","bufferSize":1,"pluginConfig":{
		"timestamp":"^.{15}","timestampFormat":"Jan _2 15:04:05","message":"acmed: \\[.*\\] (.*)"},
		"rules":[{"type":"temporary","reason":"AcmeDown","pattern":"^down"}, {"type":"temporary","reason":"AcmeUp","pattern":"is up"}]}`)
	set := compileNPD(t, n)
	b, err := n.Buffer(BuiltinUnits())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		file, line string
		up, down   int
	}{
		{"/var/log/acme.log", "Nov 22 10:00:00 n1 acmed: [x] it is up", 1, 0},
		{"/var/log/acme.log", "Nov 22 10:00:00 n1 other: [x] it is up", 0, 0},
		{"/var/log/other.log", "Nov 22 10:00:00 n1 acmed: [x] it is up", 0, 0},
	} {
		r := &journal.Record{Source: tc.file, Message: []byte(tc.line)}
		if got := set.MatchText(r, now, Any); len(got) != tc.up {
			t.Errorf("%s %s: %+v", tc.file, tc.line, got)
		}
	}
	// ^ is where the buffer begins, as it is there.
	r := &journal.Record{Source: "/var/log/acme.log", Message: []byte("Nov 22 10:00:00 n1 acmed: [x] down")}
	if got := b.Add(r, r.Message, now); len(got) != 1 || got[0].Kind != "AcmeDown" {
		t.Errorf("%+v", got)
	}
}

func TestNPDJournald(t *testing.T) {
	set := compileNPD(t, parseNPD(t, `{"plugin":"journald","pluginConfig":{"source":"dockerd"},"logPath":"/var/log/journal","lookback":"",
		"rules":[{"type":"temporary","reason":"R","pattern":"image is corrupt.*"}]}`))
	for id, want := range map[string]bool{"dockerd": true, "kubelet": false} {
		r := &journal.Record{Source: "journal", Identifier: id, Message: []byte("the image is corrupt: x")}
		if got := len(set.Match(r)) > 0; got != want {
			t.Errorf("%s: %v", id, got)
		}
	}
}

func TestNPDMistakes(t *testing.T) {
	const rule = `"rules":[{"type":"temporary","reason":"R","pattern":"p"}]`
	for _, tc := range []struct{ config, want string }{
		{"{\n\"plugin\":\"custom\"}", `x.json:2: plugin "custom" runs other programs`},
		{"{\"plugin\":\"kmsg\",\n\"bufferSzie\":1,\n" + rule + "}", `x.json:2: unknown key "bufferSzie"`},
		{"{\"plugin\":\"kmsg\",\n\"bufferSize\":-1,\n" + rule + "}", `x.json:2: a number from 0 to 1000 was expected`},
		{"{\"plugin\":\"kmsg\",\n\"lookback\":\"5 min\",\n" + rule + "}", `x.json:2: "5 min" is no duration`},
		{"{\"plugin\":\"eventlog\"," + rule + "}", `x.json:1: plugin "eventlog" is not known`},
		{"{\"plugin\":\"journald\"," + rule + "}", `x.json:1: pluginConfig of journald lacks "source"`},
		{"{\"plugin\":\"filelog\",\"pluginConfig\":{\"message\":\"(\"}," + rule + "}", `x.json:1: "logPath" is missing`},
		{"{\"plugin\":\"filelog\",\"logPath\":\"/x\",\n\"pluginConfig\":{\"message\":\".*\",\"timestamp\":\"^.{15}\"}," + rule + "}", `x.json:2: "timestamp" and "timestampFormat" go together`},
		{"{\"plugin\":\"filelog\",\"logPath\":\"/x\",\"pluginConfig\":{\"message\":\".*\",\"timestamp\":\"^.{15}\",\n\"timestampFormat\":\"%b %d\"}," + rule + "}", `x.json:2: "%b %d" holds no part of a date`},
		{"{\"plugin\":\"kmsg\",\n\"delay\":\"soon\"," + rule + "}", `x.json:2: "soon" is no duration`},
		{"{\"plugin\":\"kmsg\"}", `x.json:1: "rules" is missing`},
		{"{\"plugin\":\"kmsg\",\"rules\":[\n{\"type\":\"permament\",\"reason\":\"R\",\"pattern\":\"p\"}]}", `x.json:2: rule 1 (R): type "permament" is neither`},
		{"{\"plugin\":\"kmsg\",\"rules\":[\n{\"type\":\"permanent\",\n\"condition\":\"C\",\"reason\":\"R\",\"pattern\":\"p\"}]}", `x.json:3: rule 1 (R): condition "C" is not among`},
		{"{\"plugin\":\"kmsg\",\"rules\":[{\"type\":\"temporary\",\"reason\":\"R\",\n\"pattern\":\"(\"}]}", `x.json:2: rule 1 (R): error parsing regexp`},
		{"{\"plugin\":\"kmsg\",\"rules\":[{\"type\":\"temporary\",\"reason\":\"R\"}]}", `x.json:1: rule 1 (R): "pattern" is missing`},
		{"{\"plugin\":\"kmsg\",\"rules\":[{\"type\":\"temporary\",\"pattern\":\"p\"}]}", `x.json:1: rule 1: "reason" is missing`},
		{"{\"plugin\":\"kmsg\",\"rules\":[7]}", `x.json:1: rule 1: an object {…} was expected`},
		{"{\"plugin\":\"kmsg\",\n\"plugin\":\"kmsg\"," + rule + "}", `x.json:2: key "plugin" stands twice`},
		{"{\"plugin\":\n", `x.json:2: unexpected EOF`},
		{"{\"plugin\":\"kmsg\",\n" + rule + "} x", `x.json:2: something stands behind`},
		{"", `x.json:1: unexpected EOF`},
		{"[]", `x.json:1: an object {…} was expected`},
		{strings.Repeat("[", 100), `x.json:1: nested too deeply`},
	} {
		_, err := ParseNPD("x.json", []byte(tc.config))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s\n%v\nwant %s", tc.config, err, tc.want)
		}
	}
}

func FuzzParseNPD(f *testing.F) {
	raw, err := os.ReadFile("testdata/npd/kernel.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"plugin":"filelog","logPath":"/x","pluginConfig":{"message":"(.*)"},"rules":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := ParseNPD("x.json", raw)
		if err != nil {
			if !strings.Contains(err.Error(), "x.json:") {
				t.Errorf("an error without file and line: %v", err)
			}
			return
		}
		if _, err := Compile(BuiltinUnits(), n.Rules()); err != nil {
			t.Errorf("accepted, but: %v", err)
		}
		b, err := n.Buffer(BuiltinUnits())
		if err != nil {
			t.Errorf("accepted, but: %v", err)
		}
		if b != nil {
			b.Add(kmsg("x"), nil, now)
		}
		if _, err := n.Kinds(problem.Builtin(), time.Hour); err != nil && !strings.Contains(err.Error(), "x.json:") {
			t.Errorf("an error without file and line: %v", err)
		}
	})
}

// TestNPDTimestamp: a line's own time, in the configuration's own format.
func TestNPDTimestamp(t *testing.T) {
	n := parseNPD(t, `{"plugin":"filelog","logPath":"/var/log/acme.log","lookback":"10m","delay":"30s","pluginConfig":{
		"timestamp":"^\\[([^\\]]+)\\]","timestampFormat":"02.Jan 15h04m05.000","message":"^\\[[^\\]]+\\] (.*)"},
		"rules":[{"type":"temporary","reason":"AcmeDown","pattern":"acme is down"}, {"type":"temporary","reason":"AcmeTrace","pattern":"begin\\n.*end"}]}`)
	set := compileNPD(t, n)
	b, err := n.Buffer(BuiltinUnits())
	if err != nil {
		t.Fatal(err)
	}
	match := func(line string) (*journal.Record, []problem.Claim) {
		r := &journal.Record{Source: "/var/log/acme.log", Message: []byte(line)}
		claims := set.MatchText(r, now, Any)
		return r, append(claims, b.Add(r, []byte(line), now)...)
	}
	for _, tc := range []struct {
		line string
		want time.Time // zero: no claim
	}{
		{"[22.Nov 11h59m58.250] acme is down", time.Date(2026, 11, 22, 11, 59, 58, 250e6, time.UTC)},
		{"[24.Dec 11h59m58.250] acme is down", time.Date(2025, 12, 24, 11, 59, 58, 250e6, time.UTC)}, // not to come
		{"[Nov 22 11:59:58] acme is down", time.Time{}},
		{"acme is down", time.Time{}},
		{"[22.Nov 11h59m59.000] begin", time.Time{}},
		{"[22.Nov 12h00m00.000] end", time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)},
	} {
		r, claims := match(tc.line)
		if len(claims) > 0 != !tc.want.IsZero() || len(claims) > 0 && !r.Time.Equal(tc.want) {
			t.Errorf("%s: %+v at %v, want %v", tc.line, claims, r.Time, tc.want)
		}
		for _, c := range claims {
			if c.Span == nil || *c.Span != (problem.Span{Delay: 30 * time.Second, LookBack: 10 * time.Minute}) {
				t.Errorf("%+v", c.Span)
			}
		}
	}
}

// TestNPDReasonsOfTheCatalogue: a permanent rule whose condition could not be set
// is refused, with its place.
func TestNPDReasonsOfTheCatalogue(t *testing.T) {
	const config = `{"plugin":"kmsg","conditions":[{"type":"KernelDeadlock"},{"type":"KernelFault"}],"rules":[
		{"type":"%s","reason":
			"TaskHung",%s"pattern":"p"}]}`
	for _, tc := range []struct{ kind, condition, want string }{
		{"temporary", "", ""},
		{"permanent", `"condition":"KernelFault",`, ""},
		{"permanent", `"condition":"KernelDeadlock",`, `x.json:3: rule 1 (TaskHung): the reason is a kind that sets "KernelFault" already, not "KernelDeadlock"`},
	} {
		_, err := parseNPD(t, fmt.Sprintf(config, tc.kind, tc.condition)).Kinds(problem.Builtin(), time.Hour)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %s: %v", tc.kind, tc.condition, err)
		}
	}
}
