package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const chart = "../../deploy/chart/nodevitals"

// TestCluster is the life of nodevitals on a cluster, in order: each step begins
// where the one before has ended.
func TestCluster(t *testing.T) {
	w := begin(t)
	for _, step := range []struct {
		name string
		run  func(*world)
	}{
		{"install", install},
		{"everybody writes at once", everybodyWrites},
		{"pod at its limit of tasks", podOutOfTasks},
		{"service at its limit of tasks", serviceOutOfTasks},
		{"lines in kubelet's log", linesInTheLog},
		{"rollout and drain", rolloutAndDrain},
		{"uninstall", uninstall},
	} {
		ok := t.Run(step.name, func(t *testing.T) {
			w := *w
			w.t = t
			step.run(&w)
			w.say(step.name + ": done")
		})
		if !ok {
			t.FailNow() // what follows needs it
		}
	}
}

// install: helm installs the chart, and both nodes tell of themselves. What kubelet
// has said before, when the cluster came up, is left out.
func install(w *world) {
	w.helm("install", "nodevitals", chart, "--set=image.tag=e2e", "--set=address=0.0.0.0", "--set=config.logs.lookBack=1s", "--wait", "--timeout=2m")
	for _, n := range nodes() {
		w.await(n+" tells that nothing is wrong", func() error { return w.fine(n) })
	}
}

// fine checks that all of our conditions are there, and that none is True but those
// about the kernel, which is the machine's.
func (w *world) fine(node string) error {
	all, err := w.conditions(node)
	if err != nil {
		return err
	}
	for _, typ := range problem.Builtin().Conditions() {
		c := all[typ]
		if c.Status != "" && slices.Contains(machines(), typ) {
			continue
		}
		if c.Status != "False" {
			return fmt.Errorf("%s of %s: %+v", typ, node, c)
		}
	}
	return nil
}

// machines are the conditions that somebody else on this machine may cause.
func machines() []string {
	return []string{problem.MemoryTrouble, problem.KernelFault, problem.StorageFault, problem.ClockFault}
}

// sick waits until a condition of node-a is True and says something, and a problem's
// Event is there; and checks that node-b is fine.
func (w *world) sick(typ string, reason problem.Kind, says string) {
	w.t.Helper()
	w.await("node-a tells", func() error {
		if err := w.has("node-a", typ, "True"); err != nil {
			return err
		}
		c, err := w.conditions("node-a")
		if err == nil && !strings.Contains(c[typ].Message, says) {
			err = fmt.Errorf("%+v does not say %q", c[typ], says)
		}
		return err
	})
	c, err := w.conditions("node-a")
	w.must(err)
	w.say(fmt.Sprintf("node-a: %s, %s: %s", typ, c[typ].Reason, c[typ].Message))
	w.await("the Event", func() error {
		if e := w.events("node-a"); !strings.Contains(e, string(reason)) {
			return fmt.Errorf("node-a's events: %s", e)
		}
		return nil
	})
	if described := w.kubectl("describe", "node", "node-a"); !strings.Contains(described, says) {
		w.t.Errorf("kubectl describe node says\n%s", described)
	}
	w.must(w.fine("node-b"))
	if e := w.events("node-b"); strings.Contains(e, string(reason)) {
		w.t.Errorf("node-b's events: %s", e)
	}
}

// well waits until all is fine again.
func (w *world) well() {
	w.t.Helper()
	w.await("node-a is fine again", func() error { return w.fine("node-a") })
	w.must(w.fine("node-b"))
}

// events are the reasons of the agent's Events about a node.
func (w *world) events(node string) string {
	var list struct {
		Items []struct {
			Reason, ReportingController string
			Regarding, Related          struct{ Kind, Name string }
		}
	}
	if err := w.Get("/apis/events.k8s.io/v1/events?limit=500", &list); err != nil {
		return err.Error()
	}
	var out []string
	for _, e := range list.Items {
		if e.ReportingController == "nodevitals.io/agent" && (e.Regarding.Name == node || e.Related.Name == node) {
			out = append(out, e.Reason)
		}
	}
	return strings.Join(out, " ")
}

