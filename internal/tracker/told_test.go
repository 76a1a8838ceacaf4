package tracker

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// report is a run of a probe that decides Plain and Held.
func report(at int, vs ...problem.Verdict) problem.Report {
	return problem.Report{
		Probe: "p", Kinds: []problem.Kind{plain, held}, Period: s(10), Begun: s(at), Ended: s(at),
		Result: problem.Result{Verdicts: vs},
	}
}

func wrong(subject, message string, sev problem.Severity) problem.Verdict {
	return problem.Verdict{Kind: plain, Subject: subject, State: problem.Wrong, Severity: sev, Message: message, Evidence: []string{"a figure"}, Touches: []problem.Ref{"mount:/a"}}
}

func unknown(kind problem.Kind, subject, message string) problem.Verdict {
	return problem.Verdict{Kind: kind, Subject: subject, State: problem.Unknown, Message: message}
}

// TestWhatIsTold of a problem is the probe's own words while it finds it wrong, with
// the log's as evidence; else the log's.
func TestWhatIsTold(t *testing.T) {
	line := problem.Claim{Kind: plain, Message: "the log says so", Source: "kernel log", Line: "oops", Error: problem.ENOSPC, Touches: []problem.Ref{"mount:/b"}}
	pod := line
	pod.Scope = problem.PodScope
	see := func(tr *Tracker) { tr.Observe(report(100, wrong("", "the probe says so", problem.Warning))) }
	for name, tc := range map[string]struct {
		play func(*Tracker)
		want string
	}{
		"probe":             {see, "node: the probe says so [a figure] [mount:/a] false "},
		"line":              {func(tr *Tracker) { tr.Match(s(100), line) }, "node: the log says so [kernel log: oops (once)] [mount:/b] true ENOSPC"},
		"lines about a pod": {func(tr *Tracker) { tr.Match(s(100), pod); tr.Match(s(101), pod) }, "pod: the log says so [kernel log: oops (2 times)] [mount:/b] true ENOSPC"},
		"both":              {func(tr *Tracker) { see(tr); tr.Match(s(101), line) }, "node: the probe says so [a figure kernel log: oops (once)] [mount:/a mount:/b] false "},
		"a line after what the probe saw was over": {func(tr *Tracker) {
			see(tr)
			run(tr, 110, plain, 0)
			tr.Match(s(111), line)
		}, "node: the log says so [kernel log: oops (once)] [mount:/b] true ENOSPC"},
	} {
		tr := New(catalogue(t), false)
		tc.play(tr)
		got := ""
		for _, p := range tr.Active() {
			got += fmt.Sprintf("%v: %s %v %v %t %s", p.Scope, p.Message, p.Evidence, p.Touches, p.Refused, p.Error)
		}
		if got != tc.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, tc.want)
		}
	}
}

// TestStateOfKinds: each kind of a probe is judged by its own verdicts, and one that
// could not be told is overdue after three periods.
func TestStateOfKinds(t *testing.T) {
	failed := report(20)
	failed.Err = errors.New("it broke")
	partial := report(20)
	partial.Result.Partial = "not all was readable"
	for name, tc := range map[string]struct {
		runs []problem.Report
		at   int
		want string // of Plain and Held
	}{
		"before the first run": {nil, 500, "starting 500s, starting 500s"},
		"fine":                 {[]problem.Report{report(10)}, 500, "fine, fine"},
		"one wrong":            {[]problem.Report{report(10, wrong("a", "", problem.Warning))}, 11, "wrong, fine"},
		"one unknown, the first subject's reason": {[]problem.Report{report(10), report(20, unknown(plain, "b", "B"), unknown(plain, "a", "A"), unknown(plain, "c", "C"))}, 22, "unknown A 12s, fine"},
		"each its own reason":                     {[]problem.Report{report(10), report(20, unknown(held, "a", "A"), unknown(plain, "b", "B"))}, 22, "unknown B 12s, unknown A 12s"},
		"wrong and unknown":                       {[]problem.Report{report(10, unknown(plain, "a", "A"), wrong("b", "", problem.Warning))}, 11, "wrong, fine"},
		"never told":                              {[]problem.Report{failed}, 21, "unknown it broke 21s overdue, unknown it broke 21s overdue"},
		"not told for three periods":              {[]problem.Report{report(10), failed}, 40, "unknown it broke 30s, unknown it broke 30s"},
		"not told for longer":                     {[]problem.Report{report(10), failed}, 41, "unknown it broke 31s overdue, unknown it broke 31s overdue"},
		"seen in part, after it was fine":         {[]problem.Report{report(10), partial}, 100, "fine, fine"},
		"seen in part, after it was unknown":      {[]problem.Report{report(10, unknown(plain, "a", "A")), partial}, 21, "unknown seen only in part: not all was readable 21s overdue, fine"},
	} {
		tr := New(catalogue(t), false)
		tr.Expect("p", []problem.Kind{plain, held}, s(10), s(0))
		for _, r := range tc.runs {
			tr.Observe(r)
		}
		state := map[problem.Kind]string{}
		for _, k := range tr.Kinds(s(tc.at)) {
			state[k.Kind] = k.State.String()
			if k.Starting {
				state[k.Kind] = fmt.Sprintf("starting %gs", k.Missing.Seconds())
			} else if k.State == problem.Unknown {
				state[k.Kind] += fmt.Sprintf(" %s %gs", k.Reason, k.Missing.Seconds())
			}
			if k.Overdue {
				state[k.Kind] += " overdue"
			}
		}
		if got := state[plain] + ", " + state[held]; got != tc.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, tc.want)
		}
	}
}

