package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	// tick is how often quiet times are looked at, and how fast the loop beats.
	tick = time.Second
	// firstWithin spreads the first runs of the probes, so that the agent's
	// start is no burst on a node that may just be in trouble.
	firstWithin = 100 * time.Millisecond
	// jitter is the share by which a period varies, so that probes drift apart.
	jitter = 0.1
	// restFactor is how many times the CPU that a run took it then rests at
	// least: no probe can cost more than 0.1 % of a core, however large the node.
	restFactor = 1000
	// saveEvery is how often the state is saved: what was read since is read again
	// after a crash.
	saveEvery = 10 * time.Second
	// shutdownWithin bounds the end of open HTTP requests, and of the last saving
	// of the state, at SIGTERM.
	shutdownWithin = 500 * time.Millisecond
)

// Daemon examines the node until ctx ends, and serves what it sees over HTTP on
// the configured address.
func (a *Agent) Daemon(ctx context.Context, log *slog.Logger) error {
	listener, err := net.Listen("tcp", a.config.Listen)
	if err != nil {
		return fmt.Errorf("cannot serve metrics: %w (another agent on this node? set another address with --listen)", err)
	}
	return a.serve(ctx, log, listener)
}

// serve returns within a second after ctx ended, also if a probe is stuck in
// the kernel: main exits then, and does not wait for it.
func (a *Agent) serve(ctx context.Context, log *slog.Logger, listener net.Listener) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	warmThreads(len(a.specs) + maxRunning + spareThreads)

	l := &loop{agent: a, log: log, state: a.newState(false), done: make(chan struct{})}
	l.load()
	l.publish()
	l.beat.Store(int64(a.node.Host.Clock.Boot()))
	server := newServer(l)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("nodevitals is running", "version", a.facts.Agent, "address", listener.Addr().String(), "probes", len(a.specs))
	go l.run(ctx)

	select {
	case err = <-served:
		err = fmt.Errorf("HTTP server: %w", err)
	case <-ctx.Done():
		notify(log, daemon.SdNotifyStopping)
		stop, done := context.WithTimeout(context.Background(), shutdownWithin)
		defer done()
		if err := server.Shutdown(stop); err != nil {
			_ = server.Close()
		}
		select {
		case <-l.done: // the state is saved
		case <-stop.Done(): // the disk does not answer
		}
	}
	return err
}

// loop owns the state. Everything comes to it through channels; everything
// leaves it as a snapshot that never changes any more.
type loop struct {
	agent  *Agent
	log    *slog.Logger
	state  *state
	latest atomic.Pointer[problem.Snapshot]
	ready  atomic.Bool
	beat   atomic.Int64  // boot time of the last turn
	back   time.Duration // how far to look back in logs that no cursor speaks of
	done   chan struct{} // closed when the loop has ended
}

func (l *loop) run(ctx context.Context) {
	defer close(l.done)
	a := l.agent
	reports := make(chan problem.Report)
	batches := make(chan logBatch)
	for _, s := range a.specs {
		go a.schedule(ctx, s, reports)
	}
	go a.newLogReader(l.state.cursors, l.back).follow(ctx, batches)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	watchdog := watchdogEvery()
	var fed, saved time.Duration
	changed := false // since the last snapshot
	for {
		now := false // a snapshot is wanted at once

		select {
		case r := <-reports:
			// Most runs find what the last one found, with other numbers. Those can
			// wait for the next tick.
			now = l.observe(r)
			changed = true
		case b := <-batches:
			l.state.takeIn(b)
			now = len(b.claims) > 0
			changed = true
		case <-ticker.C:
			at := a.node.Host.Clock.Boot()
			l.state.tracker.Tick(at)
			l.beat.Store(int64(at))
			if watchdog > 0 && at-fed >= watchdog {
				notify(l.log, daemon.SdNotifyWatchdog)
				fed = at
			}
			if at-saved >= saveEvery {
				l.save()
				saved = at
				changed = true // what only time changes
			}
			now = changed
		case <-ctx.Done():
			l.save()
			return
		}
		if now {
			l.publish()
			changed = false
		}
	}
}

