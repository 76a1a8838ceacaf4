package probes

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Pressure watches how long tasks wait for memory, I/O and CPU: the kernel's
// pressure stall information (PSI, Documentation/accounting/psi.rst), and the
// CPU time that the hypervisor takes away.
type Pressure struct {
	Thresholds PressureThresholds
	prev       *cpuSample
	disks      map[string]lateDisk
	looked     time.Duration // at the disks, in boot time
}

// PressureThresholds are the thresholds of Pressure: in percent of time, but for Disk.
type PressureThresholds struct {
	// Memory is the time in which all tasks waited for memory, over a minute.
	Memory Levels `yaml:"memory"`
	// IO is the time in which all tasks waited for I/O, over a minute.
	IO Levels `yaml:"io"`
	// Disk is from how long a single disk's requests take too long.
	Disk DiskWait `yaml:"disk"`
	// CPU is the time in which a task of system.slice waited for a CPU, over a
	// minute and over five.
	CPU Levels `yaml:"cpu"`
	// Steal is the CPU time that the hypervisor gave to others.
	Steal Levels `yaml:"steal"`
}

// NewPressure is the probe with its default thresholds.
func NewPressure() *Pressure {
	return &Pressure{Thresholds: PressureThresholds{
		// A tenth of all work lost to reclaim is felt as latency; at two fifths
		// probes time out. systemd-oomd kills at 60 % by default.
		Memory: Levels{Warning: 10, Critical: 40},
		// Disks are expected to keep tasks waiting sometimes: twice as much.
		IO: Levels{Warning: 20, Critical: 50},
		// A disk under load takes tens of ms, a cloud volume at its limit a
		// hundred or two; half a second over minutes stalls etcd and the runtime.
		Disk: DiskWait{Over: 500 * time.Millisecond, For: 5 * time.Minute},
		// One task in the queue is enough for "some": a fifth of the time is
		// more than a busy but healthy kubelet sees.
		CPU: Levels{Warning: 20, Critical: 50},
		// Clouds overcommit a little; a tenth over minutes is a noisy neighbour
		// or a burstable machine without credit, and half a different machine.
		Steal: Levels{Warning: 10, Critical: 50},
	}}
}

const (
	// plenty is the share of RAM available from which a stall is not for want of
	// memory on the node: kubelet evicts at a few percent, and the kernel begins to
	// reclaim at less.
	plenty = 0.20
	// atLimit is the share of its limit from which a cgroup is taken to reclaim
	// because of it: while it thrashes, usage stays within one batch of pages.
	atLimit = 0.90
	// slack is how far two averages may be apart that are of the same stall: each
	// is brought up to date every two seconds, at its own moment.
	slack = 1.25
	// stealTicks is how much steal is more than rounding: 0.1 s of it.
	stealTicks = 10
	// stealWindow is how old the last sample must be to be replaced. A single look
	// at the node takes several in a second, and judges by the first.
	stealWindow = 10 * time.Second
)

// Name implements Probe.
func (*Pressure) Name() string { return "pressure" }

// Kinds implements Probe.
func (*Pressure) Kinds() []problem.Kind {
	return []problem.Kind{problem.MemoryStall, problem.IOStall, problem.CPUStarvation}
}

// Run implements Probe.
func (p *Pressure) Run(ctx context.Context, n *Node) (problem.Result, error) {
	var r problem.Result
	if err := p.steal(n, &r); err != nil {
		return r, err
	}
	waits, noDisks := p.diskWaits(n)
	if noDisks != nil && !errors.Is(noDisks, fs.ErrNotExist) {
		return r, noDisks
	}
	add(&r, waits)
	memory, err := nodePressure(n, "memory")
	if reason, missing := withoutPSI(err); missing {
		r.Verdicts = append(r.Verdicts, problem.Verdict{Kind: problem.MemoryStall, State: problem.NotApplicable, Message: reason})
		if noDisks != nil { // else late disks show without it, too
			r.Verdicts = append(r.Verdicts, problem.Verdict{Kind: problem.IOStall, State: problem.NotApplicable, Message: reason})
		}
		return r, nil
	}
	if err != nil {
		return r, err
	}
	io, err := nodePressure(n, "io")
	if err != nil {
		return r, err
	}
	available, err := availableMemory(n)
	if err != nil {
		return r, err
	}
	groups, err := stalledGroups(ctx, n)
	if err != nil {
		r.Partial = err.Error()
	}
	add(&r, evaluateMemoryStall(memory, available, groups, p.Thresholds.Memory))
	stall := evaluateIOStall(io, p.Thresholds.IO)
	for i := range stall.Verdicts {
		stall.Verdicts[i].Holders = ioHolders(n, groups)
	}
	add(&r, stall)
	add(&r, p.systemSlice(n))
	return r, nil
}

