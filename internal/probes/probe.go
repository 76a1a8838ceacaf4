// Package probes examines the node, one aspect a file: each file holds a
// probe, its thresholds, how it measures and how it judges. Probes only read;
// they know nothing of the Kubernetes API or of Prometheus.
package probes

import (
	"context"
	"fmt"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/host/owner"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Probe examines one aspect of the node. It only reads, and honours ctx where
// the kernel lets it. Its runs never overlap, so it may keep its last sample.
type Probe interface {
	Name() string
	// Kinds are all that this probe decides, so that silence about one means fine.
	Kinds() []problem.Kind
	Run(ctx context.Context, n *Node) (problem.Result, error)
}

// Node is what the probes look at: the host and the views of it that several
// of them need. Its fields are set once, before the first run.
type Node struct {
	Host *host.Host
	// Cgroups is nil where there is no cgroup file system; CgroupsErr says why.
	Cgroups    *cgroup.Tree
	CgroupsErr error
	Owners     *owner.Resolver
	// Mounts asks file systems that may hang; nil: they are not asked.
	Mounts MountAsker
	// Once: this is a single look at the node, which has to come to an end.
	Once bool
}

// NewNode looks at h. It succeeds also where h has no cgroups: then the probes
// that need them say so.
func NewNode(h *host.Host) *Node {
	n := &Node{Host: h}
	n.Cgroups, n.CgroupsErr = cgroup.Detect(h)
	n.Owners = owner.NewResolver(h, n.Cgroups)
	return n
}

// Spec is a probe with its schedule.
type Spec struct {
	Probe
	// Period is the time between two runs; Timeout that after which a run counts as failed.
	Period, Timeout time.Duration
	// Counters: it judges by the change of counters, so that a single look at
	// the node needs two samples.
	Counters bool
	// Thresholds points to the probe's own, for the config to overwrite; nil if it has none.
	Thresholds any
	Enabled    bool
}

// Levels are the shares of a limit, in percent, from which a warning and a
// critical problem begin.
type Levels struct {
	Warning  float64 `yaml:"warning"`
	Critical float64 `yaml:"critical"`
}

// Severity judges a fraction (0 to 1) of a limit; 0 where it is below both levels.
func (l Levels) Severity(fraction float64) problem.Severity {
	switch percent := fraction * 100; {
	case percent >= l.Critical:
		return problem.Critical
	case percent >= l.Warning:
		return problem.Warning
	}
	return 0
}

// Validate says what is wrong with the levels; the config calls it.
func (l Levels) Validate() error {
	switch {
	case l.Warning <= 0 || l.Critical <= 0 || l.Warning > 100 || l.Critical > 100:
		return fmt.Errorf("levels are shares in percent, above 0 and at most 100; got warning %v, critical %v", l.Warning, l.Critical)
	case l.Warning > l.Critical:
		return fmt.Errorf("warning (%v %%) lies above critical (%v %%)", l.Warning, l.Critical)
	}
	return nil
}
