package tracker

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// TestLinesOfOneCall: what counts is calls that failed, not the lines that each
// layer writes about them.
func TestLinesOfOneCall(t *testing.T) {
	type line struct {
		ms   int
		site string
	}
	// What kubelet and containerd log of one sandbox that could not be made.
	call := func(ms int) []line {
		return []line{{ms, "containerd RunPodSandbox"}, {ms + 3, "log.go:32"}, {ms + 3, "kuberuntime_sandbox.go:72"}, {ms + 4, "kuberuntime_manager.go:1172"}, {ms + 4, "pod_workers.go:1300"}}
	}
	for _, tc := range []struct {
		name  string
		lines []line
		want  int
	}{
		{"one call", call(0), 1},
		{"two calls", slices.Concat(call(0), call(60_000)), 2},
		{"two calls in the same second", slices.Concat(call(0), call(100)), 2},
		{"two pods' calls that end together", []line{{0, "a"}, {0, "a"}, {1, "b"}, {1, "b"}, {2, "c"}, {2, "c"}}, 2},
		{"one place that writes again and again", []line{{0, "a"}, {100, "a"}, {200, "a"}}, 3},
		{"stamps of whole seconds", []line{{0, "a"}, {1000, "b"}}, 1},
		{"stamps of whole seconds, out of order", []line{{1000, "a"}, {0, "b"}}, 1},
		{"the layers' lines further apart are calls of their own", []line{{0, "a"}, {1500, "b"}}, 2},
		{"read out of order", []line{{60_003, "b"}, {3, "b"}, {0, "a"}, {60_000, "a"}}, 2},
	} {
		w := window{Count: problem.Count{N: 100, Within: 5 * time.Minute}}
		for _, l := range tc.lines {
			w.add(s(1000)+time.Duration(l.ms)*time.Millisecond, problem.Claim{Site: l.site})
		}
		if len(w.Failures) != tc.want {
			t.Errorf("%s: %d calls, want %d: %+v", tc.name, len(w.Failures), tc.want, w.Failures)
		}
	}
}

func TestDifferentValues(t *testing.T) {
	claim := func(name string) problem.Claim {
		return problem.Claim{Kind: plain, Value: name, Logs: problem.Count{N: 3, Within: 5 * time.Minute, Distinct: "name"}}
	}
	tr := New(catalogue(t), false)
	for i := range 50 {
		tr.Match(s(100+i), claim([]string{"a", "b"}[i%2]))
	}
	if severity(tr) != 0 {
		t.Fatal("two names, however often, were taken for three")
	}
	tr.Match(s(148+5*60), claim("c")) // a was last seen at 148, b at 149
	if severity(tr) == 0 {
		t.Fatal("three names within 5 min were not seen")
	}
	tr = New(catalogue(t), false)
	tr.Match(s(100), claim("a"))
	tr.Match(s(200), claim("b"))
	tr.Match(s(401), claim("c"))
	if severity(tr) != 0 {
		t.Error("three names within 301 s raised it")
	}
}

func TestWhatMustLast(t *testing.T) {
	claim := problem.Claim{Kind: plain, Logs: problem.Count{N: 3, Within: time.Minute, Lasting: 3 * time.Minute}}
	feed := func(tr *Tracker, from, to, every int) {
		for at := from; at <= to; at += every {
			tr.Match(s(at), claim)
		}
	}
	tr := New(catalogue(t), false)
	feed(tr, 100, 275, 5)
	if severity(tr) != 0 {
		t.Fatal("raised before 3 min")
	}
	raw, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	tr = New(catalogue(t), false)
	if err := json.Unmarshal(raw, tr); err != nil { // a restart of ours is no restart of it
		t.Fatal(err)
	}
	feed(tr, 280, 280, 5)
	if severity(tr) == 0 {
		t.Fatal("not raised after 3 min")
	}
	if since := tr.Active()[0].Since; since != s(100) {
		t.Errorf("since %v, want the first line", since)
	}
	tr = New(catalogue(t), false)
	feed(tr, 160, 280, 5)
	feed(tr, 100, 155, 5) // of another file, read later
	if severity(tr) == 0 {
		t.Error("not raised by 3 min that were read out of order")
	}
	for name, over := range map[string]func(*Tracker){
		"a gap":     func(*Tracker) {},
		"good news": func(tr *Tracker) { tr.Match(s(250), problem.Claim{Kind: plain, Resolves: true}) },
	} {
		tr := New(catalogue(t), false)
		feed(tr, 100, 250, 5)
		over(tr)
		feed(tr, 311, 480, 5)
		if severity(tr) != 0 {
			t.Errorf("%s did not begin it anew", name)
		}
	}
}

