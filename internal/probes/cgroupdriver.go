package probes

// This file: do kubelet and the container runtime make cgroups in the same way.

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// The two ways: by systemd, or by writing to the file system.
const (
	driverSystemd  = "systemd"
	driverCgroupfs = "cgroupfs"
)

// drivers are the two sides, and where each was seen.
type drivers struct {
	kubelet, kubeletFrom string
	runtime, runtimeFrom string
	// follows: kubelet may take what the runtime announces, whatever its own
	// configuration says (KubeletCgroupDriverFromCRI, on by default since 1.31).
	follows bool
}

func cgroupDrivers(ctx context.Context, n *Node, s kubelet.Settings, l runtimeLook) []problem.Verdict {
	switch {
	case !s.Found:
		return notApplicable(problem.CgroupDriverMismatch, "no kubelet is set up here")
	case s.Distribution != "kubelet":
		return notApplicable(problem.CgroupDriverMismatch, "%s sets up kubelet and the runtime together", s.Distribution)
	}
	d := drivers{runtime: l.setup.CgroupDriver, runtimeFrom: "the runtime's own word", follows: l.setup.Announced}
	if d.runtime == "" && n.Cgroups != nil {
		d.runtime, d.runtimeFrom = shapeOfContainers(ctx, n.Cgroups)
	}
	if d.runtime == "" {
		if l.err != nil {
			return unanswered(l, problem.CgroupDriverMismatch)
		}
		return []problem.Verdict{{
			Kind: problem.CgroupDriverMismatch, State: problem.Unknown,
			Message: "the runtime does not say which cgroup driver it uses, and no container is there to show it",
		}}
	}
	if n.Cgroups != nil {
		d.kubelet, d.kubeletFrom = shapeOfKubepods(n.Cgroups, s.CgroupRoot)
	}
	if d.kubelet == "" && !d.follows {
		d.kubelet, d.kubeletFrom = orElse(s.CgroupDriver, driverCgroupfs), strings.Join(s.From, ", ")
	}
	return evaluateDrivers(d)
}

func evaluateDrivers(d drivers) []problem.Verdict {
	if d.kubelet == "" || d.kubelet == d.runtime {
		return nil
	}
	return []problem.Verdict{{
		Kind: problem.CgroupDriverMismatch, State: problem.Wrong, Severity: problem.Critical,
		Message:  fmt.Sprintf("kubelet uses the cgroup driver %s, the container runtime %s", d.kubelet, d.runtime),
		Evidence: []string{"kubelet: " + d.kubelet + ", by " + d.kubeletFrom, "runtime: " + d.runtime + ", by " + d.runtimeFrom},
		Touches:  []problem.Ref{problem.RefNode},
	}}
}

// shapeOfKubepods tells kubelet's driver by the cgroup that it makes above all pods;
// empty where there is none, or both, one of which a former setting has left behind.
func shapeOfKubepods(t *cgroup.Tree, root string) (driver, from string) {
	slice, folder := kubepodsPaths(root)
	_, noSlice := t.Populated(slice)
	_, noFolder := t.Populated(folder)
	switch {
	case noSlice == nil && noFolder != nil:
		return driverSystemd, "the cgroup " + slice
	case noFolder == nil && noSlice != nil:
		return driverCgroupfs, "the cgroup " + folder
	}
	return "", ""
}

var errFound = errors.New("found")

// shapeOfContainers tells the runtime's driver by the name of a container's cgroup:
// systemd makes scopes.
func shapeOfContainers(ctx context.Context, t *cgroup.Tree) (driver, from string) {
	_ = t.Walk(ctx, cgroup.ControllerPIDs, func(p string) error {
		if _, ok := cgroup.ContainerOf(p); !ok {
			return nil
		}
		driver, from = driverCgroupfs, "the cgroup "+p
		if strings.HasSuffix(p, ".scope") {
			driver = driverSystemd
		}
		return errFound
	})
	return driver, from
}
