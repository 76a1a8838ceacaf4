package probes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// HungTasks sees whether a task still is blocked of which the kernel has said that it
// hangs: its detector falls silent after ten reports, however long the task waits
// (kernel/hung_task.c). It looks at the tasks only once there was a report.
type HungTasks struct {
	tasks map[taskID]blockedTask
	began time.Duration // boot time of the first look at the tasks
	most  int64         // the most reports that the kernel had left to give at some look
}

// NewHungTasks is the probe. It has no thresholds: the kernel's own is taken.
func NewHungTasks() *HungTasks { return &HungTasks{most: defaultWarnings} }

// Name implements Probe.
func (*HungTasks) Name() string { return "hungtasks" }

// Kinds implements Probe.
func (*HungTasks) Kinds() []problem.Kind { return []problem.Kind{problem.TaskHung} }

const (
	// defaultWarnings is how many reports the kernel gives unless it is told
	// otherwise (kernel.hung_task_warnings).
	defaultWarnings = 10
	// defaultHung is for how long a task must be blocked to be reported, unless the
	// kernel is told otherwise (kernel.hung_task_timeout_secs; 0: never).
	defaultHung = 120 * time.Second
)

// Run implements Probe.
func (p *HungTasks) Run(ctx context.Context, n *Node) (problem.Result, error) {
	reported, err := p.reported(n.Host)
	switch {
	case err != nil || !reported:
		return problem.Result{}, err
	case n.Once:
		const why = "the kernel has reported hung tasks since its start, and a single look is too short to see whether one hangs still"
		return problem.Result{Verdicts: undecided(problem.NotApplicable, why, problem.TaskHung)}, nil
	}
	now, hung := n.Host.Clock.Boot(), defaultHung
	if s, err := readUint(n.Host, "/proc/sys/kernel/hung_task_timeout_secs"); err == nil && s > 0 && s < 86400 {
		hung = time.Duration(s) * time.Second
	}
	if p.tasks == nil {
		p.began = now
	}
	cur, walkErr := blockedTasks(ctx, n.Host)
	if ctx.Err() != nil {
		return problem.Result{}, ctx.Err()
	}
	var late []blockedTask
	for id, t := range cur {
		t.since = now
		if before, ok := p.tasks[id]; ok && before.switches == t.switches {
			t.since, t.wchan = before.since, before.wchan
		}
		if now-t.since >= hung {
			if t.wchan == "" {
				t.wchan, _ = n.Host.ReadString(t.dir + "/wchan") // "0" where it may not be seen
			}
			if !t.ordinary() {
				late = append(late, t)
			}
		}
		cur[id] = t
	}
	p.tasks = cur
	r := evaluateHungTasks(n, late, hung)
	switch watched := now - p.began; {
	case walkErr != nil:
		r.Partial = walkErr.Error()
	case watched < hung && len(cur) > 0:
		r.Partial = fmt.Sprintf("tasks are blocked, and were watched for %v only: %v are needed", watched.Round(time.Second), hung)
	}
	return r, nil
}

// reported tells whether the kernel has reported a hung task since it was started. It
// counts them since Linux 6.13. Before, it shows how many reports it has left to give.
func (p *HungTasks) reported(h *host.Host) (bool, error) {
	count, err := readUint(h, "/proc/sys/kernel/hung_task_detect_count")
	if !errors.Is(err, fs.ErrNotExist) {
		return count > 0, err
	}
	text, err := h.ReadString("/proc/sys/kernel/hung_task_warnings")
	if errors.Is(err, fs.ErrNotExist) {
		return false, problem.NotApplicablef("the kernel does not look for hung tasks")
	}
	if err != nil {
		return false, err
	}
	left, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return false, fmt.Errorf("/proc/sys/kernel/hung_task_warnings: %w", err)
	}
	p.most = max(p.most, left)
	return left < p.most, nil // -1: without an end, and so it may have
}

// blockedTask is a thread that waits and cannot be interrupted.
type blockedTask struct {
	process  process.Process // its process
	dir      string          // below /proc
	switches uint64          // context switches so far: while they stay the same, it has not run
	since    time.Duration   // boot time when it was first seen so
	wchan    string          // the function in which it sleeps, once it has for long
}

// ordinary: the kernel does not call such a task hung. It was frozen, or it can be
// killed, as those can that wait for a file server (TasksStuckOnMount tells of them).
func (t blockedTask) ordinary() bool {
	switch waitsFor('D', t.wchan) {
	case nfsClient, cifsClient, cephClient, p9Client:
		return true
	}
	return strings.HasPrefix(strings.TrimLeft(t.wchan, "_"), "refrigerator")
}

// blockedTasks finds them among all threads, the kernel's own included.
func blockedTasks(ctx context.Context, h *host.Host) (map[taskID]blockedTask, error) {
	found := map[taskID]blockedTask{}
	buf := make([]byte, 0, 1024)
	err := process.Walk(ctx, h, func(p process.Process) error {
		return eachThread(h, p, buf, func(t process.Process, dir string) {
			if t.State != 'D' {
				return
			}
			raw, err := h.ReadFile(dir + "/status")
			if err != nil {
				return // it has ended
			}
			if st, err := process.ParseStatus(raw); err == nil {
				found[taskID{t.PID, t.StartTime}] = blockedTask{process: p, dir: dir, switches: st.Voluntary + st.Involuntary}
			}
		})
	})
	return found, err
}

// evaluateHungTasks judges the tasks that have been blocked for longer than hung.
func evaluateHungTasks(n *Node, late []blockedTask, hung time.Duration) problem.Result {
	if len(late) == 0 {
		return problem.Result{}
	}
	slices.SortFunc(late, func(a, b blockedTask) int { return strings.Compare(a.dir, b.dir) })
	v := problem.Verdict{
		Kind: problem.TaskHung, State: problem.Wrong, Severity: problem.Critical, Scope: problem.NodeScope,
		Message: fmt.Sprintf("%s blocked for more than %v, and the kernel has found some that hang", areTasks(uint64(len(late))), hung),
	}
	for _, t := range late[:min(len(late), maxHolders)] {
		o := n.Owners.OfPID(t.process.PID)
		v.Evidence = append(v.Evidence, fmt.Sprintf("%s/stat: D, in %s", t.dir, orElse(t.wchan, "0")))
		v.Holders = append(v.Holders, problem.Holder{Owner: o.String(), Process: t.process.Comm, PID: t.process.PID, Amount: 1, Unit: problem.Threads})
		if o.Cgroup != "/" { // where the kernel's own are
			v.Touches = appendNew(v.Touches, o.Refs()...)
		}
		v.Touches = appendNew(v.Touches, problem.NewRef(problem.RefProcess, t.process.Comm))
		v.Touches = appendNew(v.Touches, AwaitedDevices(n.Host, t.dir)...)
	}
	return problem.Result{Verdicts: []problem.Verdict{v}}
}

func areTasks(n uint64) string {
	if n == 1 {
		return "a task has been"
	}
	return coarse(n) + " tasks have been"
}
