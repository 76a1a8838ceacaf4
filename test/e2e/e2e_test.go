package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

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
		{"renderings of the chart", renderings},
		{"install", install},
		{"Prometheus and Alertmanager", monitor},
		{"pods at their limits", sickPods},
		{"a node with four faults", sickNode},
		{"rollout and drain", rolloutAndDrain},
		{"everybody writes at once", everybodyWrites},
		{"the API server is restarted", restartedAPIServer},
		{"lines in the logs", linesInTheLogs},
		{"containerd stands still", stoppedContainerd},
		{"what logs told is over", quietLogs},
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
	notes := w.helm("install", "nodevitals", chart, "--set=image.tag=e2e", "--set=address=0.0.0.0", "--set=config.logs.lookBack=1s",
		// Faults come and go quicker here than the usual looks. Those at mounts stay as
		// they are: a new agent needs 10 s to see that a mount hangs, and two looks before
		// that would take back what the last one said.
		"--set=config.probes.filesystems.period=5s,config.probes.volumes.period=5s,config.probes.runtime.period=5s", quiet(),
		"--wait", "--timeout=2m")
	for _, n := range nodes() {
		w.await(n+" tells that nothing is wrong", func() error { return w.fine(n) })
	}
	// What the chart's notes tell people to type works.
	for line := range strings.Lines(notes) {
		command, is := strings.CutPrefix(strings.TrimSpace(line), "kubectl ")
		if !is {
			continue
		}
		command, _, _ = strings.Cut(strings.ReplaceAll(command, "NODE ", "node-a "), "#")
		out, err := w.Kubectl("", strings.Fields(command)...)
		if strings.Contains(command, "--once") && strings.Contains(out, "PIDExhaustion") {
			continue // its exit code says what it has found, on this machine
		}
		w.must(err)
	}
}

// quiet is the setting by which all that logs tell is over sooner than after minutes.
func quiet() string {
	var set []string
	for _, d := range problem.Builtin().All() {
		if d.Sources&problem.Log != 0 {
			set = append(set, fmt.Sprintf("config.logs.quiet.%s=45s", d.Kind))
		}
	}
	return "--set=" + strings.Join(set, ",")
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

// sick waits until node-a tells of a fault: by a condition, an Event, a metric and an
// alert; and checks that node-b is fine.
func (w *world) sick(f fault) {
	w.t.Helper()
	w.await("node-a's "+f.condition, func() error { return w.has("node-a", f.condition, "True") })
	w.await("kubectl describe node, of "+string(f.kind), func() error {
		out, err := w.Kubectl("", "describe", "node", "node-a")
		if err == nil && (!strings.Contains(out, string(f.kind)) || !strings.Contains(out, f.says)) {
			err = errors.New(out)
		}
		return err
	})
	c, err := w.conditions("node-a")
	w.must(err)
	w.say(fmt.Sprintf("node-a: %s, %s: %s", f.condition, c[f.condition].Reason, c[f.condition].Message))
	w.await("the Event", func() error {
		if e := w.events("node-a"); !strings.Contains(e, string(f.kind)) {
			return fmt.Errorf("node-a's events: %s", e)
		}
		return nil
	})
	w.await("the metric", func() error { return w.some(`nodevitals_problem{instance="node-a",kind=%q} == 1`, f.kind) })
	w.alerted(f.kind, false)
	if f.effect != "" {
		w.alerted(f.effect, true)
	}
	w.must(w.fine("node-b"))
	if e := w.events("node-b"); strings.Contains(e, string(f.kind)) {
		w.t.Errorf("node-b's events: %s", e)
	}
	w.must(w.none(`nodevitals_problem{instance="node-b",kind=%q}`, f.kind))
	w.say(string(f.kind) + ": condition, Event, metric and alert are there")
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

// rolloutAndDrain: a change of the configuration reaches both nodes, and a drained
// node keeps its agent.
func rolloutAndDrain(w *world) {
	w.helm("upgrade", "nodevitals", chart, "--reuse-values", "--set=config.probes.threads.period=11s",
		`--set-json=config.rules=[{"kind":"MyFault","condition":"MyTrouble","pattern":"my driver is broken"},
{"kind":"`+turning+`","condition":"KubeletUnhealthy","severity":"critical","pattern":"`+turning+` once more","quiet":"20s"}]`,
		"--set-file=npdConfigs.kernel\\.json=../../internal/rules/testdata/npd/kernel.json", "--wait", "--timeout=2m")
	w.kubectl("rollout", "status", "-n=kube-system", "daemonset/nodevitals", "--timeout=60s")
	for _, n := range nodes() {
		w.must(w.has(n, "MountHung", "False"))
		for _, own := range []string{"MyTrouble", "AcmeDeadlock"} {
			w.await(own+" of "+n, func() error { return w.has(n, own, "False") })
		}
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
		for typ, c := range all {
			if !slices.Contains(kubelets(), typ) {
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
