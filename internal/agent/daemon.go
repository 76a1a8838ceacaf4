package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/report/kube"
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
	// least: no probe costs more than 0.1 % of a core, as long as a run takes 120 ms.
	restFactor = 1000
	// longestRest bounds that: one dear run, for which memory had to be read back or a
	// helper started on a machine without a CPU to spare, must not blind a probe for long.
	longestRest = 2 * time.Minute
	// shutdownWithin bounds the end of open HTTP requests, and of the last saving
	// of the state, at SIGTERM.
	shutdownWithin = 500 * time.Millisecond
)

// Daemon examines the node until ctx ends, and serves what it sees over HTTP on
// the configured address.
func (a *Agent) Daemon(ctx context.Context, log *slog.Logger) error {
	if _, err := checkRoom(a.node.Host, a.node.Cgroups, daemonThreads(len(a.specs))); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", a.config.Listen)
	if err != nil {
		hint := ""
		if errors.Is(err, unix.EADDRINUSE) {
			hint = " (another agent on this node? set another address with --listen)"
		}
		return fmt.Errorf("cannot serve metrics: %w%s", err, hint)
	}
	return a.serve(ctx, log, listener)
}

// serve returns within a second after ctx ended, also if a probe is stuck in
// the kernel: main exits then, and does not wait for it.
func (a *Agent) serve(ctx context.Context, log *slog.Logger, listener net.Listener) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	warmThreads(workThreads(len(a.specs)))
	a.limitMemory(log)

	l := &loop{agent: a, log: log, state: a.newState(false), notes: newNotes(ctx, log), done: make(chan struct{})}
	l.load(ctx)
	if err := l.newKube(); err != nil {
		return err
	}
	l.publish()
	l.beat.Store(int64(a.node.Host.Clock.Boot()))
	server := newServer(l)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("nodevitals is running", "version", a.facts.Agent, "address", listener.Addr().String(), "probes", len(a.specs))
	go l.run(ctx)
	go l.feedWatchdog(ctx)
	dead := l.guard(ctx, guardEvery)
	if l.kube != nil {
		go l.kube.Run(ctx)
	}

	select {
	case err = <-served:
		err = fmt.Errorf("HTTP server: %w", err)
	case err = <-dead:
		_ = server.Close()
	case <-ctx.Done():
		stop, done := context.WithTimeout(context.Background(), shutdownWithin)
		defer done()
		l.notes.last(stop, daemon.SdNotifyStopping)
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
	notes  *notes
	saver  saver
	latest atomic.Pointer[problem.Snapshot]
	ready  atomic.Bool
	beat   atomic.Int64  // boot time of the last turn
	back   time.Duration // how far to look back in logs that no cursor speaks of
	first  bool          // there is no state of an earlier run
	done   chan struct{} // closed when the loop has ended

	kube       *kube.Reporter // nil where there is no API server
	kubeMemory json.RawMessage
}

func (l *loop) run(ctx context.Context) {
	defer close(l.done)
	a := l.agent
	reports := make(chan problem.Report)
	batches := make(chan logBatch)
	for _, s := range a.specs {
		go a.schedule(ctx, s, reports)
	}
	go a.newLogReader(l.state.cursors, l.back, l.first).follow(ctx, batches)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var saved time.Duration
	changed := l.becomeReady() // since the last snapshot
	for {
		now := false // a snapshot is wanted at once

		select {
		case r := <-reports:
			// Most runs find what the last one found, with other numbers. Those can
			// wait for the next tick.
			now = l.observe(r)
			changed = true
		case b := <-batches:
			// A storm mostly says again what is known.
			active := len(l.state.tracker.Active())
			l.state.takeIn(b)
			now = len(l.state.tracker.Active()) != active
			changed = true
		case <-ticker.C:
			at := a.node.Host.Clock.Boot()
			l.state.tracker.Tick(at)
			l.beat.Store(int64(at))
			if at-saved >= saveEvery {
				l.save()
				saved = at
				changed = true // what only time changes
			}
			now = changed
		case err := <-l.saver.done:
			l.saved(err)
		case <-ctx.Done():
			l.saveLast()
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
		l.log.Warn("probe failed", "probe", r.Probe, "error", problem.Clean(after.Reason, maxLogged))
	}
	if l.becomeReady() {
		return true
	}
	return !l.ready.Load() || len(l.state.tracker.Active()) != active
}

// becomeReady reports whether every probe has had its first run just now. An agent
// without probes, which only reads logs, is ready at once.
func (l *loop) becomeReady() bool {
	if l.ready.Load() || !l.state.ready() {
		return false
	}
	l.ready.Store(true)
	l.notes.say(daemon.SdNotifyReady)
	UnmapText()
	l.log.Info("every probe has had its first run")
	return true
}

// publish makes a snapshot and logs what has changed since the last.
func (l *loop) publish() {
	next := l.state.snapshot()
	if l.kube != nil {
		next.Host.Warnings = append(next.Host.Warnings, l.kube.Notes()...)
		l.kube.Publish(next)
	}
	previous := l.latest.Swap(next)
	if previous != nil {
		logChanges(l.log, previous.Problems, next.Problems)
	}
}

// maxLogged bounds a text from outside in the agent's own log, in runes.
const maxLogged = 400

// logChanges says which problems have come and gone: the agent's own log is
// one of the places where people look first.
func logChanges(log *slog.Logger, before, after []problem.Problem) {
	type key struct {
		kind    problem.Kind
		subject string
	}
	shown := func(s string) string { return problem.Clean(s, maxLogged) }
	had := map[key]problem.Problem{}
	for _, p := range before {
		had[key{p.Kind, p.Subject}] = p
	}
	for _, p := range after {
		k := key{p.Kind, p.Subject}
		if old, ok := had[k]; !ok || old.Severity != p.Severity {
			log.Warn("problem", "kind", p.Kind, "subject", shown(p.Subject), "severity", p.Severity, "message", shown(p.Message))
		}
		delete(had, k)
	}
	for _, p := range had {
		log.Info("problem is over", "kind", p.Kind, "subject", shown(p.Subject))
	}
}

// schedule runs one probe for good: at most one run at a time, the next one a
// jittered period after the last has ended, and later if that was dear.
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
	return max(varied, min(restFactor*cpu, longestRest))
}
