package probes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Eviction watches how far this node is from kubelet's own eviction thresholds,
// counting as kubelet does.
type Eviction struct {
	Thresholds EvictionThresholds
	usage      usageFunc // nil: statfs
	met        map[string]metBefore
}

// EvictionThresholds are the thresholds of Eviction.
type EvictionThresholds struct {
	// Near is how far on the way to kubelet's threshold a disk or the pids are
	// imminent: threshold/available, in percent.
	Near float64 `yaml:"near"`
	// Memory is the multiple of kubelet's threshold below which a warning begins.
	Memory float64 `yaml:"memory"`
}

// NewEviction is the probe with its default thresholds.
func NewEviction() *Eviction {
	return &Eviction{Thresholds: EvictionThresholds{
		// Disks fill slowly: the last 5 % are minutes.
		Near: 95,
		// Memory goes within seconds, and kubelet looks every 10 s: by the default
		// threshold of 100 MiB it is often too late.
		Memory: 2,
	}}
}

// Name implements Probe.
func (*Eviction) Name() string { return "eviction" }

// Kinds implements Probe.
func (*Eviction) Kinds() []problem.Kind { return []problem.Kind{problem.EvictionImminent} }

// Run implements Probe.
func (p *Eviction) Run(_ context.Context, n *Node) (problem.Result, error) {
	s, err := kubeletSettings(n)
	switch {
	case err != nil:
		return problem.Result{}, err
	case len(s.EvictionHard)+len(s.EvictionSoft) == 0:
		return problem.Result{}, problem.NotApplicablef("kubelet has no eviction thresholds")
	}
	v, err := viewMounts(n.Host, p.usage)
	if err != nil {
		return problem.Result{}, err
	}
	signals := readSignals(n, v, s)
	p.met = carryMet(signals, p.met, n.Host.Clock.Boot())
	return evaluateEviction(signals, p.Thresholds), nil
}

// signal is one of kubelet's eviction signals, measured, with its thresholds.
type signal struct {
	name                string
	capacity, available float64
	unit                problem.Unit
	evidence            string
	touches             []problem.Ref
	err                 error
	hard, soft          *kubelet.Threshold
	// met: kubelet has acted by the threshold, and does until it has reclaimed enough.
	hardMet, softMet bool
}

// readSignals measures the signals that have thresholds, sorted by name.
func readSignals(n *Node, v *mountView, s kubelet.Settings) []signal {
	names := slices.AppendSeq(slices.Collect(maps.Keys(s.EvictionHard)), maps.Keys(s.EvictionSoft))
	slices.Sort(names)
	all := make([]signal, 0, len(names))
	for _, name := range slices.Compact(names) {
		sig := signal{name: name, touches: []problem.Ref{problem.RefNode}}
		if t, ok := s.EvictionHard[name]; ok {
			sig.hard = &t
		}
		if t, ok := s.EvictionSoft[name]; ok {
			sig.soft = &t
		}
		switch name {
		case "nodefs.available", "nodefs.inodesFree":
			sig.readDisk(v, []string{s.RootDir})
		case "imagefs.available", "imagefs.inodesFree":
			sig.readDisk(v, imageStores(s))
		case "memory.available":
			sig.readMemory(n)
		case "pid.available":
			sig.readPIDs(n)
		default: // containerfs.* follow from the others; allocatableMemory is kubepods' own
			continue
		}
		all = append(all, sig)
	}
	return all
}

// imageStores are the places where the runtime may keep its images, the most
// likely first. kubelet asks the runtime (ImageFsInfo).
func imageStores(s kubelet.Settings) []string {
	containerd, docker, containers := "/var/lib/containerd", "/var/lib/docker", "/var/lib/containers"
	var paths []string
	switch e := s.ContainerRuntimeEndpoint; {
	case s.DataDir != "" && !strings.Contains(e, "docker") && !strings.Contains(e, "crio"):
		paths = []string{path.Join(s.DataDir, "agent/containerd")}
	case strings.Contains(e, "docker"):
		paths = []string{docker}
	case strings.Contains(e, "crio"):
		paths = []string{containers}
	case s.Distribution == "k0s": // beside kubelet's folder
		paths = []string{path.Join(path.Dir(s.RootDir), "containerd")}
	case s.Distribution == "microk8s":
		paths = []string{"/var/snap/microk8s/common/var/lib/containerd"}
	}
	return append(paths, containerd, docker, containers)
}