// add puts what was found into r.
func add(r *problem.Result, found problem.Result) {
	r.Measurements = append(r.Measurements, found.Measurements...)
	r.Verdicts = append(r.Verdicts, found.Verdicts...)
}

func nodePressure(n *Node, resource string) (cgroup.Pressure, error) {
	file := "/proc/pressure/" + resource
	raw, err := n.Host.ReadFile(file)
	if err != nil {
		return cgroup.Pressure{}, err
	}
	p, err := cgroup.ParsePressure(raw)
	if err != nil {
		return p, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

// withoutPSI is why a node has no pressure files, if that is what err says.
func withoutPSI(err error) (reason string, missing bool) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "the kernel keeps no pressure stall information (Linux 4.20 with CONFIG_PSI has it, some need psi=1 at boot)", true
	case errors.Is(err, unix.EOPNOTSUPP):
		return "pressure stall information is switched off (psi=1 on the kernel's command line switches it on)", true
	}
	return "", false
}

// availableMemory is the share of RAM that can be had without swapping.
func availableMemory(n *Node) (float64, error) {
	raw, err := n.Host.ReadFile(meminfoFile)
	if err != nil {
		return 0, err
	}
	available, ok1 := lineValue(raw, "MemAvailable:")
	total, ok2 := lineValue(raw, "MemTotal:")
	if !ok1 || !ok2 || total == 0 {
		return 0, fmt.Errorf("%s: no number after MemAvailable or MemTotal in %q", meminfoFile, bounded(raw))
	}
	return float64(available) / float64(total), nil
}

// stallGroup is a cgroup of kubepods or of one pod, and how it stalls for memory.
type stallGroup struct {
	path    string
	pod     bool
	full    float64 // percent of the last minute
	bound   bool    // it is at its own limit
	file    string  // where that was read
	subject string
	scope   problem.Scope
	touches []problem.Ref
}

// stalledGroups are kubepods and the pods. Only v2 has them: on v1, container
// engines keep no process in the hierarchy that counts pressure.
func stalledGroups(ctx context.Context, n *Node) ([]stallGroup, error) {
	if n.Cgroups == nil || n.Cgroups.Mode() != cgroup.V2 {
		return nil, nil
	}
	var groups []stallGroup
	err := n.Cgroups.Walk(ctx, cgroup.ControllerMemory, func(at string) error {
		pod := isPod(at)
		if !pod && !cgroup.IsKubepods(at) {
			return nil
		}
		p, err := n.Cgroups.Pressure(at, "memory")
		if errors.Is(err, cgroup.ErrAbsent) {
			return nil
		}
		if err != nil {
			return err
		}
		o := n.Owners.OfCgroup(at)
		g := stallGroup{
			path: at, pod: pod, full: p.Full.Avg60, file: n.Cgroups.File(cgroup.ControllerMemory, at, "memory.pressure"),
			subject: o.String(), scope: o.Scope(), touches: o.Refs(),
		}
		// A limit that cannot be read is no reason to stay silent about the stall.
		if g.full > 0 {
			m, err := n.Cgroups.Memory(at)
			g.bound = err == nil && m.Limited() && m.Fraction() >= atLimit
		}
		groups = append(groups, g)
		return nil
	})
	return groups, err
}

// isPod reports whether a cgroup is a pod's own, not one below it.
func isPod(at string) bool {
	_, ok := cgroup.PodOf(at)
	_, below := cgroup.PodOf(path.Dir(at))
	return ok && !below
}

