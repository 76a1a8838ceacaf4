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
	} {
		b.see([]problem.Condition{step.c}, at(step.now))
		got := b.wanted(at(step.now))["A"]
		if since := got.Since.Sub(at(0)); since != step.since || got.Status != step.c.Status || b.differs(at(step.now)) != step.differ {
			t.Errorf("at %d: %+v, since %v, differs %d; want %+v", step.now, got, since, b.differs(at(step.now)), step)
		}
		w, err := b.compose(at(step.now))
		if err != nil {
			t.Fatal(err)
		}
		b.wrote(w)
		if b.differs(at(step.now)) != none {
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
		"no verdict yet: nothing is published anew":  {memory: ptr(yes(hour)), first: starting, want: standing{Status: statusUnknown, Reason: "Starting", Since: at(1)}, write: true},
		"no verdict yet: the Node's word goes on":    {memory: ptr(yes(hour)), node: ptr(no(hour.Add(-time.Hour))), first: starting, want: no(hour.Add(-time.Hour))},
		"not written then, and bad":                  {memory: ptr(yes(hour)), node: ptr(no(hour.Add(-time.Hour))), first: starting, second: &bad, want: yes(hour), write: true},
		"not written then, and over":                 {memory: ptr(yes(hour)), node: ptr(no(hour.Add(-time.Hour))), first: starting, second: &fine, want: no(at(2))},
		"still bad":                                  {memory: ptr(yes(hour)), node: ptr(yes(hour)), first: starting, second: &bad, want: yes(hour)},
		"still bad, no memory":                       {node: ptr(yes(hour)), first: bad, want: yes(hour)},
		"fine by now":                                {memory: ptr(yes(hour)), node: ptr(yes(hour)), first: starting, second: &fine, want: no(at(2)), write: true},
		"turned while the API server was away":       {memory: ptr(yes(at(-time.Minute))), node: ptr(no(hour)), first: bad, want: yes(at(-time.Minute)), write: true},
		"turned twice while it was away":             {memory: ptr(no(at(-time.Minute))), node: ptr(no(hour)), first: fine, want: no(at(-time.Minute))},
		"killed before the state was saved":          {memory: ptr(no(hour)), node: ptr(yes(at(-time.Second))), first: bad, want: yes(at(1)), write: false},
		"the Node has it later than the state":       {memory: ptr(yes(hour)), node: ptr(yes(at(-time.Second))), first: bad, want: yes(at(-time.Second))},
		"the same, and no verdict yet":               {memory: ptr(yes(hour)), node: ptr(yes(at(-time.Second))), first: starting, second: &bad, want: yes(at(-time.Second))},
		"another agent's verdict was never the same": {node: ptr(no(hour)), first: bad, want: yes(at(1)), write: true},
	} {
		b := newBoard(at(0))
		if x.memory != nil {
			b.earlier["A"], b.maybe["A"] = *x.memory, true
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
		got, differs := b.wanted(at(3))["A"], b.differs(at(3))
		got.fresh = false
		if got != x.want || (differs != none) != x.write {
			t.Errorf("%s: %+v, differs %d; want %+v, write %v", name, got, differs, x.want, x.write)
		}
		if m, kept := b.memory()["A"]; x.memory != nil && (!kept || m.starting()) {
			t.Errorf("%s: it remembers %+v", name, m)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestHoldEnds(t *testing.T) {
	b := newBoard(at(0))
	b.adopt(map[string]standing{"A": {Status: statusTrue, Reason: "K", Since: at(-time.Hour)}, "B": {Status: statusFalse, Reason: "Healthy"}})
	starting := []problem.Condition{cond("A", statusUnknown, "Starting", ""), cond("B", statusFalse, "Healthy", "")}
	b.see(starting, at(1))
	if s := b.wanted(at(holdFor - 1))["A"]; s.Status != statusTrue || b.differs(at(holdFor-1)) != none {
		t.Errorf("a restart turned the condition: %+v", s)
	}
	if s := b.wanted(at(holdFor))["A"]; s.Status != statusUnknown || !s.Since.Equal(at(1)) || b.differs(at(holdFor)) != news {
		t.Errorf("a verdict that never comes is no verdict: %+v", s)
	}
	w, err := b.compose(at(holdFor))
	if err != nil {
		t.Fatal(err)
	}
	b.wrote(w)
	b.see(starting, at(2*holdFor))
	if s := b.wanted(at(2 * holdFor))["A"]; b.differs(at(2*holdFor)) != none || !s.Since.Equal(at(1)) {
		t.Errorf("it goes on changing: %+v", s)
	}
}

func TestRemoval(t *testing.T) {
	b := newBoard(at(0))
	b.see([]problem.Condition{cond("A", statusFalse, "Healthy", "a"), cond("B", statusTrue, "K", "b")}, at(1))
	w, _ := b.compose(at(1))
	b.unsure(w) // no answer: they may stand there
	b.see([]problem.Condition{cond("B", statusTrue, "K", "b")}, at(2))
	if b.differs(at(9)) != news {
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
	if b.differs(at(9)) != none || len(b.leftovers(b.wanted(at(9)))) != 0 {
		t.Errorf("removed twice: %v", b.leftovers(b.wanted(at(9))))
	}
	b.see(nil, at(4))
	if got := b.leftovers(b.wanted(at(9))); len(got) != 1 || got[0] != "B" {
		t.Errorf("left over %q, want B", got)
	}
	b.forget()
	if len(b.leftovers(b.wanted(at(9)))) != 0 {
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

func TestEventsInACrowd(t *testing.T) {
	for _, x := range []struct {
		took     time.Duration
		failures int
		want     time.Duration
	}{{slowWrite, 0, eventsLater / 2}, {slowWrite + 1, 0, eventsInCrowd / 2}, {0, 1, eventsInCrowd / 2}} {
		if got := eventsAfter(x.took, x.failures, 0.5); got != x.want {
			t.Errorf("a write of %v after %d failures: Events wait %v, want %v", x.took, x.failures, got, x.want)
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
