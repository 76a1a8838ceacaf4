package cluster

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestOutage: the API server freezes, or dies, and comes back: the state of that
// moment arrives within half a minute, and none that was over by then.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct{ away, back func(*Process) error }{
		"frozen": {(*Process).Freeze, (*Process).Thaw},
		"dead":   {func(api *Process) error { api.Kill(); return nil }, (*Process).Start},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := ownPlane(t)
			a := newAgent(t, p, "outage-"+name)
			a.start()
			a.await("MountHung", "False")
			a.hang("before")
			first := a.await("MountHung", "True")
			a.awaitEvents("NFSServerNotResponding")
			if err := x.away(p.API); err != nil {
				t.Fatal(err)
			}
			away := time.Now()
			a.heal("before")
			a.hang("meanwhile")
			a.awaitWarning("cannot write the conditions of Node outage-" + name)
			a.heal("meanwhile")
			a.hang("after")
			a.awaitProblem("after")
			if body := a.get("/readyz"); !strings.Contains(body, "ok") {
				t.Errorf("readiness hangs on the API server: %s", body)
			}
			if err := x.back(p.API); err != nil {
				t.Fatal(err)
			}
			if err := p.Ready(startWithin); err != nil {
				t.Fatal(err)
			}
			returned := time.Now()
			var c condition
			err := Await(30*time.Second, func() error {
				c = a.conditions()["MountHung"]
				switch {
				case strings.Contains(c.Message, "meanwhile"):
					return fmt.Errorf("%w: what was over arrived: %s", errGivenUp, c.Message)
				case !strings.Contains(c.Message, "after"):
					return fmt.Errorf("still %s", c.Message)
				}
				return nil
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, a.out.String())
			}
			t.Logf("away for %v, written %v after the return", returned.Sub(away).Round(time.Second), time.Since(returned).Round(100*time.Millisecond))
			if c.Status != "True" || c.LastTransitionTime.Before(first.LastTransitionTime) {
				t.Errorf("%+v, was %+v", c, first)
			}
			a.awaitWarning("")
			for _, e := range a.events("default") {
				if strings.Contains(e.Note, "meanwhile") {
					t.Errorf("told of what was over: %+v", e)
				}
			}
		})
	}
}

// awaitProblem waits until the agent itself sees what is wrong.
func (a *agent) awaitProblem(subject string) {
	a.t.Helper()
	err := Await(patience, func() error {
		if s := a.get("/metrics"); !strings.Contains(s, `subject="`+subject+`"`) {
			return fmt.Errorf("%s", grep(s, "nodevitals_problem{"))
		}
		return nil
	})
	a.must(err)
}

// TestPermissionTakenAway: it is said clearly, and mended when it is given back.
func TestPermissionTakenAway(t *testing.T) {
	t.Parallel()
	p := ownPlane(t)
	a := newAgent(t, p, "forbidden")
	a.start()
	a.await("MountHung", "False")
	_, err := p.Kubectl("", "delete", "clusterrolebinding", "nodevitals")
	a.must(err)
	a.hang("nas1")
	a.awaitWarning(`cannot write the conditions of Node forbidden: nodes "forbidden" is forbidden: User "system:serviceaccount:kube-system:nodevitals" cannot patch resource "nodes/status"`)
	a.awaitWarning("the agent's role must allow: get nodes, patch nodes/status, create and patch events")
	if m := a.get("/metrics"); !strings.Contains(m, `nodevitals_kube_writes_total{result="forbidden"}`) {
		t.Errorf("metrics:\n%s", grep(m, "kube"))
	}
	a.must(prepare(p))
	a.await("MountHung", "True")
	a.awaitWarning("")
	if n := strings.Count(a.out.String(), "cannot write the conditions"); n > 2 { // the failure, and its end
		t.Errorf("logged %d times:\n%s", n, a.out.String())
	}
}

// TestNodeGone: a deleted Node is said and not fought; its successor gets all.
func TestNodeGone(t *testing.T) {
	t.Parallel()
	p := shared.plane
	a := newAgent(t, shared.plane, "gone")
	a.start()
	a.await("MountHung", "False")
	_, err := p.Do(http.MethodDelete, "/api/v1/nodes/gone", "", nil)
	a.must(err)
	a.hang("nas1")
	a.awaitWarning(`the cluster has no Node "gone"; was it deleted, or does it go by another name (--node-name, $NODE_NAME)?`)
	makeNode(t, shared.plane, "gone")
	a.await("MountHung", "True")
	a.await("StorageFault", "False")
	a.awaitWarning("")
}

// TestCredentialsExpire: a client certificate that has expired, and its successor in
// the same place.
func TestCredentialsExpire(t *testing.T) {
	t.Parallel()
	p := shared.plane
	makeNode(t, shared.plane, "expired")
	a := &agent{t: t, plane: shared.plane, node: "expired", dir: t.TempDir()}
	a.log = a.dir + "/kern.log"
	a.must(os.WriteFile(a.log, nil, 0o600))
	kubelet := Kubelet("expired")
	kubelet.For = 5 * time.Second
	var err error
	a.kubeconfig, err = p.Kubeconfig(kubelet)
	a.must(err)
	begun := time.Now()
	a.start()
	a.await("MountHung", "False")
	if err := Await(patience, func() error {
		if time.Since(begun) < kubelet.For {
			return fmt.Errorf("not expired yet")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	a.hang("nas1")
	a.awaitWarning("the credentials are not accepted; is the token or the client certificate still valid?")
	_, err = p.Kubeconfig(Kubelet("expired")) // as kubelet rotates it: other files of the same name
	a.must(err)
	a.await("MountHung", "True")
	a.awaitWarning("")
}
