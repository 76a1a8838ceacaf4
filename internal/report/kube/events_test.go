package kube

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// world is a node's problems, and the Events that were told of them.
type world struct {
	t *teller
	s problem.Snapshot
}

func newWorld() *world { return &world{t: newTeller(problem.Builtin(), at(0))} }

func (w *world) has(problems ...problem.Problem) *world {
	w.s.Problems = problems
	w.s.Kinds = nil
	for _, d := range problem.Builtin().All() {
		w.s.Kinds = append(w.s.Kinds, problem.KindStatus{Kind: d.Kind, State: problem.Fine})
	}
	return w
}

// tells does all that is to be told at the time now, and prints it.
func (w *world) tells(now time.Duration) string {
	var out []string
	for len(out) < 1000 {
		e, _ := w.t.next(&w.s, at(now))
		if e == nil {
			break
		}
		if _, err := e.body(ourNode{name: "n1"}); err != nil {
			panic(err)
		}
		out = append(out, describe(e))
		w.t.done(e, nil, at(now))
	}
	return strings.Join(out, " | ")
}

func describe(e *telling) string {
	what := fmt.Sprintf("×%d", e.Count)
	if e.create {
		what = "new"
	}
	about := "node"
	if e.Pod != "" {
		about = e.Pod
	}
	over := ""
	if e.Over {
		over = " over"
	}
	return fmt.Sprintf("%s %s%s on %s", what, e.Kind, over, about)
}

func oom(pod string, lines uint64) problem.Problem {
	return problem.Problem{
		Kind: problem.ContainerOOM, Subject: "pod " + pod, Severity: problem.Info, Scope: problem.PodScope, Since: at(0),
		Message: "out of memory", Lines: lines, Touches: []problem.Ref{problem.NewRef(problem.RefPod, pod), "pod:0a1b2c3d-0000-0000-0000-000000000000"},
	}
}

func fork(sev problem.Severity) problem.Problem {
	return problem.Problem{Kind: problem.ForkRefused, Severity: sev, Scope: problem.NodeScope, Since: at(0), Message: "fork fails", Next: "cat pids.max"}
}

func TestEvents(t *testing.T) {
	w := newWorld().has()
	step := func(now time.Duration, want string) {
		t.Helper()
		if got := w.tells(now); got != want {
			t.Errorf("at %v: told %q, want %q", now, got, want)
		}
	}
	const m = time.Minute
	step(0, "")
	w.has(fork(problem.Warning))
	step(1*m, "new ForkRefused on node")
	step(2*m, "") // told once
	w.has(fork(problem.Critical))
	step(3*m, "new ForkRefused on node") // it got worse
	w.has(fork(problem.Warning))
	step(4*m, "") // it got better: no news
	w.has()
	step(5*m, "new ForkRefused over on node")
	step(6*m, "")
	w.has(fork(problem.Warning))
	step(7*m, "×2 ForkRefused on node") // again, within half an hour
	w.has()
	step(8*m, "×2 ForkRefused over on node")
	w.has(fork(problem.Warning))
	step(50*m, "new ForkRefused on node") // a new series
	w.has(fork(problem.Warning), oom("ns/a", 1))
	step(51*m, "new ContainerOOM on node | new ContainerOOM on ns/a")
	w.has(fork(problem.Warning), oom("ns/a", 4))
	step(52*m, "") // counted up at most each 5 minutes
	step(57*m, "×4 ContainerOOM on node | ×4 ContainerOOM on ns/a")
	w.has(fork(problem.Warning))
	step(58*m, "") // what only happened does not end
	w.has(fork(problem.Warning), oom("ns/a", 1))
	step(59*m, "×5 ContainerOOM on node | ×5 ContainerOOM on ns/a")
	w.has()
	step(60*m, "new ForkRefused over on node") // long after the last that ended
}

// TestEventsOutOfSight: what cannot be told at the moment is not over.
func TestEventsOutOfSight(t *testing.T) {
	w := newWorld().has(fork(problem.Critical))
	w.tells(0)
	for state, want := range map[problem.State]string{problem.Unknown: "", problem.NotApplicable: "", problem.Fine: "new ForkRefused over on node"} {
		x := newWorld().has(fork(problem.Critical))
		x.tells(0)
		x.has()
		x.s.Kinds = []problem.KindStatus{{Kind: problem.ForkRefused, State: state}}
		if got := x.tells(time.Minute); got != want {
			t.Errorf("%v: told %q, want %q", state, got, want)
		}
	}
}