// pod runs a pod of the test program on node-a.
func (w *world) pod(name string, args ...string) {
	w.t.Helper()
	_, err := w.Kubectl(fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"namespace":"default"},"spec":{"nodeName":"node-a","terminationGracePeriodSeconds":2,
"containers":[{"name":"it","image":"%s:pod","args":["%s"]}]}}`, name, image, strings.Join(args, `","`)), "create", "-f", "-")
	w.must(err)
}

// podOutOfTasks: a pod starts processes until its limit says no. That is told of the
// pod, and is no condition of the node.
func podOutOfTasks(w *world) {
	w.await("the service account", func() error { return w.Get("/api/v1/namespaces/default/serviceaccounts/default", &struct{}{}) })
	w.pod("greedy", "fork")
	w.await("an Event about the pod", func() error {
		if e := w.events("greedy"); !strings.Contains(e, string(problem.ForkRefused)) {
			return fmt.Errorf("greedy's events: %q, node-a's: %q", e, w.events("node-a"))
		}
		return nil
	})
	if out := w.kubectl("describe", "pod", "greedy"); !strings.Contains(out, string(problem.ForkRefused)) || !strings.Contains(out, "of 100 threads") {
		w.t.Errorf("kubectl describe pod says\n%s", out)
	}
	for _, n := range nodes() {
		w.must(w.fine(n))
	}
}

// serviceOutOfTasks: a program of node-a's own starts processes until its cgroup's
// limit says no. (kubelet would soon set a limit of its cgroups right again.)
func serviceOutOfTasks(w *world) {
	w.kubectl("delete", "pod", "greedy", "--wait", "--timeout=60s")
	const cgroup = "cd /sys/fs/cgroup/pids 2>/dev/null || cd /sys/fs/cgroup; mkdir -p service; cd service; "
	w.run(w.enter(w.t.Context(), "node-a", "sh", "-c", cgroup+"echo 20 > pids.max; echo $$ > cgroup.procs; exec "+os.Getenv(insideEnv)+"/pod fork"))
	end := func() error {
		_, err := w.in("node-a", "sh", "-c", cgroup+"kill -9 $(cat cgroup.procs); while [ -s cgroup.procs ]; do :; done; cd ..; rmdir service")
		return err
	}
	w.t.Cleanup(func() { _ = end() })
	w.sick("PIDExhaustion", problem.ForkRefused, "of 20 threads")
	w.must(end())
	w.well()
}

// linesInTheLog: kubelet says again and again that it cannot list the containers.
func linesInTheLog(w *world) {
	stamp := time.Now().UTC().Format("0102 15:04:05.000000")
	line := "E" + stamp + `      11 kubelet.go:2347] "Skipping pod synchronization" err="PLEG is not healthy: pleg was last seen active 3m12s ago; threshold is 3m0s"`
	_, err := w.in("node-a", "sh", "-c", `for i in 1 2 3 4 5; do printf '%s\n' "$0" >> `+kubeletLog+`; done`, line)
	w.must(err)
	w.sick("KubeletUnhealthy", problem.PLEGUnhealthy, "3m12s")
}

// rolloutAndDrain: a change of the configuration reaches both nodes, and a drained
// node keeps its agent.
func rolloutAndDrain(w *world) {
	w.helm("upgrade", "nodevitals", chart, "--reuse-values", "--set=config.probes.threads.period=11s", "--wait", "--timeout=2m")
	w.kubectl("rollout", "status", "-n=kube-system", "daemonset/nodevitals", "--timeout=60s")
	for _, n := range nodes() {
		w.must(w.has(n, "MountHung", "False"))
	}
	w.kubectl("drain", "node-b", "--ignore-daemonsets", "--timeout=60s")
	w.must(w.fine("node-b"))
	w.kubectl("uncordon", "node-b")
}

// uninstall leaves no condition, pod, process and mount behind.
func uninstall(w *world) {
	w.helm("uninstall", "nodevitals", "--wait", "--timeout=2m")
	for _, n := range nodes() {
		all, err := w.conditions(n)
		w.must(err)
		for _, typ := range problem.Builtin().Conditions() {
			if c, left := all[typ]; left {
				w.t.Errorf("%s: %+v is left", n, c)
			}
		}
		w.await("no process and mount is left on "+n, func() error {
			left, err := w.in(n, "sh", "-c", "grep -l '^/agent\\|^agent$' /proc/[0-9]*/comm; grep nodevitals /proc/mounts | grep -v ' /var/lib/nodevitals '; true")
			if err == nil && left != "" {
				err = errors.New(left)
			}
			return err
		})
	}
	if left := w.kubectl("get", "all,configmaps,serviceaccounts", "-n=kube-system", "-l=app.kubernetes.io/instance=nodevitals", "-o=name"); left != "" {
		w.t.Errorf("left: %s", left)
	}
	if left := w.kubectl("get", "clusterroles,clusterrolebindings,validatingadmissionpolicies", "-l=app.kubernetes.io/instance=nodevitals", "-o=name"); left != "" {
		w.t.Errorf("left: %s", left)
	}
}
