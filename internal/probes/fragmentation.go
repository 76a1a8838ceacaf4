package probes

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// Fragmentation watches whether free memory lies in pieces that are large
// enough for the kernel.
type Fragmentation struct {
	Thresholds FragmentationThresholds
	prev       *compaction
}

// FragmentationThresholds are the thresholds of Fragmentation.
type FragmentationThresholds struct {
	// Order is the size of block, 2^Order pages, that must be there.
	Order int `yaml:"order"`
	// Index is the kernel's fragmentation index, times 1000, from which a
	// missing block is blamed on fragmentation and not on lack of memory.
	Index float64 `yaml:"index"`
}

// NewFragmentation is the probe with its default thresholds.
func NewFragmentation() *Fragmentation {
	return &Fragmentation{Thresholds: FragmentationThresholds{
		// The kernel tries hard up to order 3 (PAGE_ALLOC_COSTLY_ORDER); kernel
		// stacks, network buffers and page tables of cgroups need no more than
		// 4. Order 9 is for huge pages, which do without.
		Order: 4,
		// vm.extfrag_threshold's default: above it the kernel compacts rather
		// than reclaims (Documentation/admin-guide/sysctl/vm.rst).
		Index: 500,
	}}
}

// Validate says what is wrong with the thresholds; the config calls it.
func (t FragmentationThresholds) Validate() error {
	// Linux has at most 11 orders by default; 9 is that of huge pages.
	if t.Order < 1 || t.Order > 10 || t.Index < 0 || t.Index >= 1000 {
		return fmt.Errorf("order is from 1 to 10, and index from 0 to below 1000; got %d and %v", t.Order, t.Index)
	}
	return nil
}

// Name implements Probe.
func (*Fragmentation) Name() string { return "fragmentation" }

// Kinds implements Probe.
func (*Fragmentation) Kinds() []problem.Kind { return []problem.Kind{problem.MemoryFragmented} }

const (
	buddyFile    = "/proc/buddyinfo"
	zoneinfoFile = "/proc/zoneinfo"
	vmstatFile   = "/proc/vmstat"
)

// Run implements Probe.
func (p *Fragmentation) Run(_ context.Context, n *Node) (problem.Result, error) {
	raw, err := n.Host.ReadFile(buddyFile)
	if err != nil {
		return problem.Result{}, err
	}
	zones, err := parseBuddyinfo(raw)
	if err != nil {
		return problem.Result{}, err
	}
	if raw, err = n.Host.ReadFile(vmstatFile); err != nil {
		return problem.Result{}, err
	}
	cur, ok := parseCompaction(raw)
	if !ok {
		return problem.Result{}, problem.NotApplicablef("the kernel has no memory compaction (no compact_fail in %s)", vmstatFile)
	}
	failed := compaction{}
	if p.prev != nil {
		failed = cur.since(*p.prev)
	}
	p.prev = &cur
	if failed != (compaction{}) && !available(zones, p.Thresholds.Order) {
		raw, err := n.Host.ReadFile(zoneinfoFile)
		if err != nil {
			return problem.Result{}, err
		}
		if err := parseWatermarks(raw, zones); err != nil {
			return problem.Result{}, err
		}
	}
	return evaluateFragmentation(zones, failed, p.Thresholds), nil
}

// compaction counts allocations that did not find a block at once.
type compaction struct {
	failed  uint64 // compaction ran and did not make one
	stalled uint64 // the task had to reclaim memory itself
}

// parseCompaction reads /proc/vmstat; false where the kernel does not compact.
func parseCompaction(raw []byte) (c compaction, ok bool) {
	if c.failed, ok = lineValue(raw, "compact_fail"); !ok {
		return c, false
	}
	// One counter up to Linux 4.9, then one a zone.
	for _, key := range []string{"allocstall", "allocstall_dma", "allocstall_dma32", "allocstall_normal", "allocstall_movable"} {
		n, _ := lineValue(raw, key)
		c.stalled += n
	}
	return c, true
}

// since is how much the counters have risen; a counter that went back counts as not risen.
func (c compaction) since(prev compaction) compaction {
	return compaction{risen(prev.failed, c.failed), risen(prev.stalled, c.stalled)}
}

// zone is one line of /proc/buddyinfo: its free blocks by order.
type zone struct {
	node, name string
	free       []uint64
	// low is the low watermark in pages, below which the kernel reclaims memory
	// rather than compacts it. It is read only where it matters.
	low uint64
}

