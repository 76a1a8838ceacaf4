package kube

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	statusTrue    = problem.ConditionTrue
	statusFalse   = problem.ConditionFalse
	statusUnknown = problem.ConditionUnknown
)

func cond(typ string, s problem.ConditionStatus, reason, message string) problem.Condition {
	return problem.Condition{Type: typ, Status: s, Reason: reason, Message: message}
}

// at is a moment of the day of the tests.
func at(d time.Duration) time.Time { return time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).Add(d) }

func TestTransitionOnlyOnFlip(t *testing.T) {
	b := newBoard(at(0))
	since := func() time.Duration { return b.stands["A"].Since.Sub(at(0)) }
	for _, step := range []struct {
		now    time.Duration
		c      problem.Condition
		since  time.Duration
		differ difference
	}{
		{1, cond("A", statusUnknown, "Starting", ""), 1, news},
		{2, cond("A", statusFalse, "Healthy", ""), 2, news},
		{3, cond("A", statusFalse, "Healthy", ""), 2, none},
		{4, cond("A", statusFalse, "KindW", "mild"), 2, news},          // another reason, the same status
		{5, cond("A", statusFalse, "KindW", "mild, 80 %"), 2, wording}, // only words
		{6, cond("A", statusTrue, "KindC", "bad"), 6, news},
		{7, cond("A", statusTrue, "KindD", "80 % of A"), 6, news},
		{7, cond("A", statusTrue, "KindD", "95 % of A"), 6, wording}, // only numbers
		{7, cond("A", statusTrue, "KindD", "95 % of B"), 6, news},    // another culprit
		{8, cond("A", statusUnknown, "CannotTell", ""), 8, news},
		{9, cond("A", statusUnknown, "Starting", ""), 8, news}, // after the hold
	} {
		if step.c.Reason == "Starting" && step.now > 1 {
			b.holdUntil = at(0)
		}
		b.see([]problem.Condition{step.c}, at(step.now))
		if since() != step.since || b.stands["A"].Status != step.c.Status || b.differs() != step.differ {
			t.Errorf("at %d: %+v, since %v, differs %d; want %+v", step.now, b.stands["A"], since(), b.differs(), step)
		}
		w, err := b.compose(at(step.now))
		if err != nil {
			t.Fatal(err)
		}
		b.wrote(w)
		if b.differs() != none {
			t.Errorf("at %d: it differs after it was written", step.now)
		}
	}
}

