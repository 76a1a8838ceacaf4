package kube

// This file: what our conditions are, since when, and what of that the Node
// already shows. It is pure: times come in from outside.

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/nodevitals/nodevitals/internal/diagnosis"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// holdFor is how long after its start the agent lets a condition stand as the
// Node has it while it has no verdict of its own yet. First runs take seconds;
// whatever takes longer than this is not about to come.
const holdFor = 2 * time.Minute

// standing is one condition and since when it has had its status.
type standing struct {
	Status  problem.ConditionStatus `json:"status"`
	Reason  string                  `json:"reason"`
	Message string                  `json:"message"`
	Since   time.Time               `json:"since"`
	// fresh: this process has no other word of Since than its own first look.
	fresh bool
}

func (s standing) starting() bool { return s.Reason == diagnosis.ReasonStarting }

// board holds the conditions as they should be, and as they were last written.
type board struct {
	holdUntil time.Time
	order     []string // types, as they are to be written
	// stands has the verdicts of this run; earlier those that the last run has left,
	// for their dates; waiting the types of which this run has no verdict yet.
	stands, earlier, waiting map[string]standing
	// shown is what the Node shows of ours, as far as is known: what was written
	// last, or found there. A type whose write may or may not have arrived is in
	// maybe, too.
	shown map[string]standing
	maybe map[string]bool
	// late is a write that was given up and may still arrive; mixed: there are
	// several that differ.
	late  map[string]standing
	mixed bool
}

func newBoard(start time.Time) *board {
	return &board{
		holdUntil: start.Add(holdFor),
		stands:    map[string]standing{}, earlier: map[string]standing{}, waiting: map[string]standing{},
		shown: map[string]standing{}, maybe: map[string]bool{},
	}
}

// see takes in the conditions of a snapshot made at the time now.
func (b *board) see(conditions []problem.Condition, now time.Time) {
	b.order = b.order[:0]
	present := map[string]bool{}
	for _, c := range conditions {
		b.order = append(b.order, c.Type)
		present[c.Type] = true
		next := standing{Status: c.Status, Reason: c.Reason, Message: c.Message, Since: now}
		old, known := b.stands[c.Type]
		if !known && next.starting() {
			if w, waits := b.waiting[c.Type]; waits {
				next.Since = w.Since
			}
			b.waiting[c.Type] = next
			continue
		}
		if !known {
			old, known = b.earlier[c.Type]
		}
		switch {
		case !known:
			next.fresh = true
		case old.Status == next.Status:
			next.Since, next.fresh = old.Since, old.fresh
		}
		b.stands[c.Type] = next
		delete(b.waiting, c.Type)
	}
	gone := func(typ string, _ standing) bool { return !present[typ] }
	maps.DeleteFunc(b.stands, gone)
	maps.DeleteFunc(b.waiting, gone)
}

// adopt takes in what the Node shows of ours before the first write: what an
// earlier run of the agent has left, perhaps on another boot.
func (b *board) adopt(found map[string]standing) {
	b.forget()
	for typ, f := range found {
		b.shown[typ] = f
		// Without a memory of our own the Node's word counts; with one, the later: the
		// memory may be some seconds older than the last write.
		if e, known := b.earlier[typ]; !known || f.Since.After(e.Since) {
			b.earlier[typ] = f
		}
		s, known := b.stands[typ]
		if known && s.Status == f.Status && (s.fresh || f.Since.After(s.Since)) {
			s.Since, s.fresh = f.Since, false
			b.stands[typ] = s
		}
	}
}

// wanted is what the Node should show. That the agent restarts is no news of the
// node: until there is a verdict, what stands there goes on for a while; but what
// the last run has seen and not written is not written now.
func (b *board) wanted(now time.Time) map[string]standing {
	all := maps.Clone(b.stands)
	for typ, w := range b.waiting {
		switch s, there := b.shown[typ]; {
		case there && now.Before(b.holdUntil):
			w = s
		case there && s.Status == w.Status:
			w.Since = s.Since
		}
		all[typ] = w
	}
	return all
}

// difference is how much what stands differs from what is shown.
type difference uint8

const (
	none    difference = iota
	wording            // only messages, and of what is wrong only their numbers
	news               // a status, a reason, what is wrong, a type that came or went
)

func (b *board) differs(now time.Time) difference {
	d := none
	wanted := b.wanted(now)
	for typ, s := range wanted {
		shown, there := b.shown[typ]
		switch {
		case !there || shown.Status != s.Status || shown.Reason != s.Reason:
			return news
		case s.Status == problem.ConditionTrue && words(shown.Message) != words(s.Message):
			return news
		case shown.Message != s.Message:
			d = wording
		}
	}
	if len(b.leftovers(wanted)) > 0 {
		return news
	}
	return d
}

// words are a message without its numbers, which change all the time.
func words(message string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, message)
}

// leftovers are types that the Node shows, or may show, and should not.
func (b *board) leftovers(wanted map[string]standing) []string {
	gone := map[string]bool{}
	for typ := range b.shown {
		gone[typ] = true
	}
	maps.Copy(gone, b.maybe)
	maps.DeleteFunc(gone, func(typ string, _ bool) bool { _, stays := wanted[typ]; return stays })
	return sorted(gone)
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// write is one patch of the Node, and what it will have changed.
type write struct {
	body    []byte
	stands  map[string]standing
	removed []string
}

// compose makes the patch that brings the Node up to date. It names only our own
// conditions, so that nobody else's are touched.
func (b *board) compose(now time.Time) (write, error) {
	wanted := b.wanted(now)
	w := write{stands: wanted, removed: b.leftovers(wanted)}
	p := patch{patchStatus{Conditions: []any{}}}
	for _, typ := range b.order {
		s := wanted[typ]
		p.Status.Conditions = append(p.Status.Conditions, nodeCondition{
			Type: typ, Status: string(s.Status), Reason: s.Reason, Message: s.Message,
			LastHeartbeatTime: dateTime{now}, LastTransitionTime: dateTime{s.Since},
		})
	}
	p.remove(w.removed)
	var err error
	w.body, err = json.Marshal(p)
	return w, err
}

// wrote notes that a write has arrived. It reports whether an earlier one that may
// still arrive says something else, so that this one should be repeated.
func (b *board) wrote(w write) (outdated bool) {
	outdated = b.mixed || b.late != nil && !maps.Equal(b.late, w.stands)
	b.shown, b.late, b.mixed = w.stands, nil, false
	clear(b.maybe)
	return outdated
}

// unsure notes that a write may have arrived and may not have.
func (b *board) unsure(w write) {
	b.mixed = b.mixed || b.late != nil && !maps.Equal(b.late, w.stands)
	b.late = w.stands
	for typ := range w.stands {
		b.maybe[typ] = true
	}
}

// memory is what another run of the agent needs to go on.
func (b *board) memory() map[string]standing {
	all := maps.Clone(b.stands)
	for typ := range b.waiting {
		if e, known := b.earlier[typ]; known {
			all[typ] = e
		}
	}
	return all
}

// forget drops all knowledge of the Node: it was deleted, or made anew.
func (b *board) forget() {
	clear(b.shown)
	clear(b.maybe)
}
