package probes

// This file: what kube-proxy says of itself, on the port that its load balancers ask.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	// proxyAddress is where kube-proxy serves its health by default
	// (healthzBindAddress), and where those serve it that replace it.
	proxyAddress = "127.0.0.1:10256"
	// proxyWait is how long it has to answer: it looks at two numbers.
	proxyWait = 3 * time.Second
)

// proxyHealth asks kube-proxy. It remembers whether it ever answered, since it may
// be set up not to.
type proxyHealth struct {
	answered bool
	address  string // for tests; empty: proxyAddress
}

// check judges the health; runs are the containers that run.
func (p *proxyHealth) check(ctx context.Context, n *Node, s kubelet.Settings, runs []agent) []problem.Verdict {
	if !s.Found && len(runs) == 0 {
		return notApplicable(problem.KubeProxyDown, "no kubelet is set up here, and there is no kube-proxy")
	}
	if why := foreignNetwork(n.Host); why != "" {
		if len(runs) > 0 {
			return nil // that its container runs must do
		}
		return []problem.Verdict{{Kind: problem.KubeProxyDown, State: problem.Unknown, Message: why}}
	}
	status, err := p.ask(ctx)
	refused := errors.Is(err, unix.ECONNREFUSED)
	switch {
	case err == nil && status < http.StatusInternalServerError:
		p.answered = true
		return nil
	case err == nil:
		p.answered = true
		return proxyDown("kube-proxy says that it is not healthy: its rules were not updated when they should have been",
			fmt.Sprintf("http://%s/livez: status %d", p.at(), status))
	case refused && !p.answered && len(runs) == 0:
		return notApplicable(problem.KubeProxyDown, "there is no kube-proxy on this node: it is part of another process, or replaced by the network plugin")
	case refused && !p.answered:
		return nil // its container runs, and it may serve its health elsewhere, or not at all
	}
	return proxyDown(fmt.Sprintf("kube-proxy does not answer on its health port %s", p.at()), err.Error())
}

func proxyDown(message, evidence string) []problem.Verdict {
	return []problem.Verdict{{
		Kind: problem.KubeProxyDown, State: problem.Wrong, Severity: problem.Critical,
		Message: message, Evidence: []string{evidence},
		Touches: []problem.Ref{problem.RefNode, problem.NewRef(problem.RefProcess, proxyContainer)},
	}}
}

func (p *proxyHealth) at() string { return orElse(p.address, proxyAddress) }

// ask returns the status of /livez, or of /healthz where that is not known (before
// Kubernetes 1.28). /healthz also fails, on purpose, while the node is being taken
// out of service.
func (p *proxyHealth) ask(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, proxyWait)
	defer cancel()
	client := healthClient()
	for _, path := range []string{"/livez", "/healthz"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.at()+path, nil)
		if err != nil {
			return 0, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			return resp.StatusCode, nil
		}
	}
	return http.StatusNotFound, nil
}
