package probes

import (
	"slices"
	"time"
)

// This file counts restarts within a window of time, of totals that the host keeps
// since some time that we do not know.

// restarts are the counts of several programs, by name.
type restarts map[string]*restartCount

func (r restarts) of(name string) *restartCount {
	c := r[name]
	if c == nil {
		c = &restartCount{}
		r[name] = c
	}
	return c
}

// within is how many restarts of name were seen in the last span.
func (r restarts) within(name string, now, span time.Duration) int {
	c, sum := r[name], 0
	if c == nil {
		return 0
	}
	for _, e := range c.seen {
		if now-e.at <= span {
			sum += e.n
		}
	}
	return sum
}

// before is how many restarts of name were counted before the first look, while
// some of them may still be in the last span.
func (r restarts) before(name string, now, span time.Duration) int {
	if c := r[name]; c != nil && now-c.first <= span {
		return c.old
	}
	return 0
}

// restartCount is what is known of one program.
type restartCount struct {
	looked bool
	first  time.Duration // boot time of the first look
	old    int           // the total then
	last   int           // the total at the last look
	seen   []restartEvent

	ids   []string        // of the processes at the last look
	ended []time.Duration // when those were missed first that no other has replaced yet
}

// restartEvent is n restarts that a look at a boot time found.
type restartEvent struct {
	at time.Duration
	n  int
}

// total takes a total of restarts. A lower one than before began anew at 0. Of the
// first one nobody knows when they were, unless the host itself runs for no longer
// than the span.
func (c *restartCount) total(now, span time.Duration, n int) {
	fresh := n - c.last
	switch {
	case !c.looked && now > span:
		c.first, c.old, fresh = now, n, 0
	case n < c.last:
		c.old, fresh = 0, n
	}
	c.looked, c.last = true, n
	c.add(now, span, fresh)
}

// processes takes the identities of all processes of one name: each that came after
// another one had ended is a restart. A further one beside the others is none, as on a
// host whose containers are nodes, too.
func (c *restartCount) processes(now, span time.Duration, ids []string) {
	for _, id := range c.ids {
		if !slices.Contains(ids, id) {
			c.ended = append(c.ended, now)
		}
	}
	c.ended = slices.DeleteFunc(c.ended, func(at time.Duration) bool { return now-at > span })
	came := 0
	for _, id := range ids {
		if !slices.Contains(c.ids, id) {
			came++
		}
	}
	fresh := min(came, len(c.ended))
	c.ids, c.ended = ids, c.ended[fresh:]
	c.add(now, span, fresh)
}

func (c *restartCount) add(now, span time.Duration, n int) {
	if n > 0 {
		c.seen = append(c.seen, restartEvent{now, n})
	}
	old := 0
	for old < len(c.seen) && now-c.seen[old].at > span {
		old++
	}
	c.seen = append(c.seen[:0], c.seen[old:]...)
}
