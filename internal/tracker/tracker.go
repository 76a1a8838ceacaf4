// Package tracker holds one entry for each (kind, subject) and merges what
// probes see (level evidence) with what logs claim (log evidence) into active
// problems: it raises them when the catalogue's counts and hold times are met,
// keeps them from flapping, and clears them by itself. It does no I/O and reads
// no clock: every time comes in from outside, as boot time.
package tracker

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	// clearRuns is how many runs must find a subject fine before its problem
	// clears, and how many must find it less severe before it is lowered. Two,
	// so that one lucky sample between two bad ones is no recovery.
	clearRuns = 2
	// maxSubjects bounds the entries of one kind; claims beyond it share the
	// subject "other", so that no flood of log lines can fill the memory.
	maxSubjects = 500
	// overduePeriods is after how many periods without a verdict a kind counts
	// as one that cannot be told.
	overduePeriods = 3
)

// Other is the subject of claims beyond the bound on subjects.
const Other = "other"

// starting is the reason of a kind whose probe has not ended a run yet.
const starting = "no run has ended yet"

// Tracker is the state of all entries. It is not safe for concurrent use: the
// agent's loop owns it.
type Tracker struct {
	catalogue *problem.Catalogue
	immediate bool
	entries   map[key]*entry
	kinds     map[problem.Kind]*kindState
	perKind   map[problem.Kind]int
}

type key struct {
	Kind    problem.Kind
	Subject string
}

// New is an empty tracker. An immediate one raises on the first verdict and
// clears on the first fine one, as a single look at a node must.
func New(c *problem.Catalogue, immediate bool) *Tracker {
	return &Tracker{
		catalogue: c, immediate: immediate,
		entries: map[key]*entry{}, kinds: map[problem.Kind]*kindState{}, perKind: map[problem.Kind]int{},
	}
}

// Expect says that a probe will decide these kinds, so that they are "starting"
// and not absent until its first run ends.
func (t *Tracker) Expect(probe string, kinds []problem.Kind, period, now time.Duration) {
	for _, k := range kinds {
		if t.kinds[k] == nil {
			t.kinds[k] = &kindState{LastGood: now}
		}
		ks := t.kinds[k]
		ks.Probe, ks.Period, ks.State, ks.Reason = probe, period, problem.Unknown, starting
	}
}

// kindState is what is known of a kind as a whole.
type kindState struct {
	Probe  string        `json:"probe"`
	Period time.Duration `json:"period"`
	State  problem.State `json:"state"`
	Reason string        `json:"reason,omitempty"`
	// LastGood is when a run last decided it.
	LastGood time.Duration `json:"lastGood"`
	Decided  bool          `json:"decided"` // at least once
}

// Observe takes in one run of a probe.
func (t *Tracker) Observe(r problem.Report) {
	byKey, anyWrong := t.sortVerdicts(r)
	first := map[problem.Kind]bool{}
	for _, k := range r.Kinds {
		first[k] = t.kinds[k] == nil || !t.kinds[k].Decided
		t.observeKind(k, r, byKey, anyWrong[k])
	}
	for id, e := range t.entries {
		if !slices.Contains(r.Kinds, id.Kind) {
			continue
		}
		ks := t.kinds[id.Kind]
		v, seen := byKey[id]
		switch {
		case ks == nil:
			e.unknown(problem.NotApplicable, r.Err.Error())
		case v.State == problem.Wrong:
			e.wrong(v, r.Begun, first[id.Kind])
		case seen:
			e.unknown(v.State, v.Message)
		case ks.State == problem.NotApplicable || r.Err != nil:
			e.unknown(ks.State, ks.Reason)
		case r.Result.Partial != "":
			// Absent means unchanged.
		case ks.State == problem.Unknown:
			e.unknown(problem.Unknown, ks.Reason)
		case id.Subject == "" && anyWrong[id.Kind], byKey[key{Kind: id.Kind}].State == problem.Wrong:
			// Another subject is still wrong, or the node as a whole is: no sign of recovery.
		default:
			e.fine(r.Begun)
		}
		e.Period = r.Period
		t.settle(id, e, r.Ended)
	}
}

// sortVerdicts makes sure that every verdict has an entry, and says which kinds
// have something wrong. Of two verdicts about one subject the worse stands.
func (t *Tracker) sortVerdicts(r problem.Report) (map[key]problem.Verdict, map[problem.Kind]bool) {
	byKey := map[key]problem.Verdict{}
	anyWrong := map[problem.Kind]bool{}
	if r.Err != nil {
		return byKey, anyWrong
	}
	for _, v := range r.Result.Verdicts {
		id := t.admit(v.Kind, v.Subject)
		v.Subject = id.Subject
		if old, twice := byKey[id]; !twice || worse(v, old) {
			byKey[id] = v
		}
		if v.State == problem.Wrong {
			anyWrong[v.Kind] = true
		}
	}
	return byKey, anyWrong
}

func worse(a, b problem.Verdict) bool {
	if a.State != b.State {
		return a.State == problem.Wrong
	}
	return a.Severity > b.Severity
}

