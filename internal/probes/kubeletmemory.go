package probes

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// KubeletMemory watches the memory of kubelet itself, which old versions leak.
type KubeletMemory struct{ Thresholds KubeletMemoryThresholds }

// KubeletMemoryThresholds are the thresholds of KubeletMemory.
type KubeletMemoryThresholds struct {
	// Bytes is how much anonymous memory is too much.
	Bytes float64 `yaml:"bytes"`
	// Cgroup is the share of the limit of its cgroup, in percent, that is too much.
	Cgroup float64 `yaml:"cgroup"`
}

// Validate says what is wrong with the thresholds; the config calls it.
func (t KubeletMemoryThresholds) Validate() error {
	if t.Bytes <= 0 || t.Cgroup <= 0 || t.Cgroup > 100 {
		return errors.New("bytes must be above 0, and cgroup a share in percent")
	}
	return nil
}

// NewKubeletMemory is the probe with its default thresholds.
func NewKubeletMemory() *KubeletMemory {
	return &KubeletMemory{KubeletMemoryThresholds{
		// With 110 pods it holds 100 to 200 MiB, with 500 less than 1 GiB.
		Bytes: 2 << 30,
		// At 100 % the kernel kills it; what is left is gone in an hour of a usual leak.
		Cgroup: 80,
	}}
}

// Name implements Probe.
func (*KubeletMemory) Name() string { return "kubeletmemory" }

// Kinds implements Probe.
func (*KubeletMemory) Kinds() []problem.Kind { return []problem.Kind{problem.KubeletMemoryHigh} }

// kubeletMemory is what one kubelet holds.
type kubeletMemory struct {
	process.Process
	anonymous float64
	limit     float64 // of its cgroup; 0 without
	cgroup    string
	refs      []problem.Ref
}

// Run implements Probe.
func (p *KubeletMemory) Run(ctx context.Context, n *Node) (problem.Result, error) {
	found, err := kubeletProcesses(ctx, n)
	if err != nil && len(found) == 0 {
		return problem.Result{}, err
	}
	more := func(p process.Process) bool { return slices.Contains(kubeletAndMore(), p.Comm) }
	switch {
	case len(found) == 0:
		return problem.Result{}, problem.NotApplicablef("no kubelet runs here")
	case slices.ContainsFunc(found, more):
		return problem.Result{}, problem.NotApplicablef("%s holds more than kubelet in one process", found[slices.IndexFunc(found, more)].Comm)
	}
	var r problem.Result
	for _, k := range found {
		m, err := readKubeletMemory(n, k)
		if errors.Is(err, process.ErrGone) {
			continue
		}
		if err != nil {
			return problem.Result{}, err
		}
		one := evaluateKubeletMemory(m, p.Thresholds)
		r.Measurements = append(r.Measurements, one.Measurements...)
		r.Verdicts = append(r.Verdicts, one.Verdicts...)
	}
	return r, nil
}

func readKubeletMemory(n *Node, k process.Process) (kubeletMemory, error) {
	m := kubeletMemory{Process: k, refs: []problem.Ref{problem.NewRef(problem.RefProcess, k.Comm)}}
	s, err := process.ReadStatus(n.Host, k.PID)
	if err != nil {
		return m, err
	}
	m.anonymous = float64(s.RSSAnon)
	if n.Cgroups == nil || !n.Cgroups.Has(cgroup.ControllerMemory) {
		return m, nil
	}
	path, err := n.Cgroups.Of(k.PID, cgroup.ControllerMemory)
	if err != nil {
		return m, nil //nolint:nilerr // its own memory is known all the same
	}
	m.refs = append(m.refs, problem.NewRef(problem.RefCgroup, path))
	if c, err := n.Cgroups.Memory(path); err == nil && c.Limited() {
		m.limit, m.cgroup = float64(c.Max), path
	}
	return m, nil
}

func evaluateKubeletMemory(m kubeletMemory, th KubeletMemoryThresholds) problem.Result {
	most, of := th.Bytes, "the usual"
	if m.limit > 0 && m.limit*th.Cgroup/100 < most {
		most, of = m.limit*th.Cgroup/100, fmt.Sprintf("%g %% of the limit of its cgroup %s", th.Cgroup, m.cgroup)
	}
	r := problem.Result{Measurements: []problem.Measurement{{
		Resource: "kubelet_memory", Subject: m.Comm, Used: m.anonymous, Max: most, Unit: problem.Bytes, Touches: m.refs,
	}}}
	if m.anonymous > most {
		r.Verdicts = []problem.Verdict{{
			Kind: problem.KubeletMemoryHigh, State: problem.Wrong, Severity: problem.Warning,
			Message:  fmt.Sprintf("kubelet itself holds more memory than %s: %s", of, problem.Amount(most, problem.Bytes)),
			Evidence: []string{fmt.Sprintf("/proc/%d/status: RssAnon %d kB", m.PID, uint64(m.anonymous)>>10)},
			Holders:  []problem.Holder{{Owner: "node", Process: m.Comm, PID: m.PID, Amount: m.anonymous, Unit: problem.Bytes}},
			Touches:  m.refs,
		}}
	}
	return r
}