// readDisk measures the file system of the first of the paths that exists: bytes
// by statfs' f_bavail of f_blocks, inodes by f_ffree of f_files, as cAdvisor does.
func (s *signal) readDisk(v *mountView, paths []string) {
	var m mounts.Mount
	for _, p := range paths {
		if m, s.err = v.place(p); !errors.Is(s.err, fs.ErrNotExist) {
			break
		}
	}
	if s.err != nil {
		s.err = fmt.Errorf("where its file system is mounted is not known: %w", s.err)
		return
	}
	var u mounts.Usage
	if u, s.err = v.usage(m); s.err != nil {
		s.err = fmt.Errorf("%s: %w", m.Point, s.err)
		return
	}
	s.unit, s.capacity, s.available = problem.Bytes, float64(u.Size), float64(u.Avail)
	command := "df -B1"
	if strings.HasSuffix(s.name, ".inodesFree") {
		s.unit, s.capacity, s.available = problem.Inodes, float64(u.Inodes), float64(u.InodesFree)
		command = "df -i"
	}
	s.evidence = fmt.Sprintf("%s %s: %.0f available of %.0f", command, m.Point, s.available, s.capacity)
	s.touches = append(s.touches, problem.NewRef(problem.RefMount, m.Point))
	s.touches = append(s.touches, v.deviceRefs(m)...)
}

// readMemory measures the node's memory less the root cgroup's working set, which
// is what kubelet takes for available (node-pressure eviction in the Kubernetes
// documentation; cAdvisor's setMemoryStats).
func (s *signal) readMemory(n *Node) {
	raw, err := n.Host.ReadFile("/proc/meminfo")
	if err != nil {
		s.err = err
		return
	}
	total, ok := lineValue(raw, "MemTotal:")
	if !ok || total == 0 {
		s.err = errors.New("/proc/meminfo: no MemTotal")
		return
	}
	working, file, err := rootWorkingSet(n)
	if err != nil {
		s.err = err
		return
	}
	s.unit, s.capacity = problem.Bytes, float64(total)*1024
	s.available = max(0, s.capacity-float64(working))
	s.evidence = fmt.Sprintf("/proc/meminfo: MemTotal %d kB; %s: working set %d bytes", total, file, working)
}

// rootWorkingSet is the bytes in use by the root cgroup less inactive_file. On v2
// the root has no memory.current: there it is anon + file, as runc's library counts
// for cAdvisor (before its version 1.2: MemTotal - MemFree, a few hundred MiB more).
func rootWorkingSet(n *Node) (bytes uint64, file string, err error) {
	if n.Cgroups == nil {
		return 0, "", n.CgroupsErr
	}
	file = n.Cgroups.File(cgroup.ControllerMemory, "/", "memory.stat")
	bytes, err = n.Cgroups.WorkingSet("/")
	if err == nil || !errors.Is(err, cgroup.ErrAbsent) || !n.Cgroups.Has(cgroup.ControllerMemory) {
		return bytes, file, err
	}
	raw, err := n.Host.ReadFile(file)
	if err != nil {
		return 0, file, err
	}
	bytes, err = parseWorkingSet(raw)
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return bytes, file, err
}

// parseWorkingSet computes anon + file - inactive_file from a v2 memory.stat.
func parseWorkingSet(raw []byte) (uint64, error) {
	anon, ok1 := lineValue(raw, "anon")
	file, ok2 := lineValue(raw, "file")
	inactive, ok3 := lineValue(raw, "inactive_file")
	if !ok1 || !ok2 || !ok3 {
		return 0, errors.New("without anon, file or inactive_file")
	}
	return anon + file - min(inactive, anon+file), nil
}

