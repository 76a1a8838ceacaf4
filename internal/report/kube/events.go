package kube

// This file: what to tell as Events. Nothing is queued: what was told is compared
// with what is true now, so that an API server that comes back hears of what is
// wrong then and of nothing older. It is pure: times come in from outside.

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/diagnosis"
	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	// seriesGap is how long after its last occurrence an Event is counted up
	// rather than made anew. An Event lives for an hour (kube-apiserver --event-ttl).
	seriesGap = 30 * time.Minute
	// recount is how often the growing number of log lines is told of one problem.
	recount = 5 * time.Minute
	// A bucket of tokens bounds the Events: a burst of eventBurst, then one each
	// eventEvery. What finds no token is told later, if it is still true by then. The
	// burst is that of client-go's own recorder (maxBurst in tools/record): four faults
	// at once, with what they bring about and an Event each for their pods, fit in.
	eventBurst = 25
	eventEvery = 30 * time.Second
	// maxTold bounds what is remembered of Events.
	maxTold = 256
)

// eventKey is what one series of Events is about.
type eventKey struct {
	Kind    problem.Kind `json:"kind"`
	Subject string       `json:"subject,omitempty"`
	// Pod is the pod that it regards, namespace/name; empty for the Node.
	Pod string `json:"pod,omitempty"`
	// Over: it says that the problem has ended.
	Over bool `json:"over,omitempty"`
}

// told is an Event that was written.
type told struct {
	eventKey
	Severity  problem.Severity `json:"severity"`
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	Count     int32            `json:"count"`
	Last      time.Time        `json:"last"`
	Since     time.Time        `json:"since"`
	Lines     uint64           `json:"lines,omitempty"`
	// Active: the problem stood when it was last looked at.
	Active bool `json:"active,omitempty"`
}

// telling is an Event to be written: made, or counted up.
type telling struct {
	told
	create bool
	note   string
	podUID string // of the pod that it regards, or is related to
	pod    string // namespace/name of it
}

// teller decides what to tell.
type teller struct {
	catalogue *problem.Catalogue
	told      map[eventKey]told
	tokens    float64
	filled    time.Time
}

func newTeller(c *problem.Catalogue, now time.Time) *teller {
	return &teller{catalogue: c, told: map[eventKey]told{}, tokens: eventBurst, filled: now}
}

// next is the most urgent thing to tell of s. Without one, again is when it is
// worth looking next although nothing has changed; zero for never.
func (t *teller) next(s *problem.Snapshot, now time.Time) (_ *telling, again time.Time) {
	want := t.want(s, now)
	if want == nil {
		return nil, time.Time{}
	}
	t.tokens = min(eventBurst, t.tokens+float64(now.Sub(t.filled))/float64(eventEvery))
	t.filled = now
	if t.tokens < 1 {
		return nil, now.Add(time.Duration((1 - t.tokens) * float64(eventEvery)))
	}
	return want, time.Time{}
}

func (t *teller) want(s *problem.Snapshot, now time.Time) *telling {
	active := map[eventKey]bool{}
	var first *telling
	for _, p := range s.Problems { // the worst first
		pod, uid := podOf(p)
		keys := []eventKey{{Kind: p.Kind, Subject: p.Subject}}
		if p.Scope == problem.PodScope && pod != "" {
			keys = append(keys, eventKey{Kind: p.Kind, Subject: p.Subject, Pod: pod})
		}
		for _, k := range keys {
			active[k] = true
			if first == nil && !startingKind(s, p.Kind) {
				if first = t.begun(k, p, now); first != nil {
					first.pod, first.podUID = pod, uid
				}
			}
		}
	}
	for _, k := range sortedKeys(t.told) {
		if old := t.told[k]; old.Active && !active[k] {
			if first == nil {
				first = t.ended(old, s, now)
			}
		}
	}
	return first
}

// begun is what to tell of an active problem, nil if that was told.
func (t *teller) begun(k eventKey, p problem.Problem, now time.Time) *telling {
	old, known := t.told[k]
	if !known && len(t.told) >= maxTold && t.oldest() == nil {
		return nil
	}
	next := told{
		eventKey: k, Severity: p.Severity, Namespace: namespaceOf(k), Count: 1, Last: now, Since: p.Since, Lines: p.Lines, Active: true,
	}
	switch {
	case !known, p.Severity > old.Severity, !old.Active && now.Sub(old.Last) > seriesGap:
		return &telling{told: next, create: true, note: Note(p)}
	case !old.Active:
		next.Count = old.Count + 1
	case p.Lines > old.Lines && now.Sub(old.Last) >= recount:
		next.Count = old.Count + int32(min(p.Lines-old.Lines, 1<<20))
	default:
		return nil
	}
	next.Name, next.Severity = old.Name, old.Severity
	return &telling{told: next}
}

