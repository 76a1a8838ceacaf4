package probes

// This file: how an amount has grown within the last hour.

import "time"

const (
	trendStep  = 5 * time.Minute
	trendSpan  = time.Hour
	trendSteps = int(trendSpan/trendStep) + 1
)

// trend remembers the lowest value in each five minutes of the last hour. The
// lowest: a burst that is over by itself (a thousand containers removed at once)
// is no growth.
type trend struct {
	lows []low
}

type low struct {
	since time.Duration // boot time
	value float64
}

// add takes a value measured at a boot time.
func (t *trend) add(at time.Duration, value float64) {
	if n := len(t.lows); n > 0 && at-t.lows[n-1].since < trendStep {
		t.lows[n-1].value = min(t.lows[n-1].value, value)
		return
	}
	t.lows = append(t.lows, low{at, value})
	if len(t.lows) > trendSteps {
		t.lows = append(t.lows[:0], t.lows[len(t.lows)-trendSteps:]...)
	}
}

// growth is how much the amount has grown from its lowest in the oldest five
// minutes to its lowest in the newest, and over which time; less than 0 if it fell.
func (t *trend) growth() (amount float64, over time.Duration) {
	if len(t.lows) == 0 {
		return 0, 0
	}
	first, last := t.lows[0], t.lows[len(t.lows)-1]
	return last.value - first.value, last.since - first.since
}