// readPIDs measures the pids as kubelet does (pkg/kubelet/stats/pidlimit): the lower
// of two limits less the threads that exist.
func (s *signal) readPIDs(n *Node) {
	t, err := readNodeThreads(n.Host)
	if err != nil {
		s.err = err
		return
	}
	s.unit, s.capacity = problem.Threads, float64(min(t.pidMax, t.threadsMax))
	s.available = max(0, s.capacity-float64(t.threads))
	s.evidence = fmt.Sprintf("/proc/loadavg: %d threads; /proc/sys/kernel: pid_max %d, threads-max %d", t.threads, t.pidMax, t.threadsMax)
}

func evaluateEviction(all []signal, th EvictionThresholds) problem.Result {
	var r problem.Result
	for _, s := range all {
		v := problem.Verdict{Kind: problem.EvictionImminent, Subject: s.name, Touches: s.touches}
		if s.err != nil {
			v.State, v.Message = problem.Unknown, fmt.Sprintf("%s: %v", s.name, s.err)
			r.Verdicts = append(r.Verdicts, v)
			continue
		}
		if s.capacity == 0 { // a file system without a number of inodes
			continue
		}
		first := s.hard // of two thresholds the one that is met first is the measure
		if s.soft != nil && (first == nil || s.amount(s.soft) > s.amount(first)) {
			first = s.soft
		}
		r.Measurements = append(r.Measurements, problem.Measurement{
			Resource: "eviction", Subject: s.name, Used: s.capacity - s.available,
			Max: max(1, s.capacity-s.amount(first)), Unit: s.unit, Touches: s.touches,
		})
		if v.Severity, v.Message = s.judge(th); v.Severity == 0 {
			continue
		}
		v.State, v.Evidence = problem.Wrong, []string{s.evidence}
		v.Refused = s.hard != nil && (s.hardMet || s.available < s.amount(s.hard))
		r.Verdicts = append(r.Verdicts, v)
	}
	return r
}

// amount is a threshold of the signal in its unit.
func (s *signal) amount(t *kubelet.Threshold) float64 {
	if t.Percent > 0 {
		return s.capacity * t.Percent / 100
	}
	return t.Quantity
}

// judge says how near the signal is to its thresholds.
func (s *signal) judge(th EvictionThresholds) (problem.Severity, string) {
	left := fmt.Sprintf("%s is at %s", s.name, problem.Percent(s.available/s.capacity))
	at := func(t *kubelet.Threshold) string {
		return fmt.Sprintf("%s (%s)", problem.Percent(s.amount(t)/s.capacity), problem.Amount(s.amount(t), s.unit))
	}
	enough := func(t *kubelet.Threshold) string { return problem.Amount(s.reclaimed(t), s.unit) }
	switch {
	case s.hard != nil && s.available < s.amount(s.hard):
		return problem.Critical, fmt.Sprintf("%s, below kubelet's threshold of %s: it evicts pods", left, at(s.hard))
	case s.hardMet:
		return problem.Critical, fmt.Sprintf("%s and was below kubelet's threshold of %s: it evicts pods until %s are available (evictionMinimumReclaim)",
			left, at(s.hard), enough(s.hard))
	case s.softMet && s.available >= s.amount(s.soft):
		return problem.Warning, fmt.Sprintf("%s and was below kubelet's soft threshold of %s: it evicts pods until %s are available (evictionMinimumReclaim)",
			left, at(s.soft), enough(s.soft))
	case s.soft != nil && s.available < s.amount(s.soft):
		return problem.Warning, fmt.Sprintf("%s, below kubelet's soft threshold of %s: it evicts pods if that lasts %s",
			left, at(s.soft), s.soft.Grace.Round(time.Second))
	case s.hard == nil:
		return 0, ""
	case s.name == "memory.available":
		if s.available < s.amount(s.hard)*th.Memory {
			return problem.Warning, fmt.Sprintf("%s, where kubelet evicts pods below %s", left, at(s.hard))
		}
	case s.available*th.Near/100 <= s.amount(s.hard):
		sev := problem.Critical
		if s.name == "imagefs.available" {
			// By default kubelet begins to remove images at the same 15 % of space,
			// so that a node comes near to it all the time and turns back.
			sev = problem.Warning
		}
		return sev, fmt.Sprintf("%s, where kubelet evicts pods below %s", left, at(s.hard))
	}
	return 0, ""
}