// TestRestartedAPIServer: all nodes miss it for some seconds, in which their kubelets
// write dozens of lines, and that is no failure of theirs; one that stays away is told of.
func TestRestartedAPIServer(t *testing.T) {
	tr := New(problem.Builtin(), false)
	refused := problem.Claim{Kind: problem.APIServerUnreachable}
	for at := 100; at < 136; at++ {
		for range 5 { // a try's
			tr.Match(s(at), refused)
		}
	}
	if severity(tr) != 0 {
		t.Error("raised by 36 s without it")
	}
	tr.Match(s(136), refused)
	if severity(tr) != problem.Critical {
		t.Error("not raised after 36 s")
	}
	if since := tr.Active()[0].Since; since != s(100) {
		t.Errorf("since %v, want the first line", since)
	}
}

// TestNetworkNotReady: kubelet waits for the network plugin on each new node; on and on only
// where something is wrong, of which the runtime knows better, if it can be asked.
func TestNetworkNotReady(t *testing.T) {
	waits := problem.Claim{Kind: problem.CNINotReady}
	for name, x := range map[string]struct {
		until int
		fine  bool // the runtime's own answer
		want  problem.Severity
	}{
		"a new node":                 {until: 240},
		"for minutes":                {until: 330, want: problem.Critical},
		"the runtime has its plugin": {until: 330, fine: true},
	} {
		tr := New(problem.Builtin(), false)
		for at := 100; at <= x.until; at += 5 {
			if x.fine {
				run(tr, at, problem.CNINotReady, 0)
			}
			tr.Match(s(at), waits)
		}
		tr.Tick(s(x.until + 1))
		if got := severity(tr); got != x.want {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}

// TestEachFormulaHasItsOwnLines: lines that mean little by themselves do not
// count towards what raises another wording.
func TestEachFormulaHasItsOwnLines(t *testing.T) {
	tr := New(catalogue(t), false)
	slow := problem.Claim{Kind: plain, Logs: problem.Count{N: 3, Within: time.Minute, Lasting: 3 * time.Minute}}
	three := problem.Claim{Kind: plain, Logs: problem.Count{N: 3, Within: 5 * time.Minute}}
	for at := range 10 {
		tr.Match(s(100+at), slow)
	}
	tr.Match(s(111), three)
	if severity(tr) != 0 {
		t.Error("lines of one formula counted for another")
	}
	for i := range 100 { // a rule a formula: more than anybody has
		tr.Match(s(112), problem.Claim{Kind: plain, Logs: problem.Count{N: 500 + i}})
	}
	if n := len(tr.entries[key{Kind: plain}].Windows); n > maxWindows {
		t.Errorf("%d windows", n)
	}
}

// TestWhatNoProbeSees: a probe's silence does not end what it cannot see.
func TestWhatNoProbeSees(t *testing.T) {
	claim := problem.Claim{Kind: plain, Message: "an XFS has shut down", LogOnly: true}
	fine := func(tr *Tracker, from, to int) {
		for at := from; at <= to; at += 10 {
			run(tr, at, plain, 0)
			tr.Tick(s(at))
		}
	}
	tr := New(catalogue(t), false)
	fine(tr, 10, 90)
	tr.Match(s(100), claim)
	fine(tr, 110, 900)
	if severity(tr) == 0 {
		t.Fatal("a probe that cannot see it has ended it")
	}
	fine(tr, 1010, 1020) // the quiet time of 15 min is over
	if severity(tr) != 0 {
		t.Fatal("it does not end")
	}
	tr = New(catalogue(t), false)
	tr.Match(s(100), claim)
	run(tr, 110, plain, problem.Warning) // it could be seen after all
	fine(tr, 120, 130)
	if severity(tr) != 0 {
		t.Error("the probe that saw it come did not see it go")
	}
	tr.Match(s(140), claim)
	fine(tr, 150, 170)
	if severity(tr) == 0 {
		t.Error("the probe that saw an earlier one has ended one that it did not see")
	}
	tr = New(catalogue(t), false)
	run(tr, 90, plain, problem.Warning)
	tr.Match(s(100), claim)
	fine(tr, 110, 120)
	if severity(tr) != 0 {
		t.Error("the probe that saw it before the line did not see it go")
	}
	run(tr, 200, plain, problem.Warning)
	run(tr, 210, plain, 0)
	tr.Match(s(215), claim)
	fine(tr, 220, 240)
	if severity(tr) == 0 {
		t.Error("the probe had seen one go before the line came")
	}
	tr = New(catalogue(t), true) // a single look
	tr.Match(s(100), claim)
	run(tr, 110, plain, 0)
	if severity(tr) == 0 {
		t.Error("a single look does not report it")
	}
}