// TestEventsOfTheLastRun: what it has left may be over, and waits for a verdict of this one.
func TestEventsOfTheLastRun(t *testing.T) {
	w := newWorld().has(fork(problem.Critical), oom("ns/a", 1))
	w.s.Kinds = []problem.KindStatus{{Kind: problem.ContainerOOM, State: problem.Wrong}, {Kind: problem.ForkRefused, State: problem.Unknown, Starting: true}}
	if got := w.tells(0); got != "new ContainerOOM on node | new ContainerOOM on ns/a" {
		t.Errorf("told %q", got)
	}
}

// TestNoteOfAnEnd says of what, and how long it was.
func TestNoteOfAnEnd(t *testing.T) {
	for subject, want := range map[string]string{"": "over: ForkRefused, after 1m0s", "unit a": "over: ForkRefused unit a, after 1m0s"} {
		p := fork(problem.Warning)
		p.Subject = subject
		w := newWorld().has(p)
		w.tells(0)
		e, _ := w.has().t.next(&w.s, at(time.Minute))
		if e == nil || e.note != want {
			t.Errorf("%+v, want %q", e, want)
		}
	}
}

// TestEventsForgotten: only so many are remembered, and never less than what stands.
func TestEventsForgotten(t *testing.T) {
	w, told, hours := newWorld(), 0, 20
	for i := range hours {
		all := []problem.Problem{fork(problem.Critical)}
		for j := range eventBurst {
			all = append(all, oom(fmt.Sprintf("ns/p%d-%d", i, j), 1))
		}
		now := time.Duration(i) * time.Hour
		told += strings.Count(w.has(all...).tells(now)+w.tells(now), "new ")
	}
	if len(w.t.told) > maxTold || told != hours*eventBurst {
		t.Errorf("%d Events are remembered of %d", len(w.t.told), told)
	}
	if got := w.has(fork(problem.Critical)).tells(time.Duration(hours) * time.Hour); got != "" {
		t.Errorf("forgotten, and told again: %s", got)
	}
	for i := range 20 { // more that stand than are remembered
		var all []problem.Problem
		for j := range maxTold {
			all = append(all, oom(fmt.Sprintf("ns/q%d", j), 1))
		}
		w.has(all...).tells(time.Duration(hours+1+i) * time.Hour)
	}
	if got := w.tells(100 * time.Hour); len(w.t.told) != maxTold || got != "" {
		t.Errorf("%d Events are remembered, and told again: %s", len(w.t.told), got)
	}
}

// TestEventsOfManyLives: each problem that came and went leaves two Events.
func TestEventsOfManyLives(t *testing.T) {
	w := newWorld()
	for i := range maxTold {
		p, now := fork(problem.Warning), time.Duration(i)*time.Hour
		p.Subject = fmt.Sprint("unit ", i)
		if got := w.has(p).tells(now) + ", " + w.has().tells(now+time.Minute); got != "new ForkRefused on node, new ForkRefused over on node" {
			t.Fatalf("%d: told %s", i, got)
		}
	}
	if len(w.t.told) > maxTold {
		t.Errorf("%d Events are remembered", len(w.t.told))
	}
}

// TestEventsBounded: 200 pods that die at once fill nobody's etcd, and the API
// server that was away hears of nothing that is over.
func TestEventsBounded(t *testing.T) {
	w := newWorld()
	var all []problem.Problem
	for i := range 200 {
		all = append(all, oom(fmt.Sprintf("ns/p%d", i), 1))
	}
	w.has(append([]problem.Problem{fork(problem.Critical)}, all...)...)
	first := w.tells(0)
	if n := strings.Count(first, "|") + 1; n != eventBurst || !strings.HasPrefix(first, "new ForkRefused") {
		t.Errorf("told %d Events at once: %s", n, first)
	}
	if _, again := w.t.next(&w.s, at(0)); !again.Equal(at(eventEvery)) {
		t.Errorf("next at %v, want %v", again, at(eventEvery))
	}
	if got := w.tells(4 * eventEvery); strings.Count(got, "|") != 3 {
		t.Errorf("four tokens later: %s", got)
	}
	w.has(fork(problem.Critical))
	if got := w.tells(time.Hour); got != "" {
		t.Errorf("told of what is over: %s", got)
	}
	for i := range 100 {
		w.has(append(all[i:i+100:i+100], fork(problem.Critical))...)
		w.tells(time.Duration(i) * time.Hour)
	}
	if len(w.t.told) > maxTold {
		t.Errorf("%d Events are remembered", len(w.t.told))
	}
}

