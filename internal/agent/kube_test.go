package agent

import (
	"log/slog"
	"testing"
)

// TestHostWithoutCluster is examined whatever it is called; where there is a cluster,
// the name must be one of a Node.
func TestHostWithoutCluster(t *testing.T) {
	t.Setenv("NODE_NAME", "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	a := newAgent(t, nil)
	a.facts.Node = "Build_Server"
	l := &loop{agent: a, log: slog.New(slog.DiscardHandler), state: a.newState(false)}
	if err := l.newKube(); err != nil {
		t.Error(err)
	}
	a.config.Kube.Kubeconfig = "/nonexistent/kubeconfig" // it may come yet
	if err := l.newKube(); err == nil {
		t.Error("no Node can have that name")
	}
	a.config.Kube.NodeName = "build-server"
	if err := l.newKube(); err != nil || l.kube == nil {
		t.Errorf("%v, %v", l.kube, err)
	}
}