// parseBuddyinfo parses /proc/buddyinfo (proc_buddyinfo(5)):
//
//	Node 0, zone   Normal   6374   6114   3618   2203   1262    592    263    114     50     21    489
func parseBuddyinfo(raw []byte) ([]zone, error) {
	var zones []zone
	for line := range bytes.Lines(raw) {
		f := strings.Fields(string(line))
		if len(f) == 0 {
			continue
		}
		if len(f) < 5 || f[0] != "Node" || f[2] != "zone" {
			return nil, fmt.Errorf("%s: no zone in %q", buddyFile, bounded(line))
		}
		z := zone{node: strings.TrimSuffix(f[1], ","), name: f[3]}
		for _, s := range f[4:] {
			n, err := strconv.ParseUint(s, 10, 64)
			// More blocks than fit into 2^52 pages are no memory: it keeps the sums below exact.
			if err != nil || n > 1<<36 || len(z.free) > 16 {
				return nil, fmt.Errorf("%s: %q is no number of blocks in %q", buddyFile, s, bounded(line))
			}
			z.free = append(z.free, n)
		}
		zones = append(zones, z)
	}
	if len(zones) == 0 {
		return nil, fmt.Errorf("%s: no zones", buddyFile)
	}
	return zones, nil
}

// parseWatermarks parses the low watermarks of /proc/zoneinfo (proc_zoneinfo(5)) into zones:
//
//	Node 0, zone   Normal
//	  pages free     2525
//	        boost    0
//	        min      2500
//	        low      3125
func parseWatermarks(raw []byte, zones []zone) error {
	low := map[string]uint64{}
	at := ""
	for line := range bytes.Lines(raw) {
		f := strings.Fields(string(line))
		switch {
		case len(f) == 4 && f[0] == "Node" && f[2] == "zone":
			at = zone{node: strings.TrimSuffix(f[1], ","), name: f[3]}.String()
		case len(f) == 2 && f[0] == "low":
			n, err := strconv.ParseUint(f[1], 10, 64)
			if err != nil {
				return fmt.Errorf("%s: %s: low: %w", zoneinfoFile, at, err)
			}
			low[at] = n
		}
	}
	for i := range zones {
		n, ok := low[zones[i].String()]
		if !ok {
			return fmt.Errorf("%s: no low watermark of %s", zoneinfoFile, zones[i])
		}
		zones[i].low = n
	}
	return nil
}

func (z zone) String() string { return "node " + z.node + " zone " + z.name }

// pages is the free memory, in pages.
func (z zone) pages() (sum uint64) {
	for order, n := range z.free {
		sum += n << order
	}
	return sum
}

// index is why a request for a block of that order would fail: towards 1000
// because of fragmentation, towards 0 because of lack of memory, and -1000 where
// it would not fail. It is __fragmentation_index of mm/vmstat.c.
func (z zone) index(order int) float64 {
	var blocks uint64
	for o, n := range z.free {
		if o >= order && n > 0 {
			return -1000
		}
		blocks += n
	}
	if blocks == 0 {
		return 0
	}
	requests := float64(z.pages()) / math.Exp2(float64(order))
	return 1000 - (1000+1000*requests)/float64(blocks)
}

// counts reports whether the kernel takes blocks from the zone for its own use.
// DMA has 16 MiB on x86, kept for old devices; on arm64 it may be all there is.
// More than 16 MiB free can only be the latter.
func (z zone) counts() bool {
	const x86DMA = 16 << 20 >> 12 // pages of 4 KiB
	switch z.name {
	case "DMA":
		return z.pages() > x86DMA
	case "Device":
		return false
	}
	return true
}

// available reports whether any zone has a block of that order.
func available(zones []zone, order int) bool {
	return slices.ContainsFunc(zones, func(z zone) bool { return z.counts() && z.index(order) <= -1000 })
}

// fragmented reports whether the zone has enough free memory for a block of that
// order, but in pieces. Enough is what the kernel's compaction asks for:
// __compaction_suitable in mm/compaction.c.
func (z zone) fragmented(th FragmentationThresholds) bool {
	return z.pages() > z.low+2<<th.Order && z.index(th.Order) > th.Index
}

func evaluateFragmentation(zones []zone, failed compaction, th FragmentationThresholds) problem.Result {
	var (
		r        problem.Result
		evidence []string
	)
	for _, z := range zones {
		if !z.counts() {
			continue
		}
		index := z.index(th.Order)
		r.Measurements = append(r.Measurements, problem.Measurement{
			Resource: "memory_fragmentation", Subject: z.String(),
			Used: min(max(index, 0)/1000, 1), Max: 1, Unit: problem.Ratio,
		})
		if z.fragmented(th) {
			evidence = append(evidence, fmt.Sprintf("%s: %s: %d pages free, none in a block of order %d or more, fragmentation index %.3f",
				buddyFile, z, z.pages(), th.Order, index/1000))
		}
	}
	if available(zones, th.Order) || len(evidence) == 0 || failed == (compaction{}) {
		return r
	}
	r.Verdicts = append(r.Verdicts, problem.Verdict{
		Kind: problem.MemoryFragmented, State: problem.Wrong, Severity: problem.Warning,
		Message: fmt.Sprintf("free memory is fragmented: no free block of order %d (%d pages) or more in any zone, and allocations stall or fail for it",
			th.Order, 1<<th.Order),
		Evidence: append(evidence, fmt.Sprintf("%s: compact_fail + %d, allocstall + %d since the last look", vmstatFile, failed.failed, failed.stalled)),
		Touches:  []problem.Ref{problem.RefNode},
		Refused:  failed.failed > 0,
	})
	return r
}