// evaluateMemoryStall judges the node, kubepods and the pods. A stall is felt at
// every level above the one whose limit brings it about, so each is told where it
// belongs: with the pod at its own limit, with kubepods at its, else with the node.
func evaluateMemoryStall(node cgroup.Pressure, available float64, groups []stallGroup, th Levels) problem.Result {
	r := problem.Result{Measurements: []problem.Measurement{stallRatio("pressure_memory_full", "", node.Full.Avg60, nil)}}
	groups = slices.Clone(groups)
	slices.SortStableFunc(groups, func(a, b stallGroup) int { return cmp.Compare(b.full, a.full) })

	var holders []problem.Holder
	podsAtLimit, kubepodsAtLimit := 0.0, 0.0
	for _, g := range groups {
		if g.pod && g.full > 0 && len(holders) < maxHolders {
			holders = append(holders, problem.Holder{Owner: g.subject, Amount: g.full / 100, Unit: problem.Ratio})
		}
		switch {
		case g.bound && g.pod:
			// Whatever runs elsewhere does not stall for them: together they can
			// make a level above stall for the sum of their times at most.
			podsAtLimit += g.full
		case g.bound:
			kubepodsAtLimit = max(kubepodsAtLimit, g.full)
		}
	}
	above := th.Severity(node.Full.Avg60 / 100)
	if available >= plenty && slack*max(podsAtLimit, kubepodsAtLimit) >= node.Full.Avg60 {
		above = 0
	}
	if above != 0 {
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: problem.MemoryStall, State: problem.Wrong, Severity: above,
			Message: "all tasks of the node waited for memory in " + atLeast(node.Full.Avg60) + " of the last minute",
			Evidence: []string{
				fmt.Sprintf("/proc/pressure/memory: full avg60=%.2f", node.Full.Avg60),
				fmt.Sprintf("%s: MemAvailable is %s of MemTotal", meminfoFile, problem.Percent(available)),
			},
			Holders: holders,
			Touches: []problem.Ref{problem.RefNode},
		})
	}
	for _, g := range groups {
		if g.pod {
			continue
		}
		r.Measurements = append(r.Measurements, stallRatio("pressure_memory_full", g.subject, g.full, g.touches))
		severity := th.Severity(g.full / 100)
		if severity == 0 || slack*podsAtLimit >= g.full || above != 0 && !g.bound {
			continue
		}
		above = max(above, severity)
		v := g.verdict(severity)
		v.Holders = holders
		r.Verdicts = append(r.Verdicts, v)
	}
	for _, g := range groups {
		if !g.pod || th.Severity(g.full/100) == 0 {
			continue
		}
		r.Measurements = append(r.Measurements, stallRatio("pressure_memory_full", g.subject, g.full, g.touches))
		if above == 0 || g.bound {
			r.Verdicts = append(r.Verdicts, g.verdict(problem.Warning)) // the node is well
		}
	}
	return r
}

func (g stallGroup) verdict(severity problem.Severity) problem.Verdict {
	v := problem.Verdict{
		Kind: problem.MemoryStall, Subject: g.subject, State: problem.Wrong, Severity: severity, Scope: g.scope,
		Message:  "all tasks of " + g.subject + " waited for memory in " + atLeast(g.full) + " of the last minute",
		Evidence: []string{fmt.Sprintf("%s: full avg60=%.2f", g.file, g.full)},
		Touches:  g.touches,
	}
	if g.bound {
		v.Message += ": it is at its own limit"
	}
	return v
}

func evaluateIOStall(node cgroup.Pressure, th Levels) problem.Result {
	r := problem.Result{Measurements: []problem.Measurement{stallRatio("pressure_io_full", "", node.Full.Avg60, nil)}}
	if severity := th.Severity(node.Full.Avg60 / 100); severity != 0 {
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: problem.IOStall, State: problem.Wrong, Severity: severity,
			Message:  "all tasks of the node waited for I/O in " + atLeast(node.Full.Avg60) + " of the last minute",
			Evidence: []string{fmt.Sprintf("/proc/pressure/io: full avg60=%.2f", node.Full.Avg60)},
			Touches:  []problem.Ref{problem.RefNode},
		})
	}
	return r
}

// ioHolders are the pods that wait for I/O the most.
func ioHolders(n *Node, groups []stallGroup) []problem.Holder {
	var holders []problem.Holder
	for _, g := range groups {
		if !g.pod {
			continue
		}
		// A pod that has gone meanwhile holds nothing.
		if p, err := n.Cgroups.Pressure(g.path, "io"); err == nil && p.Full.Avg60 > 0 {
			holders = append(holders, problem.Holder{Owner: g.subject, Amount: p.Full.Avg60 / 100, Unit: problem.Ratio})
		}
	}
	return topHolders(holders)
}

// systemSlice judges how long kubelet, the runtime and the other services wait
// for a CPU. Without systemd there is no such cgroup, and nothing to be said.
func (p *Pressure) systemSlice(n *Node) problem.Result {
	const slice = "/system.slice"
	if n.Cgroups == nil {
		return problem.Result{}
	}
	pressure, err := n.Cgroups.Pressure(slice, "cpu")
	if errors.Is(err, cgroup.ErrAbsent) {
		return problem.Result{}
	}
	if err != nil {
		return problem.Result{Verdicts: []problem.Verdict{{
			Kind: problem.CPUStarvation, Subject: "system.slice", State: problem.Unknown, Message: err.Error(),
		}}}
	}
	return evaluateSystemSlice(pressure, problem.NewRef(problem.RefCgroup, slice), p.Thresholds.CPU)
}

