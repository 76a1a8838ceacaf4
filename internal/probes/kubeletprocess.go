package probes

// This file finds the node's kubelet: by its settings, and among the processes.

import (
	"context"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// kubeletSettings are what the node's kubelet runs with, for probes that are not
// applicable on a node without one.
func kubeletSettings(n *Node) (kubelet.Settings, error) {
	s, err := kubelet.Read(n.Host)
	if err == nil && !s.Found {
		err = problem.NotApplicablef("no kubelet is set up on this node")
	}
	return s, err
}

// kubeletNames are the command names of kubelet and of programs that contain it.
func kubeletNames() []string {
	return append([]string{"kubelet", "hyperkube"}, kubeletAndMore()...)
}

// kubeletAndMore are programs that are kubelet and the runtime, the API server or
// both in one process.
func kubeletAndMore() []string { return []string{"k3s", "k3s-server", "k3s-agent", "kubelite"} }

// kubeletProcesses are the node's kubelets; one that runs in a pod is that pod's
// own affair. With an error there may be more of them.
func kubeletProcesses(ctx context.Context, n *Node) ([]process.Process, error) {
	all, err := process.Find(ctx, n.Host, kubeletNames()...)
	found := all[:0]
	for _, p := range all {
		if p.State != 'Z' && n.Owners.OfPID(p.PID).Scope() != problem.PodScope {
			found = append(found, p)
		}
	}
	return found, err
}
