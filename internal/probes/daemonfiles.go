package probes

import (
	"context"
	"errors"
	"fmt"

	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// DaemonFiles watches the open files of the daemons on which all pods depend,
// against each one's own limit.
type DaemonFiles struct{ Thresholds DaemonFilesThresholds }

// DaemonFilesThresholds are the thresholds of DaemonFiles.
type DaemonFilesThresholds struct {
	// Files is the share of a daemon's RLIMIT_NOFILE in use.
	Files Levels `yaml:"files"`
}

// NewDaemonFiles is the probe with its default thresholds.
func NewDaemonFiles() *DaemonFiles {
	// A container takes the runtime some ten descriptors, an exec or a log stream
	// a few: of a limit of 1,024, 80 % leaves room for 20 containers, 95 % for 5.
	return &DaemonFiles{DaemonFilesThresholds{Files: Levels{Warning: 80, Critical: 95}}}
}

// nodeDaemons are the command names of kubelet, the container runtimes, and
// the programs that contain both.
func nodeDaemons() []string {
	return []string{
		"kubelet", "containerd", "dockerd", "cri-dockerd", "crio",
		"k3s", "k3s-server", "k3s-agent", "rke2", "kubelite", "k0s",
	}
}

// Name implements Probe.
func (*DaemonFiles) Name() string { return "daemonfiles" }

// Kinds implements Probe.
func (*DaemonFiles) Kinds() []problem.Kind { return []problem.Kind{problem.DaemonFilesNearLimit} }

// Run implements Probe.
func (p *DaemonFiles) Run(ctx context.Context, n *Node) (problem.Result, error) {
	found, err := process.Find(ctx, n.Host, nodeDaemons()...)
	if err != nil && len(found) == 0 {
		return problem.Result{}, err
	}
	var r problem.Result
	if err != nil {
		r.Partial = err.Error()
	}
	fullest := map[string]daemonFiles{} // by name; one process stands for those that share it
	unread := map[string]error{}
	for _, proc := range found {
		d, err := readDaemonFiles(n, proc)
		switch {
		case errors.Is(err, process.ErrGone), d.inPod: // docker in docker is that pod's own affair
		case err != nil:
			unread[proc.Comm] = err
		case d.fraction() >= fullest[proc.Comm].fraction():
			fullest[proc.Comm] = d
		}
	}
	if len(fullest)+len(unread) == 0 && err == nil {
		return r, problem.NotApplicablef("no kubelet or container runtime runs here")
	}
	for _, name := range nodeDaemons() {
		wrong := false
		if d, ok := fullest[name]; ok {
			one := evaluateDaemonFiles(d, p.Thresholds)
			r.Measurements = append(r.Measurements, one.Measurements...)
			r.Verdicts = append(r.Verdicts, one.Verdicts...)
			wrong = len(one.Verdicts) > 0
		}
		if err, ok := unread[name]; ok && !wrong {
			r.Verdicts = append(r.Verdicts, problem.Verdict{
				Kind: problem.DaemonFilesNearLimit, Subject: name, State: problem.Unknown, Message: err.Error(),
			})
		}
	}
	return r, nil
}

// daemonFiles is what one daemon has open.
type daemonFiles struct {
	process.Process
	open  uint64
	limit uint64 // the soft limit; process.Unlimited
	owner string // as a holder is named
	refs  []problem.Ref
	inPod bool
}

func (d daemonFiles) fraction() float64 { return d.measurement().Fraction() }

func (d daemonFiles) measurement() problem.Measurement {
	m := problem.Measurement{
		Resource: "daemon_files", Subject: d.Comm, Used: float64(d.open), Unit: problem.Files, Touches: d.refs,
	}
	if d.limit != process.Unlimited {
		m.Max = float64(d.limit)
	}
	return m
}

func readDaemonFiles(n *Node, proc process.Process) (daemonFiles, error) {
	o := n.Owners.OfPID(proc.PID)
	d := daemonFiles{
		Process: proc, owner: o.String(), inPod: o.Scope() == problem.PodScope,
		refs: []problem.Ref{problem.NewRef(problem.RefProcess, proc.Comm)},
	}
	if o.Unit != "" {
		d.refs = append(d.refs, problem.NewRef(problem.RefUnit, o.Unit))
	}
	limits, err := process.ReadLimits(n.Host, proc.PID)
	if err != nil {
		return d, err
	}
	count, err := process.FDCount(n.Host, proc.PID)
	d.open, d.limit = uint64(count), limits.OpenFiles.Soft
	return d, err
}

func evaluateDaemonFiles(d daemonFiles, th DaemonFilesThresholds) problem.Result {
	m := d.measurement()
	r := problem.Result{Measurements: []problem.Measurement{m}}
	if sev := th.Files.Severity(m.Fraction()); sev != 0 {
		r.Verdicts = []problem.Verdict{{
			Kind: problem.DaemonFilesNearLimit, Subject: d.Comm, State: problem.Wrong, Severity: sev,
			Message: fmt.Sprintf("the open files of %s are at %s", d.Comm, problem.Share(m)),
			Evidence: []string{
				fmt.Sprintf("/proc/%d/fd: %d descriptors", d.PID, d.open),
				fmt.Sprintf("/proc/%d/limits: Max open files %d", d.PID, d.limit),
			},
			Holders: []problem.Holder{{
				Owner: d.owner, Process: d.Comm, PID: d.PID, Amount: m.Used, Unit: problem.Files,
			}},
			Touches: d.refs,
			Refused: d.open >= d.limit,
		}}
	}
	return r
}
