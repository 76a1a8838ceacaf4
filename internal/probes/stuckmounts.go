package probes

import (
	"context"
	"fmt"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// StuckMounts finds file systems whose server does not answer: by what the kernel
// shows of those that wait for it, and by asking the file system, which a process
// of its own does (internal/mounthelper), as whoever asks may wait for ever.
// stucksample.go looks, stuckask.go asks, stuckjudge.go judges.
type StuckMounts struct {
	Thresholds StuckMountsThresholds
	walk       taskWalk
	asks       asks
	prev       *stuckSample
	began      time.Duration // boot time of the first look
}

// StuckMountsThresholds are the thresholds of StuckMounts.
type StuckMountsThresholds struct {
	// Unanswered is for how long a file system must not have answered to count as
	// hung, and how long a task that waits for it must not have run.
	Unanswered time.Duration `yaml:"unanswered"`
	// AskEvery is how often a mount is asked for which nobody waits.
	AskEvery time.Duration `yaml:"askEvery"`
	// AskFUSE says whether FUSE file systems are asked: always, never, or auto, which
	// is unless the agent runs in a container.
	AskFUSE FUSEPolicy `yaml:"askFUSE"`
}

// FUSEPolicy says whether file systems are asked for which a task may wait beyond
// SIGKILL.
type FUSEPolicy string

// The policies. A thread that is stuck in a container keeps its cgroup, and so the
// pod, from going away; elsewhere it is a process in a list.
const (
	AskFUSEAuto   FUSEPolicy = "auto"
	AskFUSEAlways FUSEPolicy = "always"
	AskFUSENever  FUSEPolicy = "never"
)

// Validate says what is wrong with the thresholds; the config calls it.
func (th StuckMountsThresholds) Validate() error {
	switch th.AskFUSE {
	case AskFUSEAuto, AskFUSEAlways, AskFUSENever:
	default:
		return fmt.Errorf("askFUSE is auto, always or never, and not %q", th.AskFUSE)
	}
	if th.Unanswered < time.Second {
		return fmt.Errorf("unanswered (%v) is shorter than 1s: a healthy server under load may take as long", th.Unanswered)
	}
	if th.AskEvery < time.Second {
		return fmt.Errorf("askEvery (%v) is shorter than 1s", th.AskEvery)
	}
	return nil
}

// A single look cannot wait for as long as the daemon does. A loaded server may
// well take a second for an answer.
const (
	onceNotRun     = 2 * time.Second // tasks that do not run
	onceUnanswered = 3 * time.Second // a question of ours
)

// NewStuckMounts is the probe.
func NewStuckMounts() *StuckMounts {
	return &StuckMounts{
		walk: newTaskWalk(), asks: asks{own: mounts.Own},
		// NFS sends a request again after 60 s by default, SMB gives a server up after
		// three times that; nothing that is well takes 10 s for a statfs. kubelet asks each
		// volume once a minute: a file server with a thousand clients is to hear of us no
		// more than of them.
		Thresholds: StuckMountsThresholds{Unanswered: 10 * time.Second, AskEvery: time.Minute, AskFUSE: AskFUSEAuto},
	}
}

// Name implements Probe.
func (*StuckMounts) Name() string { return "hungmounts" }

// Kinds implements Probe.
func (*StuckMounts) Kinds() []problem.Kind {
	return []problem.Kind{
		problem.MountNotAnswering, problem.NFSServerNotResponding, problem.FUSEServerNotAnswering, problem.TasksStuckOnMount,
	}
}

// Run implements Probe.
func (p *StuckMounts) Run(ctx context.Context, n *Node) (problem.Result, error) {
	first := p.prev == nil
	cur, err := p.look(ctx, n)
	if err != nil {
		return problem.Result{}, err
	}
	limits := stuckLimits{notRun: p.Thresholds.Unanswered, unanswered: p.Thresholds.Unanswered}
	if n.Once {
		limits = stuckLimits{notRun: onceNotRun, unanswered: onceUnanswered}
		if wait := p.toWait(cur, limits); !first && wait > 0 && rest(ctx, wait) {
			if cur, err = p.look(ctx, n); err != nil {
				return problem.Result{}, err
			}
		}
	}
	if len(cur.mounts) == 0 && cur.partial == "" {
		return problem.Result{}, problem.NotApplicablef("no NFS, SMB, Ceph, 9P or FUSE file system is mounted")
	}
	if first {
		p.began = cur.at
	}
	j := judgeStuck(cur, limits)
	p.asks.leave(j.condemned)
	r := j.result(n)
	// An agent that has just been started again must not take back what it saw before.
	if watched := cur.at - p.began; r.Partial == "" && !n.Once && watched < limits.notRun && cur.anyWaited() {
		r.Partial = fmt.Sprintf("something waits for a mount, and it was watched for %v only: %v are needed", watched.Round(time.Second), limits.notRun)
	}
	return r, nil
}

// look looks at the node, and then asks those mounts that may be asked.
func (p *StuckMounts) look(ctx context.Context, n *Node) (*stuckSample, error) {
	p.asks.begin(n)
	cur, err := p.sample(ctx, n, p.prev)
	if err != nil {
		return nil, err
	}
	p.prev = cur
	p.asks.ask(ctx, n, cur, p.Thresholds)
	return cur, nil
}

// toWait is how long a single look has to go on until what is suspicious in it is
// certain: not at all if nothing is.
func (p *StuckMounts) toWait(cur *stuckSample, limits stuckLimits) time.Duration {
	until := cur.at
	at := judgeStuck(cur, stuckLimits{}) // what stands still as yet
	for _, g := range at.groups {
		for _, t := range g.tasks {
			until = max(until, t.since+limits.notRun)
		}
	}
	for _, m := range at.condemned {
		if m.nfs != nil {
			until = max(until, m.nfs.since+limits.notRun)
		}
	}
	for m := range at.doubted {
		if m.fuse != nil && *m.fuse > 0 {
			until = max(until, m.waiting+limits.notRun)
		}
	}
	for _, c := range p.asks.calls {
		until = max(until, c.since+limits.unanswered)
	}
	return until - cur.at
}

// rest waits, but no longer than leaves the time to look again and report. It
// reports whether that time is left.
func rest(ctx context.Context, wait time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok {
		const toLookAndReport = 500 * time.Millisecond
		wait = min(wait, time.Until(deadline)-toLookAndReport)
	}
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
