package probes

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Clock watches the wall clock: that nobody sets it by leaps, and that NTP
// keeps it in step where it once did.
type Clock struct {
	Thresholds ClockThresholds
	// adjtimex reads the kernel's NTP state (adjtimex(2)).
	adjtimex func(*unix.Timex) (state int, err error)
	prev     clockSample
	jump     clockJump
	synced   bool // it was synchronised at some run
}

// ClockThresholds are the thresholds of Clock.
type ClockThresholds struct {
	// Step is the least leap of the clock that is told.
	Step time.Duration `yaml:"step"`
	// Hold is how long a leap is told.
	Hold time.Duration `yaml:"hold"`
	// Error is the largest error of a synchronised clock, by its own estimate.
	Error time.Duration `yaml:"error"`
}

// NewClock is the probe with its default thresholds.
func NewClock() *Clock {
	return &Clock{
		Thresholds: ClockThresholds{
			// Leases of etcd and of the node are of 10 s and more; a leap of less than
			// 5 s makes none of them expire. NTP daemons slew by less than 1 ms in a second.
			Step: 5 * time.Second,
			// A leap lasts no time, what it breaks does: timers and certificates show
			// it within minutes, and then it should be there to explain them.
			Hold: 15 * time.Minute,
			// The kernel adds 0.5 ms a second while no daemon corrects it: 2 s are an
			// hour without NTP. At 16 s it declares the clock unsynchronised.
			Error: 2 * time.Second,
		},
		adjtimex: unix.Adjtimex,
	}
}

// Name implements Probe.
func (*Clock) Name() string { return "clock" }

// Kinds implements Probe.
func (*Clock) Kinds() []problem.Kind {
	return []problem.Kind{problem.ClockJumped, problem.ClockUnsynchronized}
}

// Run implements Probe.
func (p *Clock) Run(_ context.Context, n *Node) (problem.Result, error) {
	cur := readClock(n.Host)
	if j, ok := jumped(p.prev, cur, p.Thresholds.Step); ok {
		p.jump = j
	}
	p.prev = cur
	var r problem.Result
	r.Verdicts = evaluateJump(p.jump, cur.boot, p.Thresholds)

	// Modes 0: it changes nothing, and needs no privilege.
	var tx unix.Timex
	state, err := p.adjtimex(&tx)
	if err != nil {
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: problem.ClockUnsynchronized, State: problem.Unknown, Message: fmt.Sprintf("adjtimex: %v", err),
		})
		return r, nil
	}
	sync := evaluateSync(p.synced, tx, state, p.Thresholds)
	p.synced = p.synced || tx.Status&unix.STA_UNSYNC == 0
	r.Measurements = sync.Measurements
	r.Verdicts = append(r.Verdicts, sync.Verdicts...)
	return r, nil
}

// clockSample is one look at both clocks.
type clockSample struct {
	boot time.Duration // CLOCK_BOOTTIME
	wall time.Time     // CLOCK_REALTIME
	// slack is how long the look took: the clocks are not read at one instant.
	slack time.Duration
}

func readClock(h *host.Host) clockSample {
	before := h.Clock.Boot()
	wall := h.Clock.Wall()
	return clockSample{boot: before, wall: wall, slack: h.Clock.Boot() - before}
}

// clockJump is a leap of the wall clock.
type clockJump struct {
	by time.Duration // forward, or negative
	// at is the boot time of the look that found it, since that of the look before.
	at, since time.Duration
}

// jumped compares how far the two clocks went between two looks. Boot time
// counts suspended time as the wall clock does, so a suspended machine's clock
// does not jump.
func jumped(prev, cur clockSample, step time.Duration) (clockJump, bool) {
	if prev.wall.IsZero() {
		return clockJump{}, false
	}
	// Without Round(0), Sub would use Go's monotonic reading, which never jumps.
	by := cur.wall.Round(0).Sub(prev.wall.Round(0)) - (cur.boot - prev.boot)
	if by.Abs()-prev.slack-cur.slack <= step {
		return clockJump{}, false
	}
	return clockJump{by: by, at: cur.boot, since: prev.boot}, true
}

func evaluateJump(j clockJump, now time.Duration, th ClockThresholds) []problem.Verdict {
	if j.by == 0 || now-j.at > th.Hold {
		return nil
	}
	direction := "forward"
	if j.by < 0 {
		direction = "back"
	}
	return []problem.Verdict{{
		Kind: problem.ClockJumped, State: problem.Wrong, Severity: problem.Warning,
		Message: fmt.Sprintf("the clock was set %s by %s", direction, j.by.Abs().Round(time.Second)),
		Evidence: []string{fmt.Sprintf("CLOCK_REALTIME against CLOCK_BOOTTIME: %+.3f s between %.0f s and %.0f s after boot",
			j.by.Seconds(), j.since.Seconds(), j.at.Seconds())},
		Touches: []problem.Ref{problem.RefNode},
	}}
}

// evaluateSync judges the kernel's NTP state; once says whether an earlier run
// found the clock synchronised. maxerror is in microseconds (adjtimex(2)).
func evaluateSync(once bool, tx unix.Timex, state int, th ClockThresholds) problem.Result {
	var r problem.Result
	unsync := tx.Status&unix.STA_UNSYNC != 0
	if unsync && !once {
		// Hypervisors that set the clock themselves never clear the flag.
		r.Verdicts = []problem.Verdict{{
			Kind: problem.ClockUnsynchronized, State: problem.NotApplicable,
			Message: "the clock was never synchronised by NTP while this was looked at",
		}}
		return r
	}
	maxError := float64(tx.Maxerror) / 1e6
	if !unsync {
		r.Measurements = []problem.Measurement{{
			Resource: "clock_error", Used: maxError, Max: th.Error.Seconds(), Unit: problem.Seconds,
		}}
	}
	message := ""
	switch {
	case unsync:
		message = "the clock is no longer synchronised by NTP"
	case maxError > th.Error.Seconds():
		message = fmt.Sprintf("the clock has not been corrected by NTP for long: it may be off by more than %s", th.Error)
	default:
		return r
	}
	r.Verdicts = []problem.Verdict{{
		Kind: problem.ClockUnsynchronized, State: problem.Wrong, Severity: problem.Warning,
		Message:  message,
		Evidence: []string{fmt.Sprintf("adjtimex: state %d, status %#x (STA_UNSYNC %t), maxerror %.1f s", state, tx.Status, unsync, maxError)},
		Touches:  []problem.Ref{problem.RefNode},
	}}
	return r
}
