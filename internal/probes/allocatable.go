package probes

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Allocatable watches that the pods' cgroup has the memory limit that kubelet is
// set up to enforce.
type Allocatable struct{}

// NewAllocatable is the probe.
func NewAllocatable() *Allocatable { return &Allocatable{} }

// Name implements Probe.
func (*Allocatable) Name() string { return "allocatable" }

// Kinds implements Probe.
func (*Allocatable) Kinds() []problem.Kind { return []problem.Kind{problem.NodeAllocatableFailure} }

// Run implements Probe.
func (*Allocatable) Run(_ context.Context, n *Node) (problem.Result, error) {
	s, err := kubeletSettings(n)
	switch {
	case err != nil:
		return problem.Result{}, err
	case !s.CgroupsPerQOS:
		return problem.Result{}, problem.NotApplicablef("kubelet is set up to make no cgroups for the pods (cgroupsPerQOS: false)")
	case !slices.Contains(s.EnforceNodeAllocatable, "pods"):
		return problem.Result{}, problem.NotApplicablef("kubelet is not set up to limit the pods (enforceNodeAllocatable)")
	case n.Cgroups == nil:
		return problem.Result{}, n.CgroupsErr
	case !n.Cgroups.Has(cgroup.ControllerMemory):
		return problem.Result{}, problem.NotApplicablef("the kernel has no memory cgroup controller")
	}
	slice, folder := kubepodsPaths(s.CgroupRoot)
	for _, p := range []string{slice, folder} {
		m, err := n.Cgroups.Memory(p)
		if errors.Is(err, cgroup.ErrAbsent) {
			continue
		}
		if err != nil {
			return problem.Result{}, err
		}
		return evaluateAllocatable(p, n.Cgroups.File(cgroup.ControllerMemory, p, ""), m), nil
	}
	return problem.Result{}, problem.NotApplicablef("the pods have no cgroup here: kubelet has not run since the start of the node")
}

// kubepodsPaths are where the pods' cgroup may be below kubelet's cgroupRoot: with
// the systemd driver, which puts the names of all slices above into a slice's own,
// and with cgroupfs (pkg/kubelet/cm/cgroup_manager_linux.go).
func kubepodsPaths(root string) (slice, folder string) {
	slice, name := "/", ""
	for e := range strings.SplitSeq(strings.Trim(root, "/"), "/") {
		if e != "" {
			name += strings.ReplaceAll(e, "-", "_") + "-"
			slice = path.Join(slice, strings.TrimSuffix(name, "-")+".slice")
		}
	}
	return path.Join(slice, name+"kubepods.slice"), path.Join("/", root, "kubepods")
}

func evaluateAllocatable(path, folder string, m cgroup.Memory) problem.Result {
	if m.Limited() {
		return problem.Result{}
	}
	return problem.Result{Verdicts: []problem.Verdict{{
		Kind: problem.NodeAllocatableFailure, State: problem.Wrong, Severity: problem.Warning,
		Message:  fmt.Sprintf("the pods' cgroup %s has no memory limit, although kubelet is set up to enforce one", path),
		Evidence: []string{"no limit in " + folder + " (memory.max, memory.limit_in_bytes)"},
		Touches:  []problem.Ref{problem.NewRef(problem.RefCgroup, path)},
	}}}
}
