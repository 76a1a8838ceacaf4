package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// OOM watches the counters of the kernel's OOM killer and tells whose limit had
// it act: a pod's own, that of all pods, or the node's memory itself. oomcount.go
// has the arithmetic.
type OOM struct {
	Thresholds OOMThresholds
	prev       *oomSample
	sampled    time.Duration // boot time of prev
	held       map[oomKey]heldOOM
}

// baselineAge is how old the last sample of all cgroups may become while nothing
// is killed. It must be young enough to know most pods, and to tell a limit that
// was reached by this kill from one reached long ago.
const baselineAge = time.Minute

// OOMThresholds are the thresholds of OOM.
type OOMThresholds struct {
	// Hold is how long a kill is told after it happened.
	Hold time.Duration `yaml:"hold"`
}

// NewOOM is the probe with its default thresholds.
func NewOOM() *OOM {
	return &OOM{
		// A kill is over at once: five minutes let every scrape and a person see it.
		Thresholds: OOMThresholds{Hold: 5 * time.Minute},
		held:       map[oomKey]heldOOM{},
	}
}

// Validate says what is wrong with the thresholds; the config calls it.
func (t OOMThresholds) Validate() error {
	if t.Hold <= 0 {
		return fmt.Errorf("hold is above 0, or no kill would be told; got %s", t.Hold)
	}
	return nil
}

// oomKey is what a kill is told about.
type oomKey struct {
	kind problem.Kind
	path string // cgroup whose limit it was; empty for the node
}

// heldOOM is a verdict that is told for a while.
type heldOOM struct {
	verdict problem.Verdict
	times   uint64
	until   time.Duration // boot time
}

// Name implements Probe.
func (*OOM) Name() string { return "oom" }

// Kinds implements Probe.
func (*OOM) Kinds() []problem.Kind {
	return []problem.Kind{problem.NodeOOM, problem.NodeAllocatableOOM, problem.ContainerOOM}
}

// Run implements Probe.
func (p *OOM) Run(ctx context.Context, n *Node) (problem.Result, error) {
	var r problem.Result
	if n.Cgroups == nil {
		return r, n.CgroupsErr
	}
	if !n.Cgroups.Has(cgroup.ControllerMemory) {
		return r, problem.NotApplicablef("the kernel's memory controller is switched off")
	}
	var (
		cur  oomSample
		rise oomRise
		now  = n.Host.Clock.Boot()
	)
	kills, err := oomKills(n)
	if err != nil {
		return r, err
	}
	r.Measurements = []problem.Measurement{{Resource: "oom_kills", Used: float64(kills), Unit: problem.Kills}}
	if p.prev != nil && kills == p.prev.kills && now-p.sampled < baselineAge {
		r.Verdicts = p.told(now)
		return r, nil
	}
	reached := func(at string) bool { return reachedLimit(n, at) }
	for range 2 {
		if cur, err = sampleOOM(ctx, n); err != nil {
			return r, err
		}
		if p.prev == nil {
			break
		}
		// A kill that is counted right now may be in one counter and not yet in
		// the other: what seems to be the node's is counted once more.
		if rise = cur.since(*p.prev, reached); rise.node == 0 && rise.unclear == "" {
			break
		}
	}
	if p.prev != nil {
		cur.awaitKills(*p.prev)
	}
	p.prev, p.sampled = &cur, now
	for path, times := range rise.limits {
		switch {
		case isPod(path):
			p.hold(now, oomKey{problem.ContainerOOM, path}, times, containerOOM(n, path))
		case cgroup.IsKubepods(path), cgroup.IsQoS(path):
			p.hold(now, oomKey{problem.NodeAllocatableOOM, path}, times, allocatableOOM(ctx, n, path))
		}
	}
	switch {
	case rise.node > 0:
		p.hold(now, oomKey{kind: problem.NodeOOM}, rise.node, nodeOOM(ctx, n, rise.victims))
	case rise.unclear != "":
		p.hold(now, oomKey{kind: problem.NodeOOM}, 1, problem.Verdict{State: problem.Unknown, Message: rise.unclear})
	}
	r.Verdicts = p.told(now)
	return r, nil
}

