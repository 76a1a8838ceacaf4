package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/cluster"
)

// world is an API server that has all the nodes.
type world struct {
	plane      *cluster.Plane
	proxy      *proxy
	dir        string
	names      []string
	kubeconfig string
	token      string
	types      []string
}

// workers make the nodes in parallel.
const workers = 16

func newWorld(o options, binary string) (*world, error) {
	dir, err := os.MkdirTemp("", "nodevitals-scale-")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, types: problem.Builtin().Conditions()}
	if w.plane, err = cluster.Start(dir, binary); err != nil {
		w.close()
		return nil, err
	}
	for i := range o.agents {
		w.names = append(w.names, fmt.Sprintf("node-%05d", i))
	}
	if err := w.prepare(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// url is where the agents find the API server.
func (w *world) url() string { return "https://" + w.proxy.listener.Addr().String() }

func (w *world) close() {
	if w.proxy != nil {
		_ = w.proxy.listener.Close()
	}
	if w.plane != nil {
		w.plane.Stop()
	}
	_ = os.RemoveAll(w.dir)
}

// prepare makes an account that may write Nodes, without the policy that would have
// each agent need a token of its own, and the nodes.
func (w *world) prepare() error {
	_, err := w.plane.Kubectl(account, "apply", "-f", "-")
	if err != nil {
		return err
	}
	token, err := w.plane.Kubectl("", "create", "token", "agent", "-n", "default", "--duration=24h")
	if err != nil {
		return err
	}
	w.token = strings.TrimSpace(token)
	if w.proxy, err = newProxy(strings.TrimPrefix(w.plane.URL, "https://")); err != nil {
		return err
	}
	if w.kubeconfig, _, err = w.plane.TokenKubeconfig("agent", w.token); err != nil {
		return err
	}
	raw, err := os.ReadFile(w.kubeconfig)
	if err != nil {
		return err
	}
	through := strings.ReplaceAll(string(raw), w.plane.URL, w.url())
	if err := os.WriteFile(w.kubeconfig, []byte(through), 0o600); err != nil {
		return err
	}
	say("making %d nodes", len(w.names))
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(w.names)) && failed.Load() == nil; i = next.Add(1) - 1 {
				if err := w.makeNode(w.names[i]); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if e := failed.Load(); e != nil {
		return *e
	}
	return nil
}

// makeNode makes a Node of a usual size, as an agent that runs for long has left it.
func (w *world) makeNode(name string) error {
	if _, err := w.plane.Do(http.MethodPost, "/api/v1/nodes", "", map[string]any{
		"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": name},
	}); err != nil {
		return err
	}
	type image struct {
		Names     []string `json:"names"`
		SizeBytes int      `json:"sizeBytes"`
	}
	var images []image
	for i := range 50 { // kubelet's --node-status-max-images
		images = append(images, image{[]string{
			fmt.Sprintf("registry.example.com/team-%d/app@sha256:%064x", i, i), fmt.Sprintf("registry.example.com/team-%d/app:v1.%d", i, i),
		}, 100 << 20})
	}
	now := time.Now()
	conditions := w.conditions(false, now, now.Add(-time.Duration(rand.Int64N(int64(5*time.Minute)))))
	_, err := w.plane.Do(http.MethodPatch, "/api/v1/nodes/"+name+"/status", strategicMerge, map[string]any{
		"status": map[string]any{"conditions": conditions, "images": images},
	})
	return err
}

const strategicMerge = "application/strategic-merge-patch+json"

type condition struct {
	Type               string `json:"type"`
	Status             string `json:"status"`
	Reason             string `json:"reason"`
	Message            string `json:"message"`
	LastHeartbeatTime  string `json:"lastHeartbeatTime"`
	LastTransitionTime string `json:"lastTransitionTime"`
}

// conditions are the API's form of those of snapshot.
func (w *world) conditions(wrong bool, since, beat time.Time) []condition {
	var out []condition
	for _, c := range w.snapshot(wrong).Conditions {
		out = append(out, condition{
			c.Type, string(c.Status), c.Reason, c.Message, beat.UTC().Format(time.RFC3339), since.UTC().Format(time.RFC3339),
		})
	}
	return out
}

// snapshot is a node on which all is well, or forks are refused.
func (w *world) snapshot(wrong bool) *problem.Snapshot {
	s := &problem.Snapshot{Time: time.Now(), Kinds: []problem.KindStatus{{Kind: problem.ForkRefused, State: problem.Fine}}}
	for _, t := range w.types {
		c := problem.Condition{Type: t, Status: problem.ConditionFalse, Reason: "Healthy", Message: "nothing wrong is seen (11 of 11 checks can tell)"}
		if wrong && t == problem.PIDExhaustion {
			p := problem.Problem{
				Kind: problem.ForkRefused, Subject: "pod payments/worker-7c9", Severity: problem.Critical, Scope: problem.NodeScope, Since: time.Now(),
				Message: "fork fails: pids.max reached in pod payments/worker-7c9 (32768 of 32768 threads, 1204 refused)", Next: "cat pids.events",
			}
			s.Problems = append(s.Problems, p)
			c.Status, c.Reason, c.Message = problem.ConditionTrue, string(p.Kind), p.Message
		}
		s.Conditions = append(s.Conditions, c)
	}
	return s
}

// wrongNodes counts the nodes whose PIDExhaustion is True.
func (w *world) wrongNodes() (int, error) {
	raw, err := w.plane.Do(http.MethodGet, "/api/v1/nodes?resourceVersion=0", "", nil)
	if err != nil {
		return 0, err
	}
	var l struct {
		Items []struct {
			Status struct{ Conditions []condition }
		}
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return 0, err
	}
	n := 0
	for _, i := range l.Items {
		for _, c := range i.Status.Conditions {
			if c.Type == problem.PIDExhaustion && c.Status == "True" {
				n++
			}
		}
	}
	return n, nil
}

const account = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: agent, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: agent}
rules:
  - {apiGroups: [""], resources: [nodes], verbs: [get]}
  - {apiGroups: [""], resources: [nodes/status], verbs: [patch]}
  - {apiGroups: ["", events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: agent}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: agent}
subjects: [{kind: ServiceAccount, name: agent, namespace: default}]
`
