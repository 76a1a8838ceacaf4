package probes

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Tools looks for the programs that kubelet and kube-proxy start. That one is not
// there matters only once somebody asks for it, which the logs tell.
type Tools struct{}

// NewTools is the probe.
func NewTools() *Tools { return &Tools{} }

// Name implements Probe.
func (*Tools) Name() string { return "tools" }

// Kinds implements Probe.
func (*Tools) Kinds() []problem.Kind { return []problem.Kind{problem.ToolMissing} }

// tool is a program and what fails without it.
type tool struct{ name, use string }

func tools() []tool {
	return []tool{
		{"conntrack", "stale UDP entries of Services are not removed, by a kube-proxy that is no pod or older than 1.32"},
		{"socat", "port-forward fails, with runtimes that use it (dockershim, old cri-dockerd and CRI-O)"},
		{"nsenter", "port-forward fails, with runtimes that use it"},
		{"mount.nfs", "NFS volumes do not mount, but for those of a CSI driver that brings its own"},
		{"iscsiadm", "iSCSI volumes do not mount"},
	}
}

// toolFolders are systemd's default PATH for services, and the classical one.
func toolFolders() []string {
	return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/bin"}
}

// Run implements Probe.
func (*Tools) Run(_ context.Context, n *Node) (problem.Result, error) {
	s, err := kubelet.Read(n.Host)
	switch {
	case err == nil && !s.Found:
		return problem.Result{}, problem.NotApplicablef("no kubelet is set up on this node")
	case !liveProc(n.Host):
		return problem.Result{}, problem.NotApplicablef("this is a recording, without programs")
	}
	var missing []tool
	for _, t := range tools() {
		found, err := findTool(n, t.name)
		if err != nil {
			return problem.Result{}, err
		}
		if !found {
			missing = append(missing, t)
		}
	}
	return evaluateTools(missing), nil
}

// evaluateTools tells of all that are missing at once: they are no problem yet.
func evaluateTools(missing []tool) problem.Result {
	if len(missing) == 0 {
		return problem.Result{}
	}
	v := problem.Verdict{
		Kind: problem.ToolMissing, State: problem.Wrong, Severity: problem.Info,
		Touches: []problem.Ref{problem.RefNode},
	}
	var names []string
	for _, t := range missing {
		names = append(names, t.name)
		v.Evidence = append(v.Evidence, "command -v "+t.name+": nothing. Without it "+t.use)
	}
	v.Message = "not installed on the node, should anything ask for it: " + strings.Join(names, ", ")
	return problem.Result{Verdicts: []problem.Verdict{v}}
}

// findTool looks for a program, or a link to one, which may lead out of what we see
// as the host's root.
func findTool(n *Node, name string) (bool, error) {
	for _, dir := range toolFolders() {
		_, err := os.Lstat(n.Host.Path(path.Join(dir, name)))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}