// hold keeps a verdict. A later one about the same thing adds to it; that nothing
// could be told does not undo what is known.
func (p *OOM) hold(now time.Duration, key oomKey, times uint64, v problem.Verdict) {
	h := p.held[key]
	if h.verdict.State == problem.Wrong && v.State == problem.Unknown {
		return
	}
	if h.verdict.State == v.State {
		times += h.times
	}
	p.held[key] = heldOOM{verdict: v, times: times, until: now + p.Thresholds.Hold}
}

// told are the verdicts that are still held, in a fixed order.
func (p *OOM) told(now time.Duration) []problem.Verdict {
	var verdicts []problem.Verdict
	maps.DeleteFunc(p.held, func(_ oomKey, h heldOOM) bool { return now >= h.until })
	for key, h := range p.held {
		v := h.verdict
		v.Kind = key.kind
		if v.State == problem.Wrong {
			v.Refused = true
			v.Message = fmt.Sprintf("%s (%d times)", v.Message, h.times)
			v.Message = strings.Replace(v.Message, "(1 times)", "(once)", 1)
		}
		verdicts = append(verdicts, v)
	}
	slices.SortFunc(verdicts, func(a, b problem.Verdict) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject))
	})
	return verdicts
}

// containerOOM is about a pod at its own limit. The pod's cgroup is the one that
// says so: it reaches the limit before the container does, since the sandbox
// counts as well, and outlives the container.
func containerOOM(n *Node, pod string) problem.Verdict {
	o := n.Owners.OfCgroup(pod)
	return problem.Verdict{
		Subject: o.String(), State: problem.Wrong, Severity: problem.Info, Scope: o.Scope(),
		Message:  o.String() + " reached its own memory limit" + limitOf(n, pod) + " and the kernel killed in it",
		Evidence: oomEvidence(n, pod), Touches: o.Refs(),
	}
}

// allocatableOOM is about the limit of all pods, or of all of a QoS class.
func allocatableOOM(ctx context.Context, n *Node, kubepods string) problem.Verdict {
	o := n.Owners.OfCgroup(kubepods)
	return problem.Verdict{
		Subject: o.String(), State: problem.Wrong, Severity: problem.Warning, Scope: o.Scope(),
		Message:  "the pods together reached the memory limit" + limitOf(n, kubepods) + " of " + o.String() + " and the kernel killed in one",
		Evidence: oomEvidence(n, kubepods), Touches: o.Refs(),
		Holders: memoryHolders(ctx, n, kubepods),
	}
}

// nodeOOM is about the node's memory itself.
func nodeOOM(ctx context.Context, n *Node, victims map[string]uint64) problem.Verdict {
	v := problem.Verdict{
		State: problem.Wrong, Severity: problem.Critical,
		Message:  "the node ran out of memory and the kernel killed processes, although no cgroup had reached a limit",
		Evidence: []string{vmstatFile + ": oom_kill has risen, and in memory.events no oom of the cgroups of the killed"},
		Holders:  memoryHolders(ctx, n, "/"),
		Touches:  []problem.Ref{problem.RefNode},
	}
	for _, path := range slices.Sorted(maps.Keys(victims)) {
		o := n.Owners.OfCgroup(path)
		v.Evidence = append(v.Evidence, fmt.Sprintf("killed in %s: %d", o, victims[path]))
		v.Touches = append(v.Touches, o.Refs()...)
		// kubelet.service runs kubelet: what it takes down with it is known by that name.
		if name, ok := strings.CutSuffix(o.Unit, ".service"); ok {
			v.Touches = append(v.Touches, problem.NewRef(problem.RefProcess, name))
		}
	}
	return v
}

func limitOf(n *Node, path string) string {
	m, err := n.Cgroups.Memory(path)
	if err != nil || !m.Limited() { // gone already, or a limit further down
		return ""
	}
	return " of " + problem.Amount(float64(m.Max), problem.Bytes)
}

func oomEvidence(n *Node, path string) []string {
	name, key := "memory.failcnt", "has risen, and oom_kill below it"
	if n.Cgroups.Mode() == cgroup.V2 {
		name, key = "memory.events", "oom has risen"
	}
	return []string{n.Cgroups.File(cgroup.ControllerMemory, path, name) + ": " + key}
}

