package tracker

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestAClaimsOwnCountWins(t *testing.T) {
	rare := problem.Claim{Kind: plain, Message: "rare", Logs: problem.Count{N: 3, Within: 10 * time.Minute}}
	tr := New(catalogue(t), false)
	for i, at := range []int{100, 200, 300} {
		if severity(tr) != 0 {
			t.Fatalf("raised by %d lines of 3", i)
		}
		tr.Match(s(at), rare)
	}
	if severity(tr) == 0 {
		t.Fatal("not raised by 3 lines in 10 min")
	}
	if since := tr.Active()[0].Since; since != s(100) {
		t.Errorf("since %v, want the first of the three", since)
	}
	// The kind's own count still holds for its other wordings.
	tr = New(catalogue(t), false)
	tr.Match(s(100), rare)
	tr.Match(s(200), problem.Claim{Kind: plain, Message: "plain"})
	if severity(tr) == 0 {
		t.Fatal("not raised by the one line that suffices")
	}
	if since := tr.Active()[0].Since; since != s(200) {
		t.Errorf("since %v, want the line that raised it", since)
	}
	// Too far apart.
	tr = New(catalogue(t), false)
	for _, at := range []int{100, 500, 701} {
		tr.Match(s(at), rare)
	}
	if severity(tr) != 0 {
		t.Error("raised by 3 lines in 601 s")
	}
}

func TestALineCanSayThatItIsOver(t *testing.T) {
	claim := problem.Claim{Kind: plain, Subject: "server"}
	over := problem.Claim{Kind: plain, Subject: "server", Resolves: true}
	tr := New(catalogue(t), false)
	tr.Match(s(90), over) // of what was before our time
	if len(tr.entries) != 0 {
		t.Fatal("good news made an entry")
	}
	tr.Match(s(100), claim)
	tr.Match(s(99), over) // read late
	if severity(tr) == 0 {
		t.Fatal("an older line ended it")
	}
	tr.Match(s(100), over) // stamps may be of whole seconds
	if severity(tr) != 0 {
		t.Fatal("not ended")
	}
	tr.Match(s(102), claim)
	if severity(tr) == 0 {
		t.Fatal("not raised anew")
	}
	run(tr, 103, plain, 0) // the probe sees no problem yet, and is asked first
	tr.Match(s(104), over)
	run(tr, 105, plain, 0)
	run(tr, 106, plain, 0)
	if severity(tr) != 0 {
		t.Error("not ended with the probe's consent")
	}
}

func TestAMillionLinesAreOneProblem(t *testing.T) {
	tr := New(catalogue(t), false)
	claim := problem.Claim{Kind: plain, Message: "m", Logs: problem.Count{N: 10, Within: time.Minute}}
	const n = 1_000_000
	for i := range n {
		tr.Match(s(100)+time.Duration(i)*100*time.Microsecond, claim) // 10,000 a second
	}
	active := tr.Active()
	if len(active) != 1 || len(tr.entries) != 1 || active[0].Lines != n {
		t.Fatalf("%d entries, active %+v", len(tr.entries), active)
	}
	e := tr.entries[key{Kind: plain}]
	if len(e.Windows) != 1 || cap(e.Windows[0].Failures) > 64 {
		t.Errorf("the windows hold more than they need of %d lines: %+v", n, e.Windows)
	}
}

// TestWhatTheLinesAreAbout: what all lines of one problem are about counts, the
// newest first, within bounds; what was over before them does not.
func TestWhatTheLinesAreAbout(t *testing.T) {
	about := func(names ...string) problem.Claim {
		c := problem.Claim{Kind: plain, Message: "line"}
		for _, n := range names {
			c.Touches = append(c.Touches, problem.NewRef(problem.RefProcess, n))
		}
		return c
	}
	tr := New(catalogue(t), false)
	tr.Match(s(10_000), about("kubelet", "a"))
	tr.Match(s(10_010), about("containerd", "a"))
	if got, want := tr.Active()[0].Touches, about("containerd", "a", "kubelet").Touches; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for i := range 3 * maxTouches {
		tr.Match(s(10_020), about(fmt.Sprint("p", i)))
	}
	if got := tr.Active()[0].Touches; len(got) != maxTouches || got[0] != problem.Ref(fmt.Sprint("process:p", 3*maxTouches-1)) {
		t.Errorf("%d references, the first %s", len(got), got[0])
	}
	tr.Tick(s(13_620))
	tr.Match(s(14_000), about("dockerd"))
	if got, want := tr.Active()[0].Touches, about("dockerd").Touches; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestGoodNewsWhereTheProbeIsFine ends at once what only lines have claimed: there is
// nothing left to show of it.
func TestGoodNewsWhereTheProbeIsFine(t *testing.T) {
	tr := New(catalogue(t), false)
	tr.Match(s(100), problem.Claim{Kind: plain, Message: "the server does not answer"})
	run(tr, 101, plain, 0)
	if severity(tr) == 0 {
		t.Fatal("one look is enough to end it")
	}
	tr.Match(s(102), problem.Claim{Kind: plain, Resolves: true})
	for _, p := range tr.Active() {
		t.Errorf("still there, with the message %q", p.Message)
	}
}

// TestWhatIsOverIsForgottenAlsoWhileItsProbeFails, or the subjects of a year would
// fill the kind, and all new ones be called "other".
func TestWhatIsOverIsForgottenAlsoWhileItsProbeFails(t *testing.T) {
	tr := New(catalogue(t), false)
	for i := range 2 * maxSubjects {
		at := i * 3600
		tr.Match(s(at), problem.Claim{Kind: plain, Subject: fmt.Sprint("pod ", i), Message: "m"})
		tr.Observe(problem.Report{Probe: "p", Kinds: []problem.Kind{plain}, Begun: s(at + 1), Ended: s(at + 1), Err: errors.New("no")})
		tr.Tick(s(at + 3599))
	}
	if len(tr.entries) > 1 {
		t.Errorf("%d entries are kept", len(tr.entries))
	}
}
