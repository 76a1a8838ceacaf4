package probes

import (
	"context"
	"fmt"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/host/owner"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// SandboxLimit looks for pods and containers whose memory limit is too small for the
// runtime even to set them up in it: most often a unit that was mistaken.
type SandboxLimit struct{ Thresholds SandboxLimitThresholds }

// SandboxLimitThresholds are the thresholds of SandboxLimit.
type SandboxLimitThresholds struct {
	// Bytes is the limit below which it is too small.
	Bytes uint64 `yaml:"bytes"`
}

// NewSandboxLimit is the probe with its default thresholds.
func NewSandboxLimit() *SandboxLimit {
	// runc's first process, a Go program, needs 5 to 8 MiB within the container's
	// limit before it becomes the container's own.
	return &SandboxLimit{SandboxLimitThresholds{Bytes: 8 << 20}}
}

// Name implements Probe.
func (*SandboxLimit) Name() string { return "sandboxlimit" }

// Kinds implements Probe.
func (*SandboxLimit) Kinds() []problem.Kind { return []problem.Kind{problem.SandboxLimitTooSmall} }

// Run implements Probe.
func (p *SandboxLimit) Run(ctx context.Context, n *Node) (problem.Result, error) {
	switch {
	case n.Cgroups == nil:
		return problem.Result{}, n.CgroupsErr
	case !n.Cgroups.Has(cgroup.ControllerMemory):
		return problem.Result{}, problem.NotApplicablef("there is no memory controller")
	}
	var r problem.Result
	told := map[string]bool{} // pods
	err := n.Cgroups.Walk(ctx, cgroup.ControllerMemory, func(path string) error {
		uid, ok := cgroup.PodOf(path)
		if !ok || told[uid] {
			return nil
		}
		limit, err := n.Cgroups.MemoryMax(path)
		small := err == nil && limit < p.Thresholds.Bytes // it may be gone
		if !small {
			return nil
		}
		s := sandboxLimit{owner: n.Owners.OfCgroup(path), limit: limit, file: n.Cgroups.File(cgroup.ControllerMemory, path, limitFile(n.Cgroups))}
		// What cannot be read of one that vanishes right now does not matter.
		s.events, _ = n.Cgroups.MemoryEvents(path)
		s.lives, _ = n.Cgroups.Populated(path)
		if v := evaluateSandboxLimit(s); v != nil {
			told[uid] = true
			r.Verdicts = append(r.Verdicts, *v)
		}
		return nil
	})
	if err != nil {
		r.Partial = err.Error()
	}
	return r, nil
}

// sandboxLimit is a pod or container with a very small limit.
type sandboxLimit struct {
	owner  owner.Owner
	limit  uint64
	file   string
	events cgroup.MemoryEvents
	lives  bool // a process is in it
}

// evaluateSandboxLimit is silent about a program that lives within such a limit: a
// small one can, once it was set up.
func evaluateSandboxLimit(s sandboxLimit) *problem.Verdict {
	killed, reached := s.events.OOMKill > 0 || s.events.OOM > 0, s.events.Max > 0
	if s.lives && !killed && !reached {
		return nil
	}
	v := &problem.Verdict{
		Kind: problem.SandboxLimitTooSmall, Subject: s.owner.String(), Scope: s.owner.Scope(),
		State: problem.Wrong, Severity: problem.Info,
		Message:  fmt.Sprintf("the memory limit of %s is only %s, too small even to set it up", s.owner, problem.Amount(float64(s.limit), problem.Bytes)),
		Evidence: []string{fmt.Sprintf("%s: %d", s.file, s.limit)},
		Touches:  s.owner.Refs(), Refused: killed || reached,
	}
	if v.Refused {
		v.Evidence = append(v.Evidence, fmt.Sprintf("the limit was reached %d times, %d processes were killed", s.events.Max, s.events.OOMKill))
	}
	return v
}

func limitFile(t *cgroup.Tree) string {
	if t.Mode() == cgroup.V2 {
		return "memory.max"
	}
	return "memory.limit_in_bytes"
}
