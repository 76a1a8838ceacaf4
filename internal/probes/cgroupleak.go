package probes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"path"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// CgroupLeak watches three ways in which cgroups pile up: those of pods and
// containers that nothing runs in any more, those that were removed but are held
// in memory ("dying"), and the ids of memory cgroups.
type CgroupLeak struct {
	Thresholds CgroupLeakThresholds
	// since is the boot time at which an empty cgroup was first seen so, by the
	// hash of its path: there may be 65,000.
	since map[uint64]time.Duration
	seed  maphash.Seed
	dying trend
}

// CgroupLeakThresholds are the thresholds of CgroupLeak.
type CgroupLeakThresholds struct {
	// Empty is how many cgroups of pods and containers may stand empty for EmptyFor.
	Empty    int           `yaml:"empty"`
	EmptyFor time.Duration `yaml:"emptyFor"`
	// Dying is how many removed cgroups may be held in memory, and DyingGrowth
	// by how many they may grow within an hour.
	Dying       int `yaml:"dying"`
	DyingGrowth int `yaml:"dyingGrowth"`
	// MemoryIDs is how many of the 65,535 ids of memory cgroups may be in use.
	MemoryIDs int `yaml:"memoryIDs"`
}

// NewCgroupLeak is the probe with its default thresholds.
func NewCgroupLeak() *CgroupLeak {
	return &CgroupLeak{
		seed: maphash.MakeSeed(),
		Thresholds: CgroupLeakThresholds{
			// A node has 110 pods with a few cgroups each. The runtime removes the
			// cgroup of an ended container within seconds.
			Empty: 1000, EmptyFor: time.Hour,
			// Each costs some 10 kB and slows reclaim and all that sums over
			// cgroups. Page cache keeps tens to hundreds dying for a while on a
			// healthy node; a CI node comes to thousands, but not to ever more.
			Dying: 10_000, DyingGrowth: 1000,
			// The rest is gone within a day of the leaks that were seen.
			MemoryIDs: 60_000,
		},
	}
}

// Validate says what is wrong with the thresholds; the config calls it.
func (t CgroupLeakThresholds) Validate() error {
	if t.Empty < 1 || t.Dying < 1 || t.DyingGrowth < 1 || t.EmptyFor <= 0 {
		return errors.New("empty, dying, dyingGrowth and emptyFor are above 0")
	}
	if t.MemoryIDs < 1 || t.MemoryIDs > maxMemoryIDs {
		return fmt.Errorf("memoryIDs is from 1 to %d; got %d", maxMemoryIDs, t.MemoryIDs)
	}
	return nil
}

// maxMemoryIDs is MEM_CGROUP_ID_MAX of mm/memcontrol.c: ids have 16 bits.
const maxMemoryIDs = 65_535

// Name implements Probe.
func (*CgroupLeak) Name() string { return "cgroupleak" }

// Kinds implements Probe.
func (*CgroupLeak) Kinds() []problem.Kind { return []problem.Kind{problem.CgroupLeak} }

// Run implements Probe.
func (p *CgroupLeak) Run(ctx context.Context, n *Node) (problem.Result, error) {
	if n.Cgroups == nil {
		return problem.Result{}, n.CgroupsErr
	}
	if !n.Cgroups.Has(cgroup.ControllerMemory) {
		return problem.Result{}, problem.NotApplicablef("the kernel's memory controller is switched off")
	}
	c, walkErr := p.count(ctx, n)
	if walkErr != nil && (c.live == 0 || !c.v2) { // on v1 each that was missed would be called dying
		return problem.Result{}, walkErr
	}
	if err := c.addDying(n); err != nil {
		return problem.Result{}, err
	}
	now := n.Host.Clock.Boot()
	c.longEmpty = p.longEmpty(c.empty, now, walkErr != nil)
	p.dying.add(now, float64(c.dying))
	if grown, over := p.dying.growth(); over >= trendSpan {
		c.grown = grown
	}
	if c.manyDying(p.Thresholds) && c.v2 {
		if err := c.findCulprit(ctx, n); err != nil {
			return problem.Result{}, err
		}
	}
	r := evaluateCgroupLeak(c, p.Thresholds)
	if walkErr != nil {
		r.Partial = walkErr.Error()
	}
	return r, nil
}

// cgroupCount is what was counted at one look.
type cgroupCount struct {
	v2        bool
	live      int // cgroups that have a directory
	empty     map[uint64]struct{}
	examples  []string // of empty ones
	longEmpty int      // empty for so long that it counts
	dying     int      // removed, but held
	grown     float64  // by which dying has risen within an hour; 0 if that is not known yet
	ids       int      // of memory cgroups in use
	evidence  string   // of dying

	// The cgroup below which most of the dying were, if there is one.
	culprit struct {
		subject, evidence string
		dying             int
		touches           []problem.Ref
	}
}