func evaluateSystemSlice(p cgroup.Pressure, ref problem.Ref, th Levels) problem.Result {
	r := problem.Result{Measurements: []problem.Measurement{
		stallRatio("pressure_cpu_some", "system.slice", p.Some.Avg60, []problem.Ref{ref}),
	}}
	// Both, so that one look at the node can tell five minutes of it from the
	// start of a few pods.
	if severity := th.Severity(min(p.Some.Avg60, p.Some.Avg300) / 100); severity != 0 {
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: problem.CPUStarvation, Subject: "system.slice", State: problem.Wrong, Severity: severity,
			Message:  "the system's services waited for a CPU in " + atLeast(min(p.Some.Avg60, p.Some.Avg300)) + " of the last five minutes",
			Evidence: []string{fmt.Sprintf("system.slice/cpu.pressure: some avg60=%.2f avg300=%.2f", p.Some.Avg60, p.Some.Avg300)},
			// kubelet and the runtime run there: it is felt by all that they do.
			Touches: []problem.Ref{problem.RefNode, ref},
		})
	}
	return r
}

// stallRatio is a share of time as a measurement.
func stallRatio(resource, subject string, percent float64, touches []problem.Ref) problem.Measurement {
	return problem.Measurement{
		Resource: resource, Subject: subject, Used: min(percent/100, 1), Max: 1, Unit: problem.Ratio, Touches: touches,
	}
}

// atLeast renders a percentage so that it does not change at every run.
func atLeast(percent float64) string {
	const step = 5
	if percent < step {
		return "some " + problem.Percent(percent/100)
	}
	return "at least " + problem.Percent(math.Floor(percent/step)*step/100)
}

// cpuSample is the CPU time of all CPUs since boot, in ticks, at a boot time.
type cpuSample struct {
	at           time.Duration
	total, steal uint64
}

// steal judges the CPU time that the hypervisor took since the last sample.
func (p *Pressure) steal(n *Node, r *problem.Result) error {
	raw, err := n.Host.ReadFile("/proc/stat")
	if err != nil {
		return err
	}
	cur, err := parseCPU(raw)
	if err != nil {
		return err
	}
	cur.at = n.Host.Clock.Boot()
	if p.prev != nil {
		add(r, evaluateSteal(*p.prev, cur, p.Thresholds.Steal))
	}
	if p.prev == nil || cur.at-p.prev.at >= stealWindow {
		p.prev = &cur
	}
	return nil
}

// parseCPU parses the first line of /proc/stat (proc_stat(5)): user, nice, system,
// idle, iowait, irq, softirq and steal; guest time is in user's and nice's.
func parseCPU(raw []byte) (s cpuSample, err error) {
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	f := strings.Fields(string(line))
	if len(f) < 9 || f[0] != "cpu" {
		return s, fmt.Errorf("/proc/stat: %q is no line of CPU times", bounded(line))
	}
	for _, text := range f[1:9] {
		ticks, err := strconv.ParseUint(text, 10, 56)
		if err != nil {
			return s, fmt.Errorf("/proc/stat: %w", err)
		}
		s.total, s.steal = s.total+ticks, ticks
	}
	return s, nil
}

func evaluateSteal(prev, cur cpuSample, th Levels) (r problem.Result) {
	total, steal := risen(prev.total, cur.total), risen(prev.steal, cur.steal)
	if total == 0 || steal > total { // no time has passed, or a counter was reset
		return r
	}
	m := problem.Measurement{Resource: "cpu_steal", Used: float64(steal) / float64(total), Max: 1, Unit: problem.Ratio}
	r.Measurements = append(r.Measurements, m)
	if severity := th.Severity(m.Used); severity != 0 && steal >= stealTicks {
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: problem.CPUStarvation, Subject: "steal", State: problem.Wrong, Severity: severity,
			Message:  "the hypervisor took " + atLeast(m.Used*100) + " of the CPU time away",
			Evidence: []string{fmt.Sprintf("/proc/stat: %d of %d ticks were steal within %s", steal, total, (cur.at - prev.at).Round(time.Second/10))},
			Touches:  []problem.Ref{problem.RefNode},
		})
	}
	return r
}
