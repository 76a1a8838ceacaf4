package probes

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/host/systemd"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Threads watches the limits on the number of tasks: those of the node, and
// those of every cgroup. fork(2) fails with the same EAGAIN at each of them;
// the probe says which one it was.
type Threads struct {
	Thresholds ThreadsThresholds
	limits     limitMemory
}

// ThreadsThresholds are the thresholds of Threads.
type ThreadsThresholds struct {
	// Node is the share of min(kernel.pid_max, kernel.threads-max) in use.
	Node Levels `yaml:"node"`
	// Cgroup is the share of a cgroup's pids.max in use, kubelet's and the
	// runtime's unit included.
	Cgroup Levels `yaml:"cgroup"`
}

// NewThreads is the probe with its default thresholds.
func NewThreads() *Threads {
	return &Threads{limits: limitMemory{seed: maphash.MakeSeed()}, Thresholds: ThreadsThresholds{
		// A runaway pool adds hundreds of threads a second: 80 % of 32,768 leaves
		// half a minute, at 95 % every new pod may be the one that fails.
		Node: Levels{Warning: 80, Critical: 95},
		// Pods are sized with less room than nodes, but the same share.
		Cgroup: Levels{Warning: 80, Critical: 95},
	}}
}

// Name implements Probe.
func (*Threads) Name() string { return "threads" }

// Kinds implements Probe.
func (*Threads) Kinds() []problem.Kind {
	return []problem.Kind{
		problem.ForkRefused, problem.NodeThreadsNearLimit, problem.CgroupPIDsNearLimit, problem.UnitTasksNearLimit,
	}
}

// threadSample is one look at all limits.
type threadSample struct {
	threads, pidMax, threadsMax uint64
	// cgroups are those with a limit of their own, in the order of the walk.
	cgroups []limitedCgroup
	// refusals are those since the sample before, one for each cgroup that counted.
	refusals []refusal
}

// Run implements Probe.
func (p *Threads) Run(ctx context.Context, n *Node) (problem.Result, error) {
	cur, err := readNodeThreads(n.Host)
	if err != nil {
		return problem.Result{}, err
	}
	var r problem.Result
	switch {
	case n.Cgroups == nil:
		r.Verdicts = undecided(problem.Unknown, n.CgroupsErr.Error(), p.cgroupKinds()...)
	case !n.Cgroups.Has(cgroup.ControllerPIDs):
		r.Verdicts = undecided(problem.NotApplicable, "the kernel has no pids cgroup controller", p.cgroupKinds()...)
	default:
		if err := cur.readCgroups(ctx, n.Cgroups, &p.limits); err != nil {
			r.Partial = err.Error()
		}
	}
	found := evaluateThreads(cur, n, p.Thresholds)
	r.Measurements = found.Measurements
	r.Verdicts = append(r.Verdicts, found.Verdicts...)
	p.nameHolders(ctx, n, r.Verdicts)
	return r, nil
}

func (*Threads) cgroupKinds() []problem.Kind {
	return []problem.Kind{problem.ForkRefused, problem.CgroupPIDsNearLimit, problem.UnitTasksNearLimit}
}

func undecided(s problem.State, why string, kinds ...problem.Kind) []problem.Verdict {
	var out []problem.Verdict
	for _, k := range kinds {
		out = append(out, problem.Verdict{Kind: k, State: s, Message: why})
	}
	return out
}

// readNodeThreads reads the number of tasks and the node's two limits on it.
func readNodeThreads(h *host.Host) (*threadSample, error) {
	raw, err := h.ReadFile("/proc/loadavg")
	if err != nil {
		return nil, err
	}
	s := &threadSample{}
	if s.threads, err = parseLoadavgThreads(raw); err != nil {
		return nil, err
	}
	if s.pidMax, err = readUint(h, "/proc/sys/kernel/pid_max"); err != nil {
		return nil, err
	}
	s.threadsMax, err = readUint(h, "/proc/sys/kernel/threads-max")
	return s, err
}

