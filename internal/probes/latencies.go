package probes

import (
	"maps"
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// latencies counts how long calls took, for the life of a probe. Its zero value is
// ready to use.
type latencies struct{ by map[string]*problem.Latency }

// latencyBounds are the upper bounds of the buckets, in seconds: from what a healthy
// runtime needs to the longest that is waited for.
func latencyBounds() []float64 { return []float64{.005, .025, .1, .25, .5, 1, 2.5, 5, 10} }

// since counts a call that began then and ends now.
func (l *latencies) since(began time.Time, call string) {
	if l.by == nil {
		l.by = map[string]*problem.Latency{}
	}
	h := l.by[call]
	if h == nil {
		h = &problem.Latency{Call: call, Bounds: latencyBounds(), Below: make([]uint64, len(latencyBounds()))}
		l.by[call] = h
	}
	h.Count++
	took := time.Since(began).Seconds()
	h.Sum += took
	for i, bound := range h.Bounds {
		if took <= bound {
			h.Below[i]++
		}
	}
}

// all are copies of the counts, by the calls' names.
func (l *latencies) all() []problem.Latency {
	var out []problem.Latency
	for _, call := range slices.Sorted(maps.Keys(l.by)) {
		h := *l.by[call]
		h.Below = slices.Clone(h.Below)
		out = append(out, h)
	}
	return out
}
