package agent

// This file: which API server the node's conditions go to, if any, and as whose.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/report/kube"
)

// NodeName is the name of our own Node.
func (a *Agent) NodeName() string {
	// As kubelet does (nodeutil.GetHostname).
	return cmp.Or(a.config.Kube.NodeName, os.Getenv("NODE_NAME"), strings.ToLower(a.facts.Node))
}

// access says how to reach the API server, for what concerns a Node.
func (a *Agent) access(node string) (kube.Access, error) {
	k := a.config.Kube
	access := kube.Access{Kubeconfig: k.Kubeconfig, Node: node, Impersonate: k.ImpersonateNode, Agent: "nodevitals/" + a.facts.Agent}
	// First whether there is a cluster at all: without one the host may be called anything.
	if err := access.Check(); err != nil {
		return access, err
	}
	if !config.ValidNodeName(node) {
		return access, fmt.Errorf("%q is no name of a Node (lower case letters, digits, dots, hyphens): set --node-name or $NODE_NAME", node)
	}
	return access, nil
}

// newKube makes the reporter to the API server, where there is one. A host without
// Kubernetes is examined all the same.
func (l *loop) newKube() error {
	a := l.agent
	if !a.config.Kube.Publish {
		l.log.Info("nothing is published to the API server: kubernetes.publish is off")
		return nil
	}
	access, err := a.access(a.NodeName())
	if errors.Is(err, kube.ErrNoCluster) {
		l.log.Info("nothing is published to an API server", "reason", err)
		return nil
	}
	if err != nil {
		return err
	}
	var memory kube.Memory
	if len(l.kubeMemory) > 0 {
		if err := json.Unmarshal(l.kubeMemory, &memory); err != nil {
			l.warn("cannot go on from what was published before: " + err.Error())
		}
	}
	l.kube = kube.New(kube.Options{
		Access:     access,
		Conditions: kube.ConditionOptions{Prefix: a.config.Kube.Prefix, NPDTypes: a.config.Kube.NPDTypes},
		Events:     a.config.Kube.Events, Catalogue: a.catalogue, Log: l.log, Idle: UnmapText,
	}, memory)
	l.log.Info("publishing to the API server", "node", access.Node)
	return nil
}

// rememberKube is what the state file keeps of what was published. Where nothing
// is published now, what was before is kept for `agent cleanup`.
func (l *loop) rememberKube() json.RawMessage {
	if l.kube == nil {
		return l.kubeMemory
	}
	memory, err := l.kube.Remember()
	if err != nil {
		l.warn("cannot save what was published: " + err.Error())
	}
	return memory
}

// Nodes are the names of all Nodes of the cluster.
func (a *Agent) Nodes(ctx context.Context) ([]string, error) {
	access, err := a.access(a.NodeName())
	if err != nil {
		return nil, err
	}
	return kube.Nodes(ctx, access)
}

// Cleanup removes our conditions from a Node, and says which.
func (a *Agent) Cleanup(ctx context.Context, node string) ([]string, error) {
	access, err := a.access(node)
	if err != nil {
		return nil, err
	}
	var memory kube.Memory
	if raw, err := readState(a.config.StateFile); err == nil {
		var s savedState
		// Without a memory, types and reasons tell what is ours.
		if json.Unmarshal(raw, &s) == nil && json.Unmarshal(s.Kube, &memory) == nil && memory.Node != access.Node {
			memory = kube.Memory{}
		}
	}
	return kube.Cleanup(ctx, access, a.catalogue, memory.Types())
}
