package probes

// This file: do the pods run on which the node's network depends: the network
// plugin's agent and kube-proxy. The runtime's list of containers tells, also while
// kubelet and the API server are away.

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cri"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// proxyContainer is kube-proxy's container, as kubeadm and the clouds name it.
const proxyContainer = "kube-proxy"

// networkAgents are the containers of network plugins without which pods on the
// node get no network, or lose it.
func networkAgents() []string {
	return []string{
		"calico-node", "cilium-agent", "kube-flannel", "aws-node", "weave", "kindnet-cni", "antrea-agent", "antrea-ovs",
		"kube-router", "ovnkube-node", "ovnkube-controller", "cni-server", "azure-cns", "cns-container", "terway", "kube-multus", "kube-ovn-cni",
	}
}

// agent is one of those containers, in one pod.
type agent struct {
	pod    cri.Sandbox
	newest cri.Container
	// restarts is how often it was started anew within the time that counts.
	restarts int
	// wanted: the pod is still meant to run here.
	wanted bool
}

func (a agent) name() string { return a.pod.Namespace + "/" + a.pod.Name }

// starts remembers how often containers have been started anew.
type starts struct{ seen map[string][]start } // by pod uid and container

type start struct {
	at      time.Duration
	attempt uint32
}

// count takes in what was seen now, and returns by how much the attempts rose
// within the window. Those of a younger pod all count.
func (s *starts) count(a cri.Container, pod cri.Sandbox, now, window time.Duration, wall time.Time) int {
	if s.seen == nil {
		s.seen = map[string][]start{}
	}
	key := pod.UID + "/" + a.Name
	log := s.seen[key]
	if len(log) == 0 || log[len(log)-1].attempt != a.Attempt {
		log = append(log, start{now, a.Attempt})
	}
	for len(log) > 1 && now-log[1].at > window {
		log = log[1:] // the one before the window is where it began
	}
	s.seen[key] = log
	if wall.Sub(pod.Created) <= window {
		return int(a.Attempt)
	}
	return int(a.Attempt) - int(log[0].attempt)
}

// keep forgets the pods that are gone.
func (s *starts) keep(pods map[string]bool) {
	for key := range s.seen {
		if !pods[path.Dir(key)] {
			delete(s.seen, key)
		}
	}
}

// findAgents picks the containers of these names: of each pod the newest attempt.
func (s *starts) findAgents(l runtimeLook, names []string, now, window time.Duration, wall time.Time, wanted func(cri.Sandbox) bool) map[string][]agent {
	pods := make(map[string]cri.Sandbox, len(l.sandboxes))
	uids := make(map[string]bool, len(l.sandboxes))
	for _, p := range l.sandboxes {
		pods[p.ID], uids[p.UID] = p, true
	}
	s.keep(uids)
	found := map[string][]agent{}
	for _, c := range l.containers {
		pod, ok := pods[c.Sandbox]
		if !ok || !slices.Contains(names, c.Name) {
			continue
		}
		i := slices.IndexFunc(found[c.Name], func(a agent) bool { return a.pod.UID == pod.UID })
		if i < 0 {
			found[c.Name] = append(found[c.Name], agent{pod: pod, newest: c})
		} else if a := &found[c.Name][i]; c.Created.After(a.newest.Created) {
			a.pod, a.newest = pod, c
		}
	}
	for _, agents := range found {
		for i := range agents {
			a := &agents[i]
			a.restarts, a.wanted = s.count(a.newest, a.pod, now, window, wall), wanted(a.pod)
		}
	}
	return found
}

func (p *Runtime) agents(ctx context.Context, n *Node, s kubelet.Settings, l runtimeLook) []problem.Verdict {
	switch {
	case l.endpoint.Docker && l.err == nil:
		return append(
			notApplicable(problem.CNIAgentDown, "Docker is not asked for its containers"),
			p.proxy.check(ctx, n, s, nil)...)
	case l.err != nil:
		return append(unanswered(l, problem.CNIAgentDown), orUnanswered(l, p.proxy.check(ctx, n, s, nil))...)
	}
	wanted := func(pod cri.Sandbox) bool { return pod.Ready || podFolder(n.Host, s, pod.UID) }
	found := p.starts.findAgents(l, append(networkAgents(), proxyContainer),
		n.Host.Clock.Boot(), p.Thresholds.RestartsWithin, n.Host.Clock.Wall(), wanted)
	vs := evaluateAgents(found, p.Thresholds)
	proxies := found[proxyContainer]
	if v := evaluateAgent(problem.KubeProxyDown, proxyContainer, proxies, p.Thresholds); v != nil {
		return append(vs, *v)
	}
	return append(vs, p.proxy.check(ctx, n, s, proxies)...)
}

// orUnanswered is what the health of kube-proxy says, and where that says nothing,
// that the runtime was not heard.
func orUnanswered(l runtimeLook, vs []problem.Verdict) []problem.Verdict {
	if len(vs) == 1 && vs[0].State == problem.NotApplicable {
		return unanswered(l, problem.KubeProxyDown)
	}
	return vs
}

// podFolder tells whether kubelet still keeps the folder of a pod, which it removes
// once the pod is no longer wanted here.
func podFolder(h *host.Host, s kubelet.Settings, uid string) bool {
	if uid == "" || uid != path.Base(uid) || !s.Found {
		return false
	}
	_, err := os.Lstat(h.Locate(path.Join(kubeletRoot(s, nil), "pods", uid)))
	return err == nil
}

func evaluateAgents(found map[string][]agent, th RuntimeThresholds) []problem.Verdict {
	var vs []problem.Verdict
	any := false
	for _, name := range networkAgents() {
		any = any || len(found[name]) > 0
		if v := evaluateAgent(problem.CNIAgentDown, name, found[name], th); v != nil {
			v.Subject = name
			vs = append(vs, *v)
		}
	}
	if !any {
		return notApplicable(problem.CNIAgentDown, "no container of a network plugin that is known by name is on this node: "+
			"it needs none, or is part of another process")
	}
	return vs
}

// evaluateAgent judges the pods that have one such container. One of them that runs
// and stays is enough: while a pod is replaced there are two.
func evaluateAgent(kind problem.Kind, name string, agents []agent, th RuntimeThresholds) *problem.Verdict {
	agents = slices.DeleteFunc(slices.Clone(agents), func(a agent) bool { return !a.newest.Running && !a.wanted })
	if len(agents) == 0 || slices.ContainsFunc(agents, func(a agent) bool { return a.newest.Running && a.restarts < th.Restarts }) {
		return nil
	}
	a := slices.MaxFunc(agents, func(a, b agent) int { return cmp.Compare(a.newest.Created.UnixNano(), b.newest.Created.UnixNano()) })
	v := problem.Verdict{
		Kind: kind, State: problem.Wrong, Severity: problem.Critical,
		Message:  fmt.Sprintf("%s does not run (pod %s)", name, a.name()),
		Evidence: []string{fmt.Sprintf("CRI ListContainers: container %s of pod %s, attempt %d, running: %t", name, a.name(), a.newest.Attempt, a.newest.Running)},
		Touches:  []problem.Ref{problem.RefNode, problem.NewRef(problem.RefPod, a.name())},
	}
	if a.restarts >= th.Restarts {
		v.Message = fmt.Sprintf("%s ends again and again: %d new attempts within %s (pod %s)", name, a.restarts, round(th.RestartsWithin), a.name())
	}
	return &v
}
