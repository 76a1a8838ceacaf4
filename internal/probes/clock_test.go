package probes

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// clockProbe is a probe of a clock that the test sets; ntp is the kernel's NTP state.
func clockProbe(t *testing.T, ntp *unix.Timex) (*Clock, *Node, *testClock) {
	t.Helper()
	n := tree(t, nil)
	c := &testClock{boot: time.Hour, wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	n.Host.Clock = c
	p := NewClock()
	p.adjtimex = func(tx *unix.Timex) (int, error) { *tx = *ntp; return 0, nil }
	return p, n, c
}

func TestClockJumped(t *testing.T) {
	for _, tc := range []struct {
		name       string
		boot, wall time.Duration // how far the two go between the looks
		want       problem.Severity
	}{
		{"in step", 15 * time.Second, 15 * time.Second, 0},
		{"slewed", 15 * time.Second, 15*time.Second + 7*time.Millisecond, 0},
		{"a leap second", 15 * time.Second, 14 * time.Second, 0},
		{"just below", 15 * time.Second, 20 * time.Second, 0},
		{"forward", 15 * time.Second, 21 * time.Second, problem.Warning},
		{"back", 15 * time.Second, -time.Hour, problem.Warning},
		{"look-alike: suspended for a day", 24 * time.Hour, 24 * time.Hour, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, n, c := clockProbe(t, &unix.Timex{})
			look := func() problem.Result {
				r, err := p.Run(t.Context(), n)
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			checkSeverity(t, look(), problem.ClockJumped, "", 0)
			c.boot, c.wall = c.boot+tc.boot, c.wall.Add(tc.wall)
			first := checkSeverity(t, look(), problem.ClockJumped, "", tc.want)

			// It is told for a while, with the same words.
			c.boot, c.wall = c.boot+10*time.Minute, c.wall.Add(10*time.Minute)
			if again := checkSeverity(t, look(), problem.ClockJumped, "", tc.want); again.Message != first.Message {
				t.Errorf("the message changed from %q to %q", first.Message, again.Message)
			}
			c.boot, c.wall = c.boot+10*time.Minute, c.wall.Add(10*time.Minute)
			checkSeverity(t, look(), problem.ClockJumped, "", 0)
		})
	}
}

// A process that is stopped between reading one clock and the other has not seen a leap.
func TestClockSlack(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	prev := clockSample{boot: time.Hour, wall: at}
	cur := clockSample{boot: time.Hour + 15*time.Second, wall: at.Add(45 * time.Second), slack: 30 * time.Second}
	if j, ok := jumped(prev, cur, 5*time.Second); ok {
		t.Errorf("a jump by %s, though the look itself took 30 s", j.by)
	}
}

func TestClockUnsynchronized(t *testing.T) {
	sync := unix.Timex{Maxerror: 20_000}
	unsync := unix.Timex{Status: unix.STA_UNSYNC, Maxerror: 16_000_000}
	for _, tc := range []struct {
		name     string
		states   []unix.Timex
		want     problem.Severity
		na       bool
		measured bool
	}{
		{"synchronised", []unix.Timex{sync, sync}, 0, false, true},
		{"look-alike: never was", []unix.Timex{unsync, unsync}, 0, true, false},
		{"lost", []unix.Timex{sync, unsync, unsync}, problem.Warning, false, false},
		{"regained", []unix.Timex{sync, unsync, sync}, 0, false, true},
		{"an hour without a correction", []unix.Timex{sync, {Maxerror: 2_100_000}}, problem.Warning, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var ntp unix.Timex
			p, n, _ := clockProbe(t, &ntp)
			var r problem.Result
			for _, ntp = range tc.states {
				var err error
				if r, err = p.Run(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			checkSeverity(t, r, problem.ClockUnsynchronized, "", tc.want)
			if tc.na {
				checkState(t, r, problem.ClockUnsynchronized, "", problem.NotApplicable)
			}
			if measured := len(r.Measurements) == 1 && r.Measurements[0].Resource == "clock_error"; measured != tc.measured {
				t.Errorf("measured %+v", r.Measurements)
			}
		})
	}
}

func TestClockNoAdjtimex(t *testing.T) {
	p, n, _ := clockProbe(t, &unix.Timex{})
	p.adjtimex = func(*unix.Timex) (int, error) { return 0, errors.New("not permitted") }
	r, err := p.Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, r, problem.ClockUnsynchronized, "", problem.Unknown)
}