// observe takes in a run. It reports whether people should see at once what came
// of it: problems that came or went, or the first runs after the start.
func (l *loop) observe(r problem.Report) bool {
	active := len(l.state.tracker.Active())
	before := l.state.status[r.Probe].Outcome
	l.state.observe(r)
	after := *l.state.status[r.Probe]
	if after.Outcome != before && after.Outcome == problem.OutcomeFailed {
		l.log.Warn("probe failed", "probe", r.Probe, "error", after.Reason)
	}
	if !l.ready.Load() && l.state.ready() {
		l.ready.Store(true)
		notify(l.log, daemon.SdNotifyReady)
		l.log.Info("every probe has had its first run")
		return true
	}
	return !l.ready.Load() || len(l.state.tracker.Active()) != active
}

// publish makes a snapshot and logs what has changed since the last.
func (l *loop) publish() {
	next := l.state.snapshot()
	previous := l.latest.Swap(next)
	if previous != nil {
		logChanges(l.log, previous.Problems, next.Problems)
	}
}

// logChanges says which problems have come and gone: the agent's own log is
// one of the places where people look first.
func logChanges(log *slog.Logger, before, after []problem.Problem) {
	type key struct {
		kind    problem.Kind
		subject string
	}
	had := map[key]problem.Problem{}
	for _, p := range before {
		had[key{p.Kind, p.Subject}] = p
	}
	for _, p := range after {
		k := key{p.Kind, p.Subject}
		if old, ok := had[k]; !ok || old.Severity != p.Severity {
			log.Warn("problem", "kind", p.Kind, "subject", p.Subject, "severity", p.Severity, "message", p.Message)
		}
		delete(had, k)
	}
	for _, p := range had {
		log.Info("problem is over", "kind", p.Kind, "subject", p.Subject)
	}
}

// schedule runs one probe for good: at most one run at a time, the next one a
// jittered period after the last began, and later if the last was dear or hangs.
func (a *Agent) schedule(ctx context.Context, s probes.Spec, reports chan<- problem.Report) {
	timer := time.NewTimer(rand.N(firstWithin))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if !a.slots.take(ctx) {
			return
		}
		r, stuck := a.run(ctx, s)
		a.slots.give() // also of a stuck run: the others go on
		send(ctx, reports, r)
		if stuck != nil {
			select {
			case <-stuck:
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(rest(s.Period, r.CPU))
	}
}

// rest is how long a probe waits after a run that took cpu.
func rest(period, cpu time.Duration) time.Duration {
	varied := time.Duration(float64(period) * (1 + jitter*(2*rand.Float64()-1)))
	return max(varied, restFactor*cpu)
}

// load goes on from the state that the last run of the agent left.
func (l *loop) load() {
	a := l.agent
	l.back = a.config.LookBack
	if a.config.StateFile == "" {
		return
	}
	c, found, err := loadState(a.config.StateFile, a.facts.BootID, l.state.tracker)
	if err != nil {
		l.warn("cannot go on from the last run's state: " + err.Error())
		return
	}
	l.state.cursors = c
	if found {
		l.log.Info("going on from the last run's state", "file", a.config.StateFile)
		l.back = time.Hour * 24 * 365 // whatever came since, the cursors know
	}
}

// save keeps the state for the next run. That it cannot is told and survived: the
// disk may just be what is wrong with the node.
func (l *loop) save() {
	a := l.agent
	if a.config.StateFile == "" || l.state.logs == nil {
		return // nothing to keep, or nothing that is known yet
	}
	if err := saveState(a.config.StateFile, a.facts.BootID, l.state.cursors, l.state.tracker); err != nil {
		l.warn("cannot save the state, a restart would read some log records again: " + err.Error())
		return
	}
	l.state.warnings = nil
}

// warn tells a trouble of the agent's own, once.
func (l *loop) warn(text string) {
	if !slices.Contains(l.state.warnings, text) {
		l.log.Warn(text)
		l.state.warnings = []string{text}
	}
}

// notify tells systemd, where it is the one that started us.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("sd_notify", "state", state, "error", err)
	}
}

// watchdogEvery is how often systemd's watchdog wants to hear of us; 0 if it
// does not. Half the time that it waits, as sd_watchdog_enabled(3) advises.
func watchdogEvery() time.Duration {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0
	}
	return d / 2
}
