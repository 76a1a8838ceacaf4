package kube

import (
	"testing"
	"time"
)

func half() float64 { return 0.5 }

func TestPace(t *testing.T) {
	const s = time.Second
	p := pace{chance: half}
	step := func(name string, d difference, now, want time.Duration) {
		t.Helper()
		if got := p.due(d, at(now)).Sub(at(0)); got != want {
			t.Errorf("%s: due at %v, want %v", name, got, want)
		}
	}
	p.wrote(news, false, at(0))
	step("quiet", none, 1*s, 300*s)
	step("numbers changed", wording, 10*s, 60*s)
	step("news within 15 s", news, 5*s, 15*s)
	step("the same news later", news, 9*s, 15*s)
	p.wrote(news, false, at(15*s))
	step("news after long quiet goes at once", news, 100*s, 100*s+600*time.Millisecond)
	step("news that went away again", none, 101*s, 315*s)
	step("and came back", news, 102*s, 102*s+600*time.Millisecond)
	p.wrote(none, false, at(200*s)) // a heartbeat
	step("a heartbeat does not hold up news", news, 201*s, 201*s+600*time.Millisecond)

	p = pace{chance: half}
	if p.due(none, at(0)).After(at(0)) {
		t.Error("the very first write waits")
	}
	p.wrote(none, false, at(0))
	var waits []time.Duration
	now := time.Duration(0)
	for range 7 {
		p.failed(&failure{result: unreachable}, at(now))
		next := p.due(news, at(now)).Sub(at(0))
		waits = append(waits, next-now)
		now = next
	}
	for i, want := range []time.Duration{750, 1500, 3000, 6000, 11250, 11250, 11250} {
		if waits[i] != want*time.Millisecond {
			t.Errorf("failure %d: waits %v, want %v ms", i, waits[i], want)
		}
	}
	p.failed(&failure{result: serverError, after: 40 * s}, at(now))
	step("the API server asked for 40 s", none, now, now+40*s)
	p.wrote(news, true, at(1000*s))
	step("an earlier write may arrive late", none, 1001*s, 1015*s)
	p.wrote(none, false, at(1015*s))
	step("it was outdone", none, 1016*s, 1315*s)

	p = pace{chance: half}
	p.resume(at(-100*s), at(0))
	step("after a restart the heartbeat goes on", none, 0, 200*s)
	p = pace{chance: half}
	p.resume(at(100*s), at(0))
	if p.due(none, at(0)).After(at(0)) {
		t.Error("a heartbeat of tomorrow holds up the first write")
	}
}

func TestHeartbeatJitter(t *testing.T) {
	for chance, want := range map[float64]time.Duration{0: 4 * time.Minute, 0.5: 5 * time.Minute, 1: 6 * time.Minute} {
		p := pace{chance: func() float64 { return chance }}
		if got := p.beat(); got != want {
			t.Errorf("chance %v: %v, want %v", chance, got, want)
		}
	}
}