// count walks over all cgroups of the memory controller.
func (p *CgroupLeak) count(ctx context.Context, n *Node) (cgroupCount, error) {
	c := cgroupCount{v2: n.Cgroups.Mode() == cgroup.V2, empty: map[uint64]struct{}{}}
	err := n.Cgroups.Walk(ctx, cgroup.ControllerMemory, func(at string) error {
		c.live++
		_, inPod := cgroup.PodOf(at)
		_, inContainer := cgroup.ContainerOf(at)
		if !inPod && !inContainer {
			return nil
		}
		populated, err := populatedMemory(n, at, c.v2)
		if errors.Is(err, cgroup.ErrAbsent) {
			return nil // it has just been removed
		}
		if err != nil {
			return err
		}
		switch own := isPod(at) || isContainer(at); {
		case populated && !c.v2:
			// v1 knows of a cgroup's own processes only.
			for up := at; len(up) > 1; up = path.Dir(up) {
				delete(c.empty, maphash.String(p.seed, up))
			}
		case !populated && own:
			c.empty[maphash.String(p.seed, at)] = struct{}{}
			if len(c.examples) < 3 && c.v2 {
				c.examples = append(c.examples, n.Cgroups.File(cgroup.ControllerMemory, at, "cgroup.events")+": populated 0")
			}
		}
		return nil
	})
	return c, err
}

// populatedMemory reports whether a process is in the cgroup, on v2 also below it.
func populatedMemory(n *Node, at string, v2 bool) (bool, error) {
	if v2 {
		return n.Cgroups.Populated(at)
	}
	var buf [512]byte // most have no process or a few
	procs, err := n.Host.ReadSmall(n.Cgroups.File(cgroup.ControllerMemory, at, "cgroup.procs"), buf[:])
	if gone(err) {
		err = cgroup.ErrAbsent
	}
	return len(bytes.TrimSpace(procs)) > 0, err
}

// isContainer reports whether a cgroup is a container's own, not one below it.
func isContainer(at string) bool {
	id, ok := cgroup.ContainerOf(at)
	above, below := cgroup.ContainerOf(path.Dir(at))
	return ok && (!below || above != id)
}

// longEmpty counts the cgroups that have been empty for EmptyFor, and remembers
// since when each is. If not all were seen, those missing are taken as unchanged.
func (p *CgroupLeak) longEmpty(empty map[uint64]struct{}, now time.Duration, partial bool) (n int) {
	since := make(map[uint64]time.Duration, len(empty))
	for key, at := range p.since {
		if _, still := empty[key]; still || partial {
			since[key] = at
		}
	}
	for key := range empty {
		if _, known := since[key]; !known {
			since[key] = now
		}
	}
	p.since = since
	for _, at := range since {
		if now-at >= p.Thresholds.EmptyFor {
			n++
		}
	}
	return n
}

// addDying counts the removed cgroups, and the ids.
func (c *cgroupCount) addDying(n *Node) error {
	dyingIDs, live := 0, c.live
	if c.v2 {
		// cgroup.stat (Documentation/admin-guide/cgroup-v2.rst); the counts by
		// controller came with Linux 6.12.
		file := n.Cgroups.File(cgroup.ControllerMemory, "/", "cgroup.stat")
		raw, err := n.Host.ReadFile(file)
		if err != nil {
			return err
		}
		dying, ok := lineValue(raw, "nr_dying_descendants")
		if !ok {
			return fmt.Errorf("%s: no number after nr_dying_descendants in %q", file, bounded(raw))
		}
		c.dying, dyingIDs = int(min(dying, 1<<31)), int(min(dying, 1<<31))
		if m, ok := lineValue(raw, "nr_subsys_memory"); ok {
			live = int(min(m, 1<<31))
		}
		if m, ok := lineValue(raw, "nr_dying_subsys_memory"); ok {
			dyingIDs = int(min(m, 1<<31))
		}
		c.evidence = fmt.Sprintf("%s: nr_dying_descendants %d", file, dying)
	} else {
		// /proc/cgroups counts the dying ones as well (cgroups(7)); v1 has no other count.
		raw, err := n.Host.ReadFile("/proc/cgroups")
		if err != nil {
			return err
		}
		all, err := parseProcCgroups(raw, "memory")
		if err != nil {
			return err
		}
		c.dying = max(all-c.live, 0) // one may be made while we walk
		dyingIDs = c.dying
		c.evidence = fmt.Sprintf("/proc/cgroups: memory has %d cgroups, %d of them with a directory", all, c.live)
	}
	keep, err := dyingKeepIDs(n)
	if err != nil {
		return err
	}
	if c.ids = live; keep {
		c.ids += dyingIDs
	}
	return nil
}

// parseProcCgroups is the number of cgroups of a controller in /proc/cgroups:
//
//	#subsys_name	hierarchy	num_cgroups	enabled
//	memory	4	231	1
func parseProcCgroups(raw []byte, controller string) (int, error) {
	for line := range bytes.Lines(raw) {
		f := strings.Fields(string(line))
		if len(f) != 4 || f[0] != controller {
			continue
		}
		n, ok := lineValue([]byte("n "+f[2]), "n")
		if !ok || n > 1<<31 {
			return 0, fmt.Errorf("/proc/cgroups: %q is no number of cgroups", f[2])
		}
		return int(n), nil
	}
	return 0, fmt.Errorf("/proc/cgroups: no line of %s in %q", controller, bounded(raw))
}

