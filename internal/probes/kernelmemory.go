package probes

import (
	"context"
	"fmt"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// KernelMemory watches the memory that the kernel uses itself and cannot give back.
type KernelMemory struct {
	Thresholds KernelMemoryThresholds
	slab       trend
}

// KernelMemoryThresholds are the thresholds of KernelMemory.
type KernelMemoryThresholds struct {
	// Share of RAM, in percent, from which growth is a problem.
	Share float64 `yaml:"share"`
	// Growth is how much of RAM, in percent, it must have grown by within the last hour.
	Growth float64 `yaml:"growth"`
}

// NewKernelMemory is the probe with its default thresholds.
func NewKernelMemory() *KernelMemory {
	return &KernelMemory{Thresholds: KernelMemoryThresholds{
		// A node has 1 to 5 %; kubelet's reservations leave no room for 25.
		Share: 25,
		// At 1 % an hour the rest of RAM is gone in three days. Less is the
		// noise of a large but level slab, as file servers have it.
		Growth: 1,
	}}
}

// Validate says what is wrong with the thresholds; the config calls it.
func (t KernelMemoryThresholds) Validate() error {
	if t.Share <= 0 || t.Share >= 100 || t.Growth <= 0 || t.Growth >= 100 {
		return fmt.Errorf("share and growth are in percent of RAM, above 0 and below 100; got %v and %v", t.Share, t.Growth)
	}
	return nil
}

// Name implements Probe.
func (*KernelMemory) Name() string { return "kernelmemory" }

// Kinds implements Probe.
func (*KernelMemory) Kinds() []problem.Kind { return []problem.Kind{problem.KernelMemoryGrowth} }

// Run implements Probe.
func (p *KernelMemory) Run(_ context.Context, n *Node) (problem.Result, error) {
	raw, err := n.Host.ReadFile(meminfoFile)
	if err != nil {
		return problem.Result{}, err
	}
	slab, err := parseSlab(raw)
	if err != nil {
		return problem.Result{}, err
	}
	p.slab.add(n.Host.Clock.Boot(), slab.unreclaimable)
	grown, over := p.slab.growth()
	return evaluateKernelMemory(slab, grown, over, p.Thresholds), nil
}

const meminfoFile = "/proc/meminfo"

// slabMemory is in bytes.
type slabMemory struct{ unreclaimable, ram float64 }

// parseSlab parses /proc/meminfo (proc_meminfo(5)): kB there are KiB.
func parseSlab(raw []byte) (slabMemory, error) {
	unreclaimable, ok1 := lineValue(raw, "SUnreclaim:")
	ram, ok2 := lineValue(raw, "MemTotal:")
	if !ok1 || !ok2 || ram == 0 {
		return slabMemory{}, fmt.Errorf("%s: no number after SUnreclaim or MemTotal in %q", meminfoFile, bounded(raw))
	}
	return slabMemory{float64(unreclaimable) * 1024, float64(ram) * 1024}, nil
}

// evaluateKernelMemory judges the slab, which has grown by some bytes over some time.
func evaluateKernelMemory(s slabMemory, grown float64, over time.Duration, th KernelMemoryThresholds) problem.Result {
	m := problem.Measurement{Resource: "slab_unreclaimable", Used: s.unreclaimable, Max: s.ram, Unit: problem.Bytes}
	r := problem.Result{Measurements: []problem.Measurement{m}}
	if m.Fraction()*100 <= th.Share || grown/s.ram*100 < th.Growth {
		return r
	}
	r.Verdicts = append(r.Verdicts, problem.Verdict{
		Kind: problem.KernelMemoryGrowth, State: problem.Wrong, Severity: problem.Warning,
		Message: fmt.Sprintf("the kernel's unreclaimable slab takes %s of RAM and keeps growing", problem.Percent(m.Fraction())),
		Evidence: []string{fmt.Sprintf("%s: SUnreclaim %s of MemTotal %s, %s more than %s ago", meminfoFile,
			problem.Amount(s.unreclaimable, problem.Bytes), problem.Amount(s.ram, problem.Bytes),
			problem.Amount(grown, problem.Bytes), over.Round(time.Minute))},
		Touches: []problem.Ref{problem.RefNode},
	})
	return r
}
