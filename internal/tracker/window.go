package tracker

// This file counts what log lines say: calls that failed, different names, or
// how long it has gone on.

import (
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	// oneCall is within what time the lines about one failed call come: the
	// runtime's, that of kubelet's client, and those of each layer of kubelet that
	// hands the error on. They are written within milliseconds; a second makes up
	// for logs whose stamps have no more than seconds.
	oneCall = time.Second
	// maxWindow is the most failures whose times one window keeps, whatever a rule
	// asks for.
	maxWindow = 1000
	// maxSites is the most places whose lines one failure has.
	maxSites = 8
)

// window is what counts towards one formula. Wordings of a kind that ask for
// different counts have a window each.
type window struct {
	Count    problem.Count `json:"count"`
	Failures []failure     `json:"failures"` // in order of time, at most Count.N
	// From is the first line of those that have gone on since without a gap.
	From time.Duration `json:"from,omitempty"`
}

// failure is one call that failed, with the places that have written of it; or,
// for a formula that counts values, one value.
type failure struct {
	At    time.Duration `json:"at"`
	Sites []string      `json:"sites,omitempty"`
	Value string        `json:"value,omitempty"`
}

// add takes in a line.
func (w *window) add(at time.Duration, c problem.Claim) {
	w.lasts(at)
	if w.Count.Distinct != "" {
		w.addValue(at, c.Value)
	} else if !w.sameCall(at, c.Site) {
		w.insert(failure{At: at, Sites: []string{c.Site}})
	}
	// N failures suffice to tell whether N fell into one window.
	w.Failures = slices.Delete(w.Failures, 0, max(len(w.Failures)-w.Count.N, 0))
}

// lasts keeps the beginning of what goes on.
func (w *window) lasts(at time.Duration) {
	switch {
	case len(w.Failures) == 0, at-w.Failures[len(w.Failures)-1].At > w.Count.Within:
		w.From = at
	case at < w.From && w.From-at <= w.Count.Within:
		w.From = at
	}
}

// sameCall reports whether the line is a further one about a call that has been
// counted: of about the same time, and from a place that has not written of that
// call yet. Two lines from one place are two calls, unless the formula wants them
// apart.
func (w *window) sameCall(at time.Duration, site string) bool {
	if w.Count.Apart > 0 && slices.ContainsFunc(w.Failures, func(f failure) bool { return (at - f.At).Abs() < w.Count.Apart }) {
		return true
	}
	for i := len(w.Failures) - 1; i >= 0 && at-w.Failures[i].At <= oneCall; i-- {
		f := &w.Failures[i]
		if f.At-at <= oneCall && len(f.Sites) < maxSites && !slices.Contains(f.Sites, site) {
			f.Sites = append(f.Sites, site)
			return true
		}
	}
	return false
}

// addValue notes when a value was last seen.
func (w *window) addValue(at time.Duration, value string) {
	if i := slices.IndexFunc(w.Failures, func(f failure) bool { return f.Value == value }); i >= 0 {
		at = max(at, w.Failures[i].At)
		w.Failures = slices.Delete(w.Failures, i, i+1)
	}
	w.insert(failure{At: at, Value: value})
}

func (w *window) insert(f failure) {
	i, _ := slices.BinarySearchFunc(w.Failures, f.At, func(x failure, at time.Duration) int {
		if x.At <= at {
			return -1
		}
		return 1
	})
	w.Failures = slices.Insert(w.Failures, i, f)
}

// reached reports whether the formula holds, and since when.
func (w *window) reached() (since time.Duration, ok bool) {
	if len(w.Failures) < w.Count.N {
		return 0, false
	}
	first, last := w.Failures[0].At, w.Failures[len(w.Failures)-1].At
	if w.Count.Lasting > 0 {
		return w.From, last-w.From >= w.Count.Lasting
	}
	return first, last-first <= w.Count.Within
}