// dyingKeepIDs reports whether a dying memory cgroup keeps its id. Since Linux
// 4.8 it does so only for pages of it that are in swap (commit 73f576c04b94).
func dyingKeepIDs(n *Node) (bool, error) {
	swaps, err := n.Host.ReadFile("/proc/swaps") // a heading, and a line each
	if err != nil && !gone(err) {
		return false, err
	}
	if bytes.Count(bytes.TrimSpace(swaps), []byte("\n")) > 0 {
		return true, nil
	}
	version, err := n.Host.ReadString("/proc/version")
	if err != nil {
		return false, err
	}
	var major, minor int
	if _, err := fmt.Sscanf(version, "Linux version %d.%d", &major, &minor); err != nil {
		return false, fmt.Errorf("/proc/version: no version in %q", bounded([]byte(version)))
	}
	return major < 4 || major == 4 && minor < 8, nil
}

func (c *cgroupCount) manyDying(th CgroupLeakThresholds) bool {
	return c.dying >= th.Dying || c.grown >= float64(th.DyingGrowth)
}

// findCulprit descends to the cgroup below which most of the dying were: as long
// as one child has more than half of its parent's.
func (c *cgroupCount) findCulprit(ctx context.Context, n *Node) error {
	at, dying := "/", uint64(c.dying)
	err := n.Cgroups.Walk(ctx, cgroup.ControllerMemory, func(child string) error {
		if child == "/" || path.Dir(child) != at {
			return nil
		}
		s, err := n.Cgroups.Stat(child)
		if errors.Is(err, cgroup.ErrAbsent) {
			return nil
		}
		if err == nil && 2*s.DyingDescendants > dying {
			// Its children come next, and none of its siblings can have so many.
			at, dying = child, s.DyingDescendants
		}
		return err
	})
	if err != nil || at == "/" {
		return err
	}
	o := n.Owners.OfCgroup(at)
	c.culprit.subject, c.culprit.touches, c.culprit.dying = o.String(), o.Refs(), int(dying)
	c.culprit.evidence = fmt.Sprintf("%s: nr_dying_descendants %d", n.Cgroups.File(cgroup.ControllerMemory, at, "cgroup.stat"), dying)
	return nil
}

func evaluateCgroupLeak(c cgroupCount, th CgroupLeakThresholds) problem.Result {
	ids := problem.Measurement{Resource: "cgroup_memory_ids", Used: float64(c.ids), Max: maxMemoryIDs, Unit: problem.Cgroups}
	r := problem.Result{Measurements: []problem.Measurement{
		{Resource: "cgroups_empty", Used: float64(len(c.empty)), Unit: problem.Cgroups},
		{Resource: "cgroups_dying", Used: float64(c.dying), Unit: problem.Cgroups},
		ids,
	}}
	leak := problem.Verdict{
		Kind: problem.CgroupLeak, State: problem.Wrong, Severity: problem.Warning, Touches: []problem.Ref{problem.RefNode},
	}
	if c.longEmpty >= th.Empty {
		v := leak
		v.Subject = "empty cgroups"
		v.Message = fmt.Sprintf("%s cgroups of pods and containers have stood empty for %s", coarse(uint64(c.longEmpty)), duration(th.EmptyFor))
		v.Evidence = append([]string{fmt.Sprintf("%d cgroups of pods and containers are empty, of %d in all", len(c.empty), c.live)}, c.examples...)
		r.Verdicts = append(r.Verdicts, v)
	}
	if c.manyDying(th) {
		v := leak
		v.Subject = "dying cgroups"
		v.Message = fmt.Sprintf("%s removed cgroups are held in memory", coarse(uint64(c.dying)))
		v.Evidence = []string{c.evidence}
		if c.culprit.subject != "" {
			v.Subject = c.culprit.subject
			v.Message += ", most of them of " + c.culprit.subject
			v.Evidence = append(v.Evidence, c.culprit.evidence)
			v.Touches = append(v.Touches[:1:1], c.culprit.touches...)
			v.Holders = []problem.Holder{{Owner: c.culprit.subject, Amount: float64(c.culprit.dying), Unit: problem.Cgroups}}
		}
		if c.grown >= float64(th.DyingGrowth) {
			v.Message += ", and they become more"
			v.Evidence = append(v.Evidence, fmt.Sprintf("%.0f more than an hour ago", c.grown))
		}
		r.Verdicts = append(r.Verdicts, v)
	}
	if c.ids >= th.MemoryIDs {
		v := leak
		v.Subject, v.Severity = "memory cgroup ids", problem.Critical
		v.Message = fmt.Sprintf("the ids of memory cgroups are used up to %s", problem.Percent(ids.Fraction()))
		v.Evidence = []string{fmt.Sprintf("%d of %d; %s", c.ids, maxMemoryIDs, c.evidence)}
		v.Refused = c.ids >= maxMemoryIDs
		r.Verdicts = append(r.Verdicts, v)
	}
	return r
}

// duration renders a round time: "1h", "15m".
func duration(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if rest, ok := strings.CutSuffix(s, zero); ok {
			s = rest + zero[:1]
		}
	}
	return s
}