// admit finds or makes the entry for a subject, within the bound.
func (t *Tracker) admit(kind problem.Kind, subject string) key {
	id := key{kind, subject}
	if t.entries[id] != nil {
		return id
	}
	if t.perKind[kind] >= maxSubjects {
		id.Subject = Other
	}
	if t.entries[id] == nil {
		t.entries[id] = &entry{}
		t.perKind[kind]++
	}
	return id
}

func (t *Tracker) observeKind(k problem.Kind, r problem.Report, verdicts map[key]problem.Verdict, anyWrong bool) {
	ks := t.kinds[k]
	if ks == nil {
		ks = &kindState{LastGood: r.Begun}
		t.kinds[k] = ks
	}
	ks.Probe, ks.Period = r.Probe, r.Period
	var notApplicable *problem.NotApplicableError
	whole, unknown := verdicts[key{Kind: k}], firstUnknown(k, verdicts)
	switch {
	case errors.As(r.Err, &notApplicable) && notApplicable.LogsTell:
		delete(t.kinds, k) // no probe decides it
		return
	case errors.As(r.Err, &notApplicable):
		ks.State, ks.Reason = problem.NotApplicable, notApplicable.Reason
	case r.Err != nil:
		ks.State, ks.Reason = problem.Unknown, r.Err.Error()
		return
	case whole.State == problem.NotApplicable:
		ks.State, ks.Reason = problem.NotApplicable, whole.Message
	case anyWrong:
		ks.State, ks.Reason = problem.Wrong, ""
	case unknown != nil:
		ks.State, ks.Reason = problem.Unknown, unknown.Message
		return
	case r.Result.Partial != "" && (!ks.Decided || ks.State == problem.Unknown):
		ks.State, ks.Reason = problem.Unknown, "seen only in part: "+r.Result.Partial
		return
	case r.Result.Partial != "":
		// Absent means unchanged, and this run is not a decision.
		return
	default:
		ks.State, ks.Reason = problem.Fine, ""
	}
	ks.LastGood, ks.Decided = r.Ended, true
}

// firstUnknown is the unknown verdict with the first subject, so that the reason
// does not change from run to run.
func firstUnknown(k problem.Kind, verdicts map[key]problem.Verdict) *problem.Verdict {
	var first *problem.Verdict
	for id, v := range verdicts {
		if id.Kind == k && v.State == problem.Unknown && (first == nil || v.Subject < first.Subject) {
			found := v // of its own, so that not each v is put on the heap
			first = &found
		}
	}
	return first
}

// Match takes in what a log line claims, at the boot time of the line itself.
func (t *Tracker) Match(at time.Duration, c problem.Claim) {
	def, ok := t.catalogue.Get(c.Kind)
	if !ok {
		return
	}
	if c.Resolves {
		id := key{c.Kind, c.Subject}
		if e := t.entries[id]; e != nil {
			e.resolve(at)
			t.settle(id, e, at)
		}
		return
	}
	id := t.admit(c.Kind, c.Subject)
	c.Subject = id.Subject
	e := t.entries[id]
	e.line(at, c, def)
	t.settle(id, e, at)
}

// Tick lets time pass: quiet times end, and what no longer matters is forgotten.
func (t *Tracker) Tick(now time.Duration) {
	for id, e := range t.entries {
		t.settle(id, e, now)
		def, _ := t.catalogue.Get(id.Kind)
		if e.forgettable(now, def) {
			delete(t.entries, id)
			t.perKind[id.Kind]--
		}
	}
}

func (t *Tracker) settle(id key, e *entry, now time.Duration) {
	def, ok := t.catalogue.Get(id.Kind)
	if !ok {
		def = problem.Definition{Kind: id.Kind, Severity: problem.Warning, Scope: problem.NodeScope}
	}
	ks := t.kinds[id.Kind]
	e.settle(now, def, ks != nil && ks.State != problem.NotApplicable, t.immediate)
}

// Active are the problems that stand now, worst first, then by kind and subject.
func (t *Tracker) Active() []problem.Tracked {
	var out []problem.Tracked
	for id, e := range t.entries {
		if e.Active {
			def, _ := t.catalogue.Get(id.Kind)
			out = append(out, e.tracked(id, def))
		}
	}
	slices.SortFunc(out, func(a, b problem.Tracked) int {
		return cmp.Or(
			-cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Scope, b.Scope),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject))
	})
	return out
}

// Kinds is the state of each kind that a probe decides, in the catalogue's order.
func (t *Tracker) Kinds(now time.Duration) []problem.KindStatus {
	var out []problem.KindStatus
	for _, d := range t.catalogue.All() {
		ks := t.kinds[d.Kind]
		if ks == nil {
			continue
		}
		s := problem.KindStatus{Kind: d.Kind, Probe: ks.Probe, State: ks.State, Reason: ks.Reason}
		if ks.State == problem.Unknown {
			s.Starting = ks.Reason == starting
			s.Missing = now - ks.LastGood
			s.Overdue = !s.Starting && (!ks.Decided || s.Missing > overduePeriods*ks.Period)
		}
		out = append(out, s)
	}
	return out
}