// memoryHolders are the pods below a cgroup that use the most memory. What is
// asked right after a kill, of cgroups that come and go, is best effort.
func memoryHolders(ctx context.Context, n *Node, below string) []problem.Holder {
	var holders []problem.Holder
	_ = n.Cgroups.Walk(ctx, cgroup.ControllerMemory, func(at string) error {
		if !isPod(at) || !within(at, below) {
			return nil
		}
		if used, err := n.Cgroups.WorkingSet(at); err == nil && used > 0 {
			holders = append(holders, problem.Holder{Owner: n.Owners.OfCgroup(at).String(), Amount: float64(used), Unit: problem.Bytes})
		}
		return nil
	})
	return topHolders(holders)
}

// sampleOOM reads the counters. Kills are read last, and again if meanwhile there
// were some, so that those of the cgroups belong to it.
func sampleOOM(ctx context.Context, n *Node) (s oomSample, err error) {
	for range 3 {
		var before uint64
		if before, err = oomKills(n); err != nil {
			return s, err
		}
		if s, err = sampleCgroups(ctx, n); err != nil {
			return s, err
		}
		if s.kills, err = oomKills(n); err != nil {
			return s, err
		}
		if s.kills == before {
			return s, nil
		}
	}
	return s, errors.New("the OOM killer is killing faster than its counters can be read")
}

func oomKills(n *Node) (uint64, error) {
	raw, err := n.Host.ReadFile(vmstatFile)
	if err != nil {
		return 0, err
	}
	kills, ok := lineValue(raw, "oom_kill")
	if !ok {
		return 0, problem.NotApplicablef("%s has no oom_kill, which came with Linux 4.13", vmstatFile)
	}
	return kills, nil
}

func sampleCgroups(ctx context.Context, n *Node) (oomSample, error) {
	s := oomSample{v2: n.Cgroups.Mode() == cgroup.V2, groups: map[string]oomGroup{}}
	err := n.Cgroups.Walk(ctx, cgroup.ControllerMemory, func(at string) error {
		if s.v2 && !countsForAll(at) {
			return nil
		}
		e, err := n.Cgroups.MemoryEvents(at)
		if errors.Is(err, cgroup.ErrAbsent) {
			return nil // gone, or without the controller
		}
		if err != nil {
			return err
		}
		g := oomGroup{oom: e.OOM, kills: e.OOMKill, failed: e.Max}
		if !s.v2 {
			// Where memory and swap together have the same limit, this one counts.
			// Without swap accounting it is not there.
			swap, err := readUint(n.Host, n.Cgroups.File(cgroup.ControllerMemory, at, "memory.memsw.failcnt"))
			if err != nil && !gone(err) {
				return err
			}
			g.failed += swap
		}
		if s.v2 && (cgroup.IsKubepods(at) || cgroup.IsQoS(at)) {
			// It came with Linux 5.2.
			local, err := n.Cgroups.MemoryEventsLocal(at)
			if err != nil && !errors.Is(err, cgroup.ErrAbsent) {
				return err
			}
			g.local, g.hasLocal = local.OOM, err == nil
		}
		s.groups[at] = g
		return nil
	})
	return s, err
}

// reachedLimit reports whether a v1 cgroup has ever been at its limit.
func reachedLimit(n *Node, at string) bool {
	// The kernel charges in batches (MEMCG_CHARGE_BATCH): the last few may not have fitted.
	const close = 0.95
	for _, kind := range []string{"memory", "memory.memsw"} {
		limit, err1 := readUint(n.Host, n.Cgroups.File(cgroup.ControllerMemory, at, kind+".limit_in_bytes"))
		most, err2 := readUint(n.Host, n.Cgroups.File(cgroup.ControllerMemory, at, kind+".max_usage_in_bytes"))
		// One that is gone, or has no swap accounting, blames nobody.
		if err1 == nil && err2 == nil && float64(most) >= close*float64(limit) {
			return true
		}
	}
	return false
}

// countsForAll reports whether a v2 cgroup is read: its counters hold those of
// all below, so that pods, units and what is above them are enough.
func countsForAll(at string) bool {
	if isPod(at) || cgroup.IsKubepods(at) || cgroup.IsQoS(at) {
		return true
	}
	_, inPod := cgroup.PodOf(at)
	return at != "/" && !inPod && strings.Count(at, "/") <= 2
}