// Note is what an Event says of a problem: its cause first, and what to do next.
func Note(p problem.Problem) string {
	note := diagnosis.Headline(p)
	if p.Next != "" {
		note += ". Next: " + p.Next
	}
	return bounded(note)
}

// ended is what to tell of a problem that stands no more, nil if that is nothing.
func (t *teller) ended(old told, s *problem.Snapshot, now time.Time) *telling {
	def, _ := t.catalogue.Get(old.Kind)
	switch stateOf(s, old.Kind) {
	case problem.Unknown:
		return nil // it is only out of sight
	case problem.NotApplicable:
		def.Condition = ""
	}
	if def.Condition == "" || old.Pod != "" {
		// What is told as an Event only happened; it does not end.
		old.Active = false
		t.told[old.eventKey] = old
		return nil
	}
	k := old.eventKey
	k.Over = true
	next := told{eventKey: k, Severity: old.Severity, Namespace: old.Namespace, Count: 1, Last: now, Since: now}
	if before, known := t.told[k]; known && now.Sub(before.Last) <= seriesGap {
		next.Name, next.Count = before.Name, before.Count+1
		return &telling{told: next}
	}
	note := "over: " + string(k.Kind)
	if k.Subject != "" {
		note += " " + k.Subject
	}
	if !old.Since.IsZero() {
		note += ", after " + now.Sub(old.Since).Round(time.Second).String()
	}
	return &telling{told: next, create: true, note: bounded(note)}
}

// done notes how a telling ended. What can never be told counts as told; it
// reports false for a failure that is not the Event's own.
func (t *teller) done(w *telling, f *failure, now time.Time) bool {
	if f == nil || f.result == conflict && w.create {
		t.tokens--
	}
	switch {
	case f == nil:
	case w.create && (f.result == conflict || f.result == rejected):
	case w.create && w.Pod != "" && (f.result == forbidden || f.result == notFound):
		// Its namespace is being deleted, or closed to us. The Node's Event says it, too.
	case !w.create && (f.result == notFound || f.result == rejected || f.result == conflict):
		delete(t.told, w.eventKey) // it has expired: make it anew
		return true
	default:
		return false
	}
	if w.Over {
		k := w.eventKey
		k.Over = false
		old := t.told[k]
		old.Active, old.Last = false, now
		t.told[k] = old
	}
	if _, known := t.told[w.eventKey]; !known && len(t.told) >= maxTold {
		if old := t.oldest(); old != nil {
			delete(t.told, old.eventKey)
		}
	}
	t.told[w.eventKey] = w.told
	return true
}

// oldest is the Event to be forgotten for another: the oldest about something that is
// over, nil if all stands.
func (t *teller) oldest() *told {
	var oldest *told
	for _, k := range sortedKeys(t.told) {
		if old := t.told[k]; !old.Active && (oldest == nil || old.Last.Before(oldest.Last)) {
			oldest = &old
		}
	}
	return oldest
}

// startingKind: this run has no verdict of the kind yet. What the last run has left
// may be over.
func startingKind(s *problem.Snapshot, k problem.Kind) bool {
	return slices.ContainsFunc(s.Kinds, func(st problem.KindStatus) bool { return st.Kind == k && st.Starting })
}

func stateOf(s *problem.Snapshot, k problem.Kind) problem.State {
	for _, st := range s.Kinds {
		if st.Kind == k {
			return st.State
		}
	}
	return problem.NotApplicable // its probe was switched off
}

// podOf is the one pod that a problem touches: its namespace/name and its uid, as
// far as they are known.
func podOf(p problem.Problem) (name, uid string) {
	var names, uids []string
	for _, r := range p.Touches {
		switch {
		case r.Type() != problem.RefPod:
		case strings.Contains(r.ID(), "/"):
			names = append(names, r.ID())
		default:
			uids = append(uids, r.ID())
		}
	}
	if len(names) == 1 {
		name = names[0]
		if len(uids) == 1 {
			uid = uids[0]
		}
	}
	return name, uid
}

// namespaceOf is where an Event lives: in the pod's namespace, or in the one for
// what has none.
func namespaceOf(k eventKey) string {
	namespace, _, ok := strings.Cut(k.Pod, "/")
	if !ok {
		return "default"
	}
	return namespace
}

func sortedKeys(m map[eventKey]told) []eventKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b eventKey) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Pod, b.Pod))
	})
}