// TestTwoVerdictsAboutOneSubject: the worse stands, in whatever order they come.
func TestTwoVerdictsAboutOneSubject(t *testing.T) {
	mild, bad, none := wrong("a", "mild", problem.Warning), wrong("a", "bad", problem.Critical), unknown(plain, "a", "not told")
	for _, tc := range []struct {
		verdicts []problem.Verdict
		want     problem.Severity
	}{
		{[]problem.Verdict{mild, bad}, problem.Critical},
		{[]problem.Verdict{bad, mild}, problem.Critical},
		{[]problem.Verdict{mild, none}, problem.Warning},
		{[]problem.Verdict{none, mild}, problem.Warning},
		{[]problem.Verdict{none}, 0},
	} {
		tr := New(catalogue(t), false)
		tr.Observe(report(10, tc.verdicts...))
		if got := severity(tr); got != tc.want {
			t.Errorf("%v: %v", tc.verdicts, got)
		}
	}
}

// TestOneProbeLeavesTheOthersAlone: a run ends what it decides, all of it, and nothing
// else. (Many subjects: they come in any order.)
func TestOneProbeLeavesTheOthersAlone(t *testing.T) {
	tr := New(catalogue(t), false)
	other := []problem.Kind{both}
	for i := range 20 {
		tr.Observe(report(10, wrong(fmt.Sprint(i), "m", problem.Warning)))
		tr.Observe(problem.Report{Probe: "q", Kinds: other, Begun: s(10), Ended: s(10), Result: problem.Result{
			Verdicts: []problem.Verdict{{Kind: both, Subject: fmt.Sprint(i), State: problem.Wrong, Severity: problem.Warning}},
		}})
	}
	tr.Observe(report(20))
	tr.Observe(report(30))
	if got := tr.Active(); len(got) == 0 || got[0].Kind != both || got[len(got)-1].Kind != both {
		t.Errorf("%d stand: %+v", len(got), got)
	}
}

// TestWhatDoesNotApplyIsOver, also where the probe says so of the node by a verdict.
func TestWhatDoesNotApplyIsOver(t *testing.T) {
	tr := New(catalogue(t), false)
	tr.Observe(report(10, wrong("a", "m", problem.Warning)))
	tr.Observe(report(20, problem.Verdict{Kind: plain, State: problem.NotApplicable, Message: "it was switched off"}))
	if got := tr.Active(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestResolvedLinesCountNoMore, also while the probe finds a milder form of it.
func TestResolvedLinesCountNoMore(t *testing.T) {
	tr := New(catalogue(t), false)
	line := func(at int) { tr.Match(s(at), problem.Claim{Kind: both}) }
	line(100)
	line(110)
	run(tr, 120, both, problem.Warning)
	tr.Match(s(125), problem.Claim{Kind: both, Resolves: true})
	run(tr, 130, both, problem.Warning)
	run(tr, 135, both, problem.Warning)
	if got := severity(tr); got != problem.Warning {
		t.Errorf("%v after the lines were resolved", got)
	}
	line(140)
	if got := severity(tr); got != problem.Warning {
		t.Errorf("%v by one line of two", got)
	}
}

// TestAnotherReleaseReadsTheState: it may have kinds that are new, and lack others.
func TestAnotherReleaseReadsTheState(t *testing.T) {
	old := New(catalogue(t), false)
	run(old, 10, both, problem.Warning) // is saved first, and is gone in the new release
	run(old, 10, plain, 0)
	old.Match(s(15), problem.Claim{Kind: plain})
	raw, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	const added problem.Kind = "Added"
	c, err := problem.NewCatalogue([]problem.Definition{
		{Kind: plain, Scope: problem.NodeScope, Severity: problem.Warning},
		{Kind: added, Scope: problem.NodeScope, Severity: problem.Warning},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr := New(c, false)
	tr.Expect("p", []problem.Kind{plain, added}, s(10), s(20))
	if err := json.Unmarshal(raw, tr); err != nil {
		t.Fatal(err)
	}
	if got := tr.Active(); len(got) != 1 || got[0].Kind != plain {
		t.Fatalf("%+v", got)
	}
	// Plain was fine before the restart: what is wrong now is new.
	r := report(30, wrong("a", "m", problem.Warning))
	r.Kinds = []problem.Kind{plain, added}
	tr.Observe(r)
	if got := tr.Active(); len(got) != 2 || got[1].Subject != "a" || got[1].Began != s(30) {
		t.Errorf("%+v", got)
	}
	for _, k := range tr.Kinds(s(30) + time.Second) {
		if k.Kind == added && k.State != problem.Fine {
			t.Errorf("%+v", k)
		}
	}
}
