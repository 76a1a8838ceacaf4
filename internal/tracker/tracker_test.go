package tracker

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	held  problem.Kind = "Held"  // warning after 15 min, critical after 3 runs
	grows problem.Kind = "Grows" // warning at once, critical after 3 runs
	both  problem.Kind = "Both"  // needs fine and quiet
	plain problem.Kind = "Plain" // at once; one line
)

func catalogue(t *testing.T) *problem.Catalogue {
	t.Helper()
	c, err := problem.NewCatalogue([]problem.Definition{
		{Kind: held, Scope: problem.NodeScope, Severity: problem.Critical, Warn: problem.Persist{For: 15 * time.Minute}, Crit: problem.Persist{Runs: 3}},
		{Kind: grows, Scope: problem.NodeScope, Severity: problem.Critical, Crit: problem.Persist{Runs: 3}},
		{Kind: both, Scope: problem.NodeScope, Severity: problem.Critical, NeedsBoth: true, Logs: problem.Count{N: 2, Within: time.Minute}},
		{Kind: plain, Scope: problem.NodeScope, Severity: problem.Warning, Logs: problem.Count{N: 1, Within: 5 * time.Minute}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func s(n int) time.Duration { return time.Duration(n) * time.Second }

// run feeds one run of a probe that decides kind; sev 0 means fine.
func run(t *Tracker, at int, kind problem.Kind, sev problem.Severity) {
	r := problem.Report{Probe: "p", Kinds: []problem.Kind{kind}, Period: s(10), Begun: s(at), Ended: s(at)}
	if sev != 0 {
		r.Result.Verdicts = []problem.Verdict{{Kind: kind, State: problem.Wrong, Severity: sev, Message: "m"}}
	}
	t.Observe(r)
}

func severity(t *Tracker) problem.Severity {
	for _, p := range t.Active() {
		return p.Severity
	}
	return 0
}

func TestHysteresis(t *testing.T) {
	const (
		w = problem.Warning
		c = problem.Critical
	)
	for _, tc := range []struct {
		name string
		kind problem.Kind
		// seen is the severity found at runs 10 s apart; want what stands after each.
		seen, want []problem.Severity
	}{
		{"critical only in the third run", held, []problem.Severity{c, c, c}, []problem.Severity{0, 0, c}},
		{"a dip begins the count anew", held, []problem.Severity{c, c, 0, c, c, c}, []problem.Severity{0, 0, 0, 0, 0, c}},
		{"a dip does not end what stands", held, []problem.Severity{c, c, c, 0, c, c, 0, 0}, []problem.Severity{0, 0, c, c, c, c, c, 0}},
		{"nor make it milder", grows, []problem.Severity{c, c, c, 0, c, c, c}, []problem.Severity{w, w, c, c, c, c, c}},
		{"one fine run does not clear, two do", plain, []problem.Severity{w, 0, w, 0, 0}, []problem.Severity{w, w, w, w, 0}},
		{"one milder run does not lower, two do", plain, []problem.Severity{c, w, c, w, w}, []problem.Severity{c, c, c, c, w}},
		{"worse raises at once", plain, []problem.Severity{w, c}, []problem.Severity{w, c}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := New(catalogue(t), false)
			for i, sev := range tc.seen {
				run(tr, 1000+10*i, tc.kind, sev)
				if got := severity(tr); got != tc.want[i] {
					t.Fatalf("after run %d (%v): %v, want %v", i+1, sev, got, tc.want[i])
				}
			}
		})
	}
}

func TestWarningThatMustLast(t *testing.T) {
	tr := New(catalogue(t), false)
	for at := 0; at < 15*60; at += 10 {
		run(tr, at+1, held, problem.Warning)
		tr.Tick(s(at + 1))
		if severity(tr) != 0 {
			t.Fatalf("raised after %d s", at)
		}
	}
	run(tr, 15*60+1, held, problem.Warning)
	if severity(tr) != problem.Warning {
		t.Fatal("not raised after 15 min")
	}
	if since := tr.Active()[0].Since; since != s(1) {
		t.Errorf("since %v, want the first sight at 1 s", since)
	}
}

// What had lasted when it was found counts as if it had been found then.
func TestHeldBefore(t *testing.T) {
	tr := New(catalogue(t), false)
	look := func(at, lasted int) {
		r := problem.Report{Probe: "p", Kinds: []problem.Kind{held}, Period: s(10), Begun: s(at), Ended: s(at)}
		r.Result.Verdicts = []problem.Verdict{{Kind: held, State: problem.Wrong, Severity: problem.Warning, Message: "m", Held: s(lasted)}}
		tr.Observe(r)
	}
	look(10000, 14*60)
	if severity(tr) != 0 {
		t.Fatal("raised after 14 min")
	}
	look(10060, 60) // less than what is known already
	if severity(tr) != problem.Warning {
		t.Fatal("not raised after 15 min")
	}
	if since := tr.Active()[0].Since; since != s(10000-14*60) {
		t.Errorf("since %v", since)
	}
	tr = New(catalogue(t), true)
	look(5, 60) // longer than the node is up: the clocks differ
	if since := tr.Active()[0].Since; since != 0 {
		t.Errorf("since %v", since)
	}
}

func TestImmediateRaisesOnTheFirstVerdict(t *testing.T) {
	tr := New(catalogue(t), true)
	run(tr, 1, held, problem.Warning)
	if severity(tr) != problem.Warning {
		t.Fatal("not raised")
	}
}

func TestNeedsBoth(t *testing.T) {
	tr := New(catalogue(t), false)
	claim := problem.Claim{Kind: both, Message: "said so"}
	run(tr, 90, both, 0) // the probe has not seen it yet
	tr.Match(s(100), claim)
	if severity(tr) != 0 {
		t.Fatal("raised by one line of two")
	}
	tr.Match(s(110), claim)
	if severity(tr) != problem.Critical {
		t.Fatal("not raised by two lines in a minute")
	}
	for at := 120; at <= 400; at += 10 {
		run(tr, at, both, 0)
	}
	if severity(tr) != problem.Critical {
		t.Fatal("cleared although the log was not quiet for 5 min")
	}
	run(tr, 420, both, 0)
	if severity(tr) != 0 {
		t.Fatal("not cleared though fine and quiet")
	}
	tr.Match(s(430), claim)
	if severity(tr) != 0 {
		t.Fatal("raised again by one line of two")
	}
	tr.Match(s(440), claim)
	if severity(tr) != problem.Critical {
		t.Fatal("not raised again by two")
	}
}

func TestLinesCountAtTheirOwnTime(t *testing.T) {
	tr := New(catalogue(t), false)
	claim := problem.Claim{Kind: both}
	// A backlog is read at once; the two lines were 61 s apart.
	tr.Match(s(100), claim)
	tr.Match(s(161), claim)
	if severity(tr) != 0 {
		t.Error("two lines 61 s apart were counted into one minute")
	}
	// Out of order, as of two files.
	tr.Match(s(159), claim)
	if severity(tr) != problem.Critical {
		t.Error("two lines 2 s apart were not")
	}
	tr = New(catalogue(t), false)
	tr.Match(s(1000), claim)
	tr.Tick(s(1020)) // what may still count is not forgotten
	tr.Match(s(1040), claim)
	if severity(tr) != problem.Critical {
		t.Error("two lines 40 s apart were not")
	}
}

func TestPartialMeansUnchanged(t *testing.T) {
	tr := New(catalogue(t), false)
	run(tr, 10, plain, problem.Warning)
	for at := 20; at < 100; at += 10 {
		tr.Observe(problem.Report{Probe: "p", Kinds: []problem.Kind{plain}, Begun: s(at), Ended: s(at), Result: problem.Result{Partial: "not all was readable"}})
	}
	if severity(tr) != problem.Warning {
		t.Error("silence of a partial run cleared a problem")
	}
}

func TestPartialFromTheStartIsUnknown(t *testing.T) {
	tr := New(catalogue(t), false)
	tr.Observe(problem.Report{Probe: "p", Kinds: []problem.Kind{plain}, Begun: s(1), Ended: s(1), Result: problem.Result{Partial: "not all was readable"}})
	if k := tr.Kinds(s(2))[0]; k.State != problem.Unknown {
		t.Errorf("%+v", k)
	}
}

func TestFailureKeepsAndMarksStale(t *testing.T) {
	tr := New(catalogue(t), false)
	run(tr, 10, plain, problem.Warning)
	tr.Observe(problem.Report{Probe: "p", Kinds: []problem.Kind{plain}, Begun: s(20), Ended: s(20), Err: errors.New("it broke")})
	tr.Tick(s(100000))
	got := tr.Active()
	if len(got) != 1 || got[0].Stale != "it broke" {
		t.Fatalf("%+v", got)
	}
	// Not applicable any more (the module was removed): over.
	tr.Observe(problem.Report{Probe: "p", Kinds: []problem.Kind{plain}, Begun: s(100010), Ended: s(100010), Err: problem.NotApplicablef("gone")})
	if len(tr.Active()) != 0 {
		t.Errorf("%+v", tr.Active())
	}
}

// Lines about what happens on purpose, too, wait for the probe where there is one.
func TestLinesWaitForTheProbe(t *testing.T) {
	const restarts problem.Kind = "Restarts"
	c, err := problem.NewCatalogue([]problem.Definition{{
		Kind: restarts, Condition: "C", Scope: problem.NodeScope, Severity: problem.Critical, Sources: problem.Level | problem.Log,
		Logs: problem.Count{N: 2, Within: 20 * time.Minute}, Confirm: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		probe bool
		err   error
		found problem.Severity // by the probe, 0: nothing
		want  bool
	}{
		"no probe decides it":               {false, nil, 0, true},
		"the probe finds it fine":           {true, nil, 0, false},
		"the probe finds it, too":           {true, nil, problem.Critical, true},
		"the probe fails":                   {true, errors.New("no answer"), 0, true},
		"the probe does not apply any more": {true, problem.NotApplicablef("no systemd"), 0, true},
	} {
		tr := New(c, false)
		if tc.probe {
			tr.Expect("p", []problem.Kind{restarts}, s(10), s(0))
		}
		look := func(at int) {
			r := problem.Report{Probe: "p", Kinds: []problem.Kind{restarts}, Begun: s(at), Ended: s(at), Err: tc.err}
			if tc.found != 0 {
				r.Result.Verdicts = []problem.Verdict{{Kind: restarts, State: problem.Wrong, Severity: tc.found, Message: "m"}}
			}
			if tc.probe {
				tr.Observe(r)
			}
		}
		tr.Match(s(100), problem.Claim{Kind: restarts})
		tr.Match(s(130), problem.Claim{Kind: restarts})
		if early := len(tr.Active()) > 0; early != !tc.probe {
			t.Errorf("%s: before it looks: %t", name, early)
		}
		for at := 140; at <= 180; at += 10 {
			look(at)
			a := tr.Active()
			if got := len(a) > 0; got != tc.want {
				t.Errorf("%s: at %d s: %t", name, at, got)
			} else if got && a[0].Since != s(100) {
				t.Errorf("%s: since %v, want the first line", name, a[0].Since)
			}
		}
	}
}

// A probe that does not apply, but whose kinds logs tell of: they alone decide it then.
func TestLogsTellWhereTheProbeDoesNotApply(t *testing.T) {
	tr := New(catalogue(t), false)
	tr.Expect("p", []problem.Kind{plain}, s(10), s(0))
	tr.Match(s(100), problem.Claim{Kind: plain})
	tr.Observe(problem.Report{Probe: "p", Kinds: []problem.Kind{plain}, Begun: s(110), Ended: s(110), Err: problem.LogsTellf("no driver")})
	if kinds := tr.Kinds(s(110)); len(kinds) != 0 {
		t.Errorf("the probe decides %+v", kinds)
	}
	if len(tr.Active()) != 1 {
		t.Errorf("the line does not stand: %+v", tr.Active())
	}
	run(tr, 120, plain, problem.Warning)
	if kinds := tr.Kinds(s(120)); len(kinds) != 1 || kinds[0].State != problem.Wrong {
		t.Errorf("the driver was loaded, and the probe decides %+v", kinds)
	}
}

func TestClaimWithoutSubjectWaitsForAllSubjects(t *testing.T) {
	tr := New(catalogue(t), false)
	tr.Match(s(100), problem.Claim{Kind: plain})
	wrong := problem.Report{Probe: "p", Kinds: []problem.Kind{plain}, Result: problem.Result{Verdicts: []problem.Verdict{
		{Kind: plain, Subject: "a", State: problem.Wrong, Severity: problem.Warning},
	}}}
	for at := 110; at <= 140; at += 10 {
		wrong.Begun, wrong.Ended = s(at), s(at)
		tr.Observe(wrong)
	}
	if n := len(tr.Active()); n != 2 {
		t.Fatalf("%d active while a is wrong: %+v", n, tr.Active())
	}
	run(tr, 150, plain, 0)
	run(tr, 160, plain, 0)
	if n := len(tr.Active()); n != 0 {
		t.Fatalf("%d active when all is fine: %+v", n, tr.Active())
	}
}

func TestSubjectsAreBounded(t *testing.T) {
	tr := New(catalogue(t), false)
	for i := range 10 * maxSubjects {
		tr.Match(s(100), problem.Claim{Kind: plain, Subject: fmt.Sprint(i)})
	}
	if n := len(tr.Active()); n > maxSubjects+1 {
		t.Fatalf("%d entries", n)
	}
	tr.Tick(s(100 + 15*60 + 1)) // over
	tr.Tick(s(100 + 60*60))     // and forgotten
	if n := len(tr.entries); n != 0 {
		t.Errorf("%d entries are never forgotten", n)
	}
	if n := tr.perKind[plain]; n != 0 {
		t.Errorf("the count of entries is off by %d", n)
	}
}

func TestStateSurvivesARestart(t *testing.T) {
	tr := New(catalogue(t), false)
	run(tr, 10, held, problem.Critical)
	run(tr, 20, held, problem.Critical)
	tr.Match(s(25), problem.Claim{Kind: plain, Subject: "x", Message: "a line", Touches: []problem.Ref{problem.RefNode}})
	raw, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	for away, want := range map[time.Duration]problem.Severity{5 * time.Minute: problem.Critical, 5*time.Minute + 1: 0} {
		again := New(catalogue(t), false)
		again.Expect("p", []problem.Kind{held}, 10*time.Second, s(26))
		if err := json.Unmarshal(raw, again); err != nil {
			t.Fatal(err)
		}
		again.Away(away)
		if !reflect.DeepEqual(again.Active(), tr.Active()) {
			t.Errorf("after restart\n%+v\nbefore\n%+v", again.Active(), tr.Active())
		}
		// The third critical run raises it, as if nothing had happened.
		run(again, 30, held, problem.Critical)
		again.Match(s(31), problem.Claim{Kind: plain, Subject: "x", Resolves: true})
		again.Tick(s(32))
		if got := severity(again); got != want {
			t.Errorf("away for %v: severity %v, want %v", away, got, want)
		}
	}
}

// TestNoVerdictOfThisRunYet: what a probe saw in the last run stays wrong, and is not
// taken for what is so now.
func TestNoVerdictOfThisRunYet(t *testing.T) {
	for name, x := range map[string]struct {
		expect []problem.Kind
		look   func(*Tracker)
		state  problem.State
		stale  string
		active int
	}{
		"before the first run":       {[]problem.Kind{held}, func(tr *Tracker) { tr.Tick(s(99)) }, problem.Unknown, starting, 1},
		"still wrong":                {[]problem.Kind{held}, func(tr *Tracker) { run(tr, 99, held, problem.Critical) }, problem.Wrong, "", 1},
		"over":                       {[]problem.Kind{held}, func(tr *Tracker) { run(tr, 99, held, 0); run(tr, 109, held, 0) }, problem.Fine, "", 0},
		"its probe was switched off": {nil, func(tr *Tracker) { tr.Tick(s(99)) }, 0, "", 0},
	} {
		tr := New(catalogue(t), false)
		for i := range 3 {
			run(tr, 10*(1+i), held, problem.Critical)
		}
		raw, err := json.Marshal(tr)
		if err != nil {
			t.Fatal(err)
		}
		tr = New(catalogue(t), false)
		if x.expect != nil {
			tr.Expect("p", x.expect, 10*time.Second, s(90))
		}
		if err := json.Unmarshal(raw, tr); err != nil {
			t.Fatal(err)
		}
		x.look(tr)
		var state problem.State
		if all := tr.Kinds(s(99)); len(all) == 1 {
			state = all[0].State
		}
		a := tr.Active()
		if len(a) != x.active || state != x.state || x.active == 1 && a[0].Stale != x.stale {
			t.Errorf("%s: state %v, active %+v", name, state, a)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"entries":[{"kind":"Plain","subject":"x","level":"wrong","windows":[{"count":{"N":2,"Within":5},"failures":[{"at":1,"sites":["a"]}]}]}],"kinds":{"Plain":{"probe":"p","state":"fine"}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, _ := problem.NewCatalogue([]problem.Definition{{Kind: plain, Logs: problem.Count{N: 3}}})
		tr := New(c, false)
		if json.Unmarshal(raw, tr) != nil {
			return
		}
		run(tr, 10, plain, problem.Warning)
		tr.Match(s(11), problem.Claim{Kind: plain})
		tr.Tick(s(20))
		tr.Active()
	})
}

// TestFoundAtTheFirstLook: what was wrong already then may have been so for ever; what
// was fine then has begun.
func TestFoundAtTheFirstLook(t *testing.T) {
	for name, fine := range map[string]bool{"wrong at the first look": false, "fine at the first look": true} {
		tr := New(catalogue(t), false)
		if fine {
			run(tr, 90, plain, 0)
		}
		for at := 100; at <= 120; at += 10 {
			run(tr, at, plain, problem.Warning)
		}
		want := time.Duration(0)
		if fine {
			want = s(100)
		}
		if all := tr.Active(); len(all) != 1 || all[0].Since != s(100) || all[0].Began != want {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

// TestWhatComesBackBeganBefore: a problem that comes back soon is told from now on,
// and began when it first came; after long it is a new one.
func TestWhatComesBackBeganBefore(t *testing.T) {
	tr := New(catalogue(t), false)
	run(tr, 0, plain, 0)
	wrongFor := func(from, to int) problem.Tracked {
		for at := from; at <= to; at += 10 {
			run(tr, at, plain, problem.Warning)
		}
		all := tr.Active()
		for at := to + 10; at <= to+30; at += 10 {
			run(tr, at, plain, 0)
		}
		if len(all) != 1 || severity(tr) != 0 {
			t.Fatalf("from %d on: %+v", from, all)
		}
		return all[0]
	}
	for _, tc := range []struct{ from, began int }{{100, 100}, {500, 100}, {1000, 100}, {1620, 100}, {2500, 2500}} {
		tr.Tick(s(tc.from))
		if got := wrongFor(tc.from, tc.from+20); got.Since != s(tc.from) || got.Began != s(tc.began) {
			t.Errorf("since %v, began %v; want %d, %d", got.Since, got.Began, tc.from, tc.began)
		}
	}
}