func TestEventFailures(t *testing.T) {
	for _, x := range []struct {
		problem problem.Problem
		result  result
		again   bool // it is tried again
		settled bool
	}{
		{fork(problem.Critical), unreachable, true, false},
		{fork(problem.Critical), forbidden, true, false}, // by the role
		{fork(problem.Critical), conflict, false, true},  // told before a crash
		{fork(problem.Critical), rejected, false, true},
		{oom("ns/a", 1), notFound, false, true},  // its namespace is gone
		{oom("ns/a", 1), forbidden, false, true}, // or closed to us
		{oom("ns/a", 1), unreachable, true, false},
	} {
		w := newWorld().has(x.problem)
		if x.problem.Scope == problem.PodScope {
			e, _ := w.t.next(&w.s, at(0))
			w.t.done(e, nil, at(0)) // the Node's
		}
		e, _ := w.t.next(&w.s, at(0))
		if _, err := e.body(ourNode{name: "n1"}); err != nil {
			t.Fatal(err)
		}
		if got := w.t.done(e, &failure{result: x.result}, at(0)); got != x.settled {
			t.Errorf("%s: settled %v", x.result, got)
		}
		if next, _ := w.t.next(&w.s, at(1)); (next != nil) != x.again {
			t.Errorf("%s: again %v, want %v", x.result, next != nil, x.again)
		}
	}
	for r, want := range map[result]string{
		notFound: "new ContainerOOM on node", conflict: "new ContainerOOM on node", rejected: "new ContainerOOM on node", // it has expired
		unreachable: "×2 ContainerOOM on node",
	} {
		w := newWorld().has(oom("ns/a", 1))
		w.tells(0)
		w.has(oom("ns/a", 2))
		e, _ := w.t.next(&w.s, at(recount))
		settled := w.t.done(e, &failure{result: r}, at(recount))
		if got := w.tells(recount); !strings.HasPrefix(got, want) || settled != (r != unreachable) {
			t.Errorf("after %s: settled %v, told %s, want %s", r, settled, got, want)
		}
	}
}

func TestEventBody(t *testing.T) {
	w := newWorld().has(oom("ns/a", 1))
	var got []map[string]any
	for range 2 {
		e, _ := w.t.next(&w.s, at(0))
		raw, err := e.body(ourNode{"n1", "uid-of-n1"})
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		got = append(got, m)
		w.t.done(e, nil, at(0))
	}
	pick := func(m map[string]any, keys ...string) string {
		var out []string
		for _, k := range keys {
			v, _ := json.Marshal(m[k])
			out = append(out, string(v))
		}
		return strings.Join(out, " ")
	}
	const n, p = `{"apiVersion":"v1","kind":"Node","name":"n1","uid":"uid-of-n1"}`,
		`{"apiVersion":"v1","kind":"Pod","name":"a","namespace":"ns","uid":"0a1b2c3d-0000-0000-0000-000000000000"}`
	keys := []string{"regarding", "related", "type", "reason", "action", "reportingController", "reportingInstance", "note", "eventTime"}
	const rest = ` "Warning" "ContainerOOM" "Found" "nodevitals.io/agent" "n1" "out of memory (pod ns/a)" "2026-01-02T00:00:00.000000Z"`
	if s := pick(got[0], keys...); s != n+" "+p+rest {
		t.Error(s)
	}
	if s := pick(got[1], keys...); s != p+" "+n+rest {
		t.Error(s)
	}
	meta := got[1]["metadata"].(map[string]any)
	if meta["namespace"] != "ns" || !strings.HasPrefix(meta["name"].(string), "n1.") || len(meta["name"].(string)) != 19 {
		t.Errorf("%v", meta)
	}
	long := telling{told: told{eventKey: eventKey{Kind: problem.Kind(strings.Repeat("K", 300))}}, create: true}
	raw, err := long.body(ourNode{name: strings.Repeat("a.", 120) + "a"})
	if err != nil || len(long.Name) > 253 {
		t.Errorf("%v, name of %d", err, len(long.Name))
	}
	var m map[string]any
	_ = json.Unmarshal(raw, &m)
	if len(m["reason"].(string)) > 128 || len(m["reportingInstance"].(string)) > 128 {
		t.Errorf("%s", raw)
	}
}