// parseLoadavgThreads takes the number of tasks from /proc/loadavg: the fourth
// field is "runnable/existing" (proc_loadavg(5)). It counts threads, as the
// limits do; a count of the folders in /proc does not.
func parseLoadavgThreads(raw []byte) (uint64, error) {
	f := strings.Fields(string(raw))
	if len(f) != 5 {
		return 0, fmt.Errorf("/proc/loadavg: %d fields in %q, want 5", len(f), bounded(raw))
	}
	_, total, ok := strings.Cut(f[3], "/")
	n, err := strconv.ParseUint(total, 10, 32)
	if !ok || err != nil {
		return 0, fmt.Errorf("/proc/loadavg: %q is not running/existing", bounded([]byte(f[3])))
	}
	return n, nil
}

// maxMeasured is how many cgroups have a measurement, the fullest: of thousands
// that are far from their limits, each would only cost memory.
const maxMeasured = 100

// evaluateThreads judges a sample.
func evaluateThreads(s *threadSample, n *Node, th ThreadsThresholds) problem.Result {
	var r problem.Result
	evaluateNode(&r, s, th)
	refused := map[string]bool{}
	for _, group := range byLimiter(s.refusals) {
		refused[group[0].limiter] = true
		r.Verdicts = append(r.Verdicts, forkRefused(n, group))
	}
	units := false
	slices.SortStableFunc(s.cgroups, func(a, b limitedCgroup) int { return cmp.Compare(b.Fraction(), a.Fraction()) })
	for i, c := range s.cgroups {
		units = units || isKubernetesUnit(c.path)
		sev := th.Cgroup.Severity(c.Fraction())
		if refused[c.path] {
			// It was reached, even if there is room again at this moment.
			sev = problem.Critical
		}
		if sev == 0 && i >= maxMeasured && !isKubernetesUnit(c.path) {
			continue
		}
		kind, m := cgroupMeasurement(n, c)
		r.Measurements = append(r.Measurements, m)
		if sev == 0 {
			continue
		}
		o := n.Owners.OfCgroup(c.path)
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: kind, Subject: o.String(), State: problem.Wrong, Severity: sev, Scope: o.Scope(),
			Message:  fmt.Sprintf("%s is at %s of its pids limit", o, problem.Share(m)),
			Evidence: []string{fmt.Sprintf("%s: %d, pids.max: %d", n.Cgroups.File(cgroup.ControllerPIDs, c.path, "pids.current"), c.Current, c.Max)},
			Touches:  o.Refs(),
			Refused:  refused[c.path] || c.Full(),
		})
	}
	if !units && n.Cgroups != nil {
		r.Verdicts = append(r.Verdicts, undecided(problem.NotApplicable, "no unit of kubelet or a container runtime has a task limit here", problem.UnitTasksNearLimit)...)
	}
	return r
}

// reservedPIDs are never given out again once pid numbers have wrapped around
// (RESERVED_PIDS in kernel/pid.c).
const reservedPIDs = 300

// evaluateNode judges the node's two limits. The lower one binds.
func evaluateNode(r *problem.Result, s *threadSample, th ThreadsThresholds) {
	limits := []struct {
		resource, file string
		max            uint64
		full           bool
	}{
		{"pid_max", "/proc/sys/kernel/pid_max", s.pidMax, s.threads+reservedPIDs >= s.pidMax},
		{"threads_max", "/proc/sys/kernel/threads-max", s.threadsMax, s.threads >= s.threadsMax},
	}
	binding := limits[0]
	if limits[1].max < binding.max {
		binding = limits[1]
	}
	for _, l := range limits {
		m := problem.Measurement{Resource: l.resource, Used: float64(s.threads), Max: float64(l.max), Unit: problem.Threads}
		r.Measurements = append(r.Measurements, m)
		if sev := th.Node.Severity(m.Fraction()); sev != 0 && l == binding {
			r.Verdicts = append(r.Verdicts, problem.Verdict{
				Kind: problem.NodeThreadsNearLimit, State: problem.Wrong, Severity: sev,
				Message:  fmt.Sprintf("the node's threads are at %s, the limit set by %s", problem.Share(m), strings.ReplaceAll(l.resource, "threads_max", "threads-max")),
				Evidence: []string{fmt.Sprintf("/proc/loadavg: %d threads; %s: %d", s.threads, l.file, l.max)},
				Touches:  []problem.Ref{problem.RefNode, problem.NewRef(problem.RefCgroup, "/")},
				Refused:  l.full,
			})
		}
	}
}

