package kube

// This file: when to write. It is pure: times and chance come in from outside.

import "time"

const (
	// settle is the longest that news waits for more of its kind: one failure often
	// turns several conditions within a second, and 5,000 nodes that fail at once
	// should not all write in the same instant.
	settle = time.Second
	// between is the least time from one write of news to the next. The first goes
	// at once; what flips faster than this arrives as its newest state.
	between = 15 * time.Second
	// betweenWordings is the least time from any write to one that only changes a
	// message's numbers. A Node is sent to everyone who watches it.
	betweenWordings = time.Minute
	// heartbeat is how often an unchanged Node is written, as kubelet
	// (nodeStatusReportFrequency) and node-problem-detector do; jitter keeps the
	// agents of a cluster that start together apart.
	heartbeat       = 5 * time.Minute
	heartbeatJitter = 0.2
	// eventsLater is how long Events wait at most for the conditions of other nodes
	// that may have failed at the same time: those are what is acted upon. In a crowd,
	// which a write of more than slowWrite or one that had to be repeated tells, it is
	// eventsInCrowd: 5,000 Events beside 5,000 conditions double the time of both.
	eventsLater   = 5 * time.Second
	eventsInCrowd = time.Minute
	slowWrite     = time.Second
	// startWithin is how long the first write waits for the first verdicts.
	startWithin = 3 * time.Second
	// firstRetry doubles with each failure up to a cap, and is jittered down to half.
	firstRetry = time.Second
	// retryAway caps it while the API server is away: whatever is wrong then must be
	// seen soon after it is back.
	retryAway = 15 * time.Second
	// retryRefused caps it when the API server has said no: someone must mend that.
	retryRefused = time.Minute
	// retryAfterMost bounds how long the API server can have us wait.
	retryAfterMost = 2 * time.Minute
)

// pace decides when the next write is due.
type pace struct {
	chance func() float64 // [0, 1)

	newsAt    time.Time // when the news that is not written yet was first seen; zero without any
	settled   time.Duration
	lastNews  time.Time // last write of news
	lastWrite time.Time
	nextBeat  time.Time
	failures  int
	notBefore time.Time // after a failure
	again     time.Time // when to write once more because an earlier request may arrive late
}

// due is when to write, given how what stands differs from what is shown.
func (p *pace) due(d difference, now time.Time) time.Time {
	at := p.nextBeat
	if d != news {
		p.newsAt = time.Time{}
	}
	switch d {
	case news:
		if p.newsAt.IsZero() {
			p.newsAt, p.settled = now, time.Duration((0.2+0.8*p.chance())*float64(settle))
		}
		at = earlier(at, later(p.newsAt.Add(p.settled), p.lastNews.Add(between)))
	case wording:
		at = earlier(at, p.lastWrite.Add(betweenWordings))
	}
	if !p.again.IsZero() {
		at = earlier(at, p.again)
	}
	if p.failures > 0 { // what failed is to be done, news or not
		return p.notBefore
	}
	return at
}

// wrote notes a write that has arrived. late says that an earlier one, given up
// without an answer, may still arrive after it.
func (p *pace) wrote(d difference, late bool, now time.Time) {
	p.lastWrite, p.failures, p.again, p.newsAt = now, 0, time.Time{}, time.Time{}
	if d == news {
		p.lastNews = now
	}
	if late {
		p.again = now.Add(between)
	}
	p.nextBeat = now.Add(p.beat())
}

// resume goes on from the heartbeat that an earlier run of the agent has left on
// the Node; the zero time for none. So agents that are all replaced by a newer
// version do not all write.
func (p *pace) resume(last, now time.Time) {
	if !last.IsZero() && last.Before(now) {
		p.lastWrite, p.nextBeat = last, last.Add(p.beat())
	}
}

func (p *pace) beat() time.Duration {
	return time.Duration(float64(heartbeat) * (1 + heartbeatJitter*(2*p.chance()-1)))
}

// failed notes a write that has not.
func (p *pace) failed(f *failure, now time.Time) {
	p.notBefore = now.Add(f.wait(p.failures, p.chance()))
	p.failures++
}

// eventsAfter is how long Events wait for others' conditions, after a write that
// took so long and was tried so often before.
func eventsAfter(took time.Duration, failures int, chance float64) time.Duration {
	if took > slowWrite || failures > 0 {
		return spread(eventsInCrowd, 0, chance)
	}
	return spread(eventsLater, 0, chance)
}

// spread is a wait from what the API server asked for, 0 for nothing, up to most:
// thousands of agents that it has turned away at once do not come again at once.
func spread(most, after time.Duration, chance float64) time.Duration {
	after = min(after, retryAfterMost)
	return after + time.Duration(float64(max(most-after, 0))*chance)
}

// retry is a wait that doubles with each failure in a row up to most, jittered, and
// no shorter than what the API server asked for.
func retry(n int, most, after time.Duration, chance float64) time.Duration {
	wait := most
	if n < 16 {
		wait = min(most, firstRetry<<n)
	}
	wait = time.Duration(float64(wait) * (0.5 + 0.5*chance))
	return max(wait, min(after, retryAfterMost))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
