package agent

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// maxRunning is how many probes run at once. A small number keeps the agent's
// peak of threads, memory and CPU low; the order does not matter to anyone.
const maxRunning = 4

// slots is a semaphore over running probes.
type slots chan struct{}

func (s slots) take(ctx context.Context) bool {
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s slots) give() { <-s }

// run runs a probe once. It returns when the run ends or its time is up; then
// stuck is closed when the run ends after all, and the probe must not be run
// again before that. A run that does not return costs its probe and one thread.
func (a *Agent) run(ctx context.Context, s probes.Spec) (r problem.Report, stuck <-chan struct{}) {
	clock := a.node.Host.Clock
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("no answer within %v", s.Timeout))
	defer cancel()
	r = problem.Report{Probe: s.Name(), Kinds: s.Kinds(), Period: s.Period, Begun: clock.Boot()}
	type outcome struct {
		result problem.Result
		err    error
		cpu    time.Duration
	}
	ended := make(chan outcome, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		// The thread's CPU clock is only ours while we keep the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		before := threadCPU()
		result, err := safely(ctx, s, a.node)
		ended <- outcome{result, err, threadCPU() - before}
	}()
	select {
	case o := <-ended:
		r.Result, r.Err, r.CPU = o.result, o.err, o.cpu
	case <-ctx.Done():
		r.Err = context.Cause(ctx)
		stuck = gone
	}
	r.Ended = clock.Boot()
	return r, stuck
}

// safely turns a panic of one probe into its failure: the others go on.
func safely(ctx context.Context, s probes.Spec, n *probes.Node) (r problem.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("probe %s panicked, which is a bug: %v\n%s", s.Name(), p, debug.Stack())
		}
	}()
	return s.Run(ctx, n)
}

// threadCPU is the CPU time of the calling thread (clock_gettime(2)).
func threadCPU() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