// byLimiter groups refusals by the cgroup whose limit it was, in order.
func byLimiter(all []refusal) [][]refusal {
	var out [][]refusal
	for _, r := range all {
		i := slices.IndexFunc(out, func(g []refusal) bool { return g[0].limiter == r.limiter })
		if i < 0 {
			out = append(out, nil)
			i = len(out) - 1
		}
		out[i] = append(out[i], r)
	}
	return out
}

// forkRefused is the verdict on the forks that one limit refused.
func forkRefused(n *Node, group []refusal) problem.Verdict {
	limiter := group[0]
	o := n.Owners.OfCgroup(limiter.limiter)
	v := problem.Verdict{
		Kind: problem.ForkRefused, Subject: o.String(), State: problem.Wrong, Severity: problem.Critical, Scope: o.Scope(),
		Touches: o.Refs(),
		Refused: true,
	}
	var total uint64
	for _, r := range group {
		total += r.total
		evidence := fmt.Sprintf("%s: max %d", r.file, r.total)
		if r.times > 0 {
			evidence += fmt.Sprintf(" (%d more since the last look)", r.times)
		}
		v.Evidence = append(v.Evidence, evidence)
		if r.at != r.limiter {
			v.Touches = append(v.Touches, problem.NewRef(problem.RefCgroup, r.at))
		}
	}
	v.Evidence = v.Evidence[:min(len(v.Evidence), maxHolders)]
	v.Message = fmt.Sprintf("fork fails: pids.max reached in %s (%d of %d threads, %s refused)", o, limiter.pids.Current, limiter.pids.Max, coarse(total))
	return v
}

// kubernetesUnits are the units whose own task limit stops pods from starting.
func kubernetesUnits() []string { return append(systemd.KubeletUnits(), systemd.RuntimeUnits()...) }

func isKubernetesUnit(path string) bool {
	name := path[strings.LastIndexByte(path, '/')+1:]
	return strings.HasSuffix(name, ".service") && slices.Contains(kubernetesUnits(), name)
}

func cgroupMeasurement(n *Node, c limitedCgroup) (problem.Kind, problem.Measurement) {
	kind, resource := problem.CgroupPIDsNearLimit, "cgroup_pids"
	if isKubernetesUnit(c.path) {
		kind, resource = problem.UnitTasksNearLimit, "unit_tasks"
	}
	m := problem.Measurement{
		Resource: resource, Subject: n.Owners.OfCgroup(c.path).String(),
		Used: float64(c.Current), Max: float64(c.Max), Unit: problem.Threads,
		Touches: []problem.Ref{problem.NewRef(problem.RefCgroup, c.path)},
	}
	if c.told {
		refused := c.refused
		m.Refused = &refused
	}
	return kind, m
}

// nameHolders says who has the threads, if there is anything to say it about.
func (*Threads) nameHolders(ctx context.Context, n *Node, verdicts []problem.Verdict) {
	var all []consumer
	for i := range verdicts {
		v := &verdicts[i]
		if v.State != problem.Wrong {
			continue
		}
		if all == nil {
			// An error only means that fewer holders are known.
			all, _ = consumers(ctx, n, func(p process.Process) float64 { return float64(p.Threads) })
		}
		v.Holders = holders(n, all, topCgroup(v.Touches), problem.Threads)
	}
}

// topCgroup is the first cgroup that a verdict touches: its subject.
func topCgroup(refs []problem.Ref) string {
	for _, r := range refs {
		if r.Type() == problem.RefCgroup {
			return r.ID()
		}
	}
	return "/"
}