// TestRestart: what the new agent makes of what the old one left in the state file
// and on the Node.
func TestRestart(t *testing.T) {
	hour := at(-time.Hour)
	yes := func(since time.Time) standing {
		return standing{Status: statusTrue, Reason: "K", Message: "m", Since: since}
	}
	no := func(since time.Time) standing {
		return standing{Status: statusFalse, Reason: "Healthy", Since: since}
	}
	starting, bad, fine := cond("A", statusUnknown, "Starting", ""), cond("A", statusTrue, "K", "m"), cond("A", statusFalse, "Healthy", "")
	for name, x := range map[string]struct {
		memory, node   *standing
		first          problem.Condition // before the Node was read
		second         *problem.Condition
		want           standing
		write, removed bool
	}{
		"the first start":                            {first: starting, want: standing{Status: statusUnknown, Reason: "Starting", Since: at(1)}, write: true},
		"no verdict yet: what stood goes on":         {memory: ptr(yes(hour)), node: ptr(yes(hour)), first: starting, want: yes(hour)},
		"no verdict yet, no memory":                  {node: ptr(yes(hour)), first: starting, want: yes(hour)},
		"still bad":                                  {memory: ptr(yes(hour)), node: ptr(yes(hour)), first: starting, second: &bad, want: yes(hour)},
		"still bad, no memory":                       {node: ptr(yes(hour)), first: bad, want: yes(hour)},
		"fine by now":                                {memory: ptr(yes(hour)), node: ptr(yes(hour)), first: starting, second: &fine, want: no(at(2)), write: true},
		"turned while the API server was away":       {memory: ptr(yes(at(-time.Minute))), node: ptr(no(hour)), first: bad, want: yes(at(-time.Minute)), write: true},
		"turned twice while it was away":             {memory: ptr(no(at(-time.Minute))), node: ptr(no(hour)), first: fine, want: no(at(-time.Minute))},
		"killed before the state was saved":          {memory: ptr(no(hour)), node: ptr(yes(at(-time.Second))), first: bad, want: yes(at(1)), write: false},
		"the Node has it later than the state":       {memory: ptr(yes(hour)), node: ptr(yes(at(-time.Second))), first: bad, want: yes(at(-time.Second))},
		"another agent's verdict was never the same": {node: ptr(no(hour)), first: bad, want: yes(at(1)), write: true},
	} {
		b := newBoard(at(0))
		if x.memory != nil {
			b.stands["A"], b.maybe["A"] = *x.memory, true
		}
		b.see([]problem.Condition{x.first}, at(1))
		found := map[string]standing{}
		if x.node != nil {
			found["A"] = *x.node
		}
		b.adopt(found)
		if x.second != nil {
			b.see([]problem.Condition{*x.second}, at(2))
		}
		got := b.stands["A"]
		got.fresh = false
		if got != x.want || (b.differs() != none) != x.write {
			t.Errorf("%s: %+v, differs %d; want %+v, write %v", name, got, b.differs(), x.want, x.write)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestHoldEnds(t *testing.T) {
	b := newBoard(at(0))
	b.stands["A"] = standing{Status: statusTrue, Reason: "K", Since: at(-time.Hour)}
	starting := []problem.Condition{cond("A", statusUnknown, "Starting", "")}
	b.see(starting, at(holdFor-1))
	if b.stands["A"].Status != statusTrue {
		t.Error("a restart turned the condition")
	}
	b.see(starting, at(holdFor))
	if s := b.stands["A"]; s.Status != statusUnknown || !s.Since.Equal(at(holdFor)) {
		t.Errorf("a verdict that never comes is no verdict: %+v", s)
	}
}

func TestRemoval(t *testing.T) {
	b := newBoard(at(0))
	b.see([]problem.Condition{cond("A", statusFalse, "Healthy", "a"), cond("B", statusTrue, "K", "b")}, at(1))
	w, _ := b.compose(at(1))
	b.unsure(w) // no answer: they may stand there
	b.see([]problem.Condition{cond("B", statusTrue, "K", "b")}, at(2))
	if b.differs() != news {
		t.Error("what may stand there was forgotten")
	}
	w, err := b.compose(at(3))
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Status struct{ Conditions []map[string]any }
	}
	if err := json.Unmarshal(w.body, &p); err != nil {
		t.Fatal(err)
	}
	want := `[{"lastHeartbeatTime":"2026-01-02T00:00:00Z","lastTransitionTime":"2026-01-02T00:00:00Z","message":"b","reason":"K","status":"True","type":"B"},{"$patch":"delete","type":"A"}]`
	if got, _ := json.Marshal(p.Status.Conditions); string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	b.wrote(w)
	if b.differs() != none || len(b.leftovers()) != 0 {
		t.Errorf("removed twice: %v", b.leftovers())
	}
	b.see(nil, at(4))
	if got := b.leftovers(); len(got) != 1 || got[0] != "B" {
		t.Errorf("left over %q, want B", got)
	}
	b.forget()
	if len(b.leftovers()) != 0 {
		t.Error("a new Node shows nothing of ours")
	}
}

// TestLate: a write that was given up is outdone only if it says something else.
func TestLate(t *testing.T) {
	b := newBoard(at(0))
	compose := func(s problem.ConditionStatus) write {
		b.see([]problem.Condition{cond("A", s, "K", "m")}, at(1))
		w, err := b.compose(at(1))
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for name, x := range map[string]struct {
		late  []problem.ConditionStatus
		again bool
	}{
		"none":                {nil, false},
		"the same":            {[]problem.ConditionStatus{statusTrue, statusTrue}, false},
		"another":             {[]problem.ConditionStatus{statusFalse}, true},
		"the same and others": {[]problem.ConditionStatus{statusTrue, statusFalse, statusTrue}, true},
	} {
		b.wrote(compose(statusTrue))
		for _, s := range x.late {
			b.unsure(compose(s))
		}
		// Its date is that of the flip, which is another one if it has flipped meanwhile.
		if got := b.wrote(compose(statusTrue)); got != x.again {
			t.Errorf("%s: again %v", name, got)
		}
		if b.wrote(compose(statusTrue)) {
			t.Errorf("%s: again for ever", name)
		}
	}
}

func TestSpread(t *testing.T) {
	const s = time.Second
	for _, x := range []struct {
		after  time.Duration
		chance float64
		want   time.Duration
	}{{0, 0, 0}, {0, 0.5, 7500 * time.Millisecond}, {s, 0, s}, {s, 0.5, 8 * s}, {40 * s, 0.9, 40 * s}, {time.Hour, 0.9, retryAfterMost}} {
		if got := (&failure{result: throttled, after: x.after}).wait(9, x.chance); got != x.want {
			t.Errorf("asked for %v, chance %v: %v, want %v", x.after, x.chance, got, x.want)
		}
	}
}
