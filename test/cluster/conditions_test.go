package cluster

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestConditionsAndEvents: they appear, change, clear, and survive a restart and a
// kill of the agent.
func TestConditionsAndEvents(t *testing.T) {
	t.Parallel()
	a := newAgent(t, shared.plane, "conditions")
	a.start()
	fine := a.await("MountHung", "False")
	if fine.Reason != "Healthy" || !strings.HasPrefix(fine.Message, "nothing wrong is seen") {
		t.Errorf("%+v", fine)
	}
	if c, there := a.conditions()["InotifyExhaustion"]; there && c.Status == "Unknown" {
		t.Errorf("the log is read, and yet: %+v", c)
	}
	a.hang("nas1")
	bad := a.await("MountHung", "True")
	if bad.Reason != "NFSServerNotResponding" || !strings.Contains(bad.Message, "nas1") || !bad.LastTransitionTime.After(fine.LastTransitionTime.Add(-time.Second)) {
		t.Errorf("%+v", bad)
	}
	a.awaitEvents("NFSServerNotResponding")
	if e := a.events("default")[0]; e.Type != "Warning" || e.Regarding.Kind != "Node" || !strings.Contains(e.Note, "nas1") || e.Action != "Found" {
		t.Errorf("%+v", e)
	}

	// A restart in order, and one after a kill: nothing changes, nothing is told again.
	for name, end := range map[string]func(){"stopped": a.stop, "killed": a.kill} {
		end()
		if c := a.conditions()["MountHung"]; c.Status != "True" {
			t.Errorf("%s: %+v", name, c)
		}
		a.start()
		a.get("/status")
		a.awaitReady()
		if c := a.conditions()["MountHung"]; c.Status != "True" || !c.LastTransitionTime.Equal(bad.LastTransitionTime) {
			t.Errorf("%s: %+v, was %+v", name, c, bad)
		}
		if got := reasons(a.events("default")); got != "NFSServerNotResponding" {
			t.Errorf("%s: events %q", name, got)
		}
	}

	// It ends while the agent is away, and the agent learns of it when it is back.
	a.stop()
	a.heal("nas1")
	a.start()
	over := a.await("MountHung", "False")
	if !over.LastTransitionTime.After(bad.LastTransitionTime) || over.Reason != "Healthy" {
		t.Errorf("%+v", over)
	}
	a.awaitEvents("NFSServerNotResponding NFSServerNotRespondingOver")
	a.hang("nas1")
	a.await("MountHung", "True")
	a.awaitEvents("NFSServerNotResponding×2 NFSServerNotRespondingOver")
	if m := a.get("/metrics"); !strings.Contains(m, `nodevitals_kube_writes_total{result="success"}`) || strings.Contains(m, "nodevitals_kube_last_success_timestamp_seconds 0") {
		t.Errorf("metrics:\n%s", grep(m, "kube"))
	}
}

func grep(text, what string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, what) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// awaitReady waits until the agent has compared the Node with what it sees, which
// its first heartbeat's schedule tells: no write is due.
func (a *agent) awaitReady() {
	a.t.Helper()
	err := Await(patience, func() error {
		if body := a.get("/readyz"); !strings.Contains(body, "ok") {
			return fmt.Errorf("%s", body)
		}
		if s := a.get("/metrics"); !strings.Contains(s, `nodevitals_condition{status="True",type="MountHung"} 1`) {
			return fmt.Errorf("%s", grep(s, "MountHung"))
		}
		return nil
	})
	a.must(err)
}

// TestDescribe: what `kubectl describe node` shows is what docs/describe-node.txt
// says that it shows.
func TestDescribe(t *testing.T) {
	t.Parallel()
	a := newAgent(t, shared.plane, "worker-7")
	a.start()
	a.await("MountHung", "False")
	a.hang("nas1")
	a.say("cgroup: fork rejected by pids controller in /system.slice/cron.service")
	a.await("MountHung", "True")
	a.await("PIDExhaustion", "True")
	a.awaitEvents("ForkRefused NFSServerNotResponding")
	out, err := shared.plane.Kubectl("", "describe", "node", "worker-7")
	a.must(err)
	got := described(out)
	const golden = "../../docs/describe-node.txt"
	if *update {
		a.must(os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	a.must(err)
	counts := regexp.MustCompile(`\d+ of \d+ checks`)
	mask := func(s string) string { return counts.ReplaceAllString(s, "N checks") }
	if mask(got) != mask(string(want)) {
		t.Errorf("%s differs; go test ./test/cluster -run TestDescribe -update writes it:\n%s", golden, got)
	}
}

var (
	update = flag.Bool("update", false, "write the golden file")
	dates  = regexp.MustCompile(`\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}`)
	ages   = regexp.MustCompile(`(?m)^(  (?:Normal|Warning) +\S+ +)\S+ +nodevitals`)
)

// described are the sections about conditions and Events, all at one time.
func described(out string) string {
	_, conditions, _ := strings.Cut(out, "\nConditions:\n")
	conditions, _, _ = strings.Cut(conditions, "\nAddresses:")
	_, events, _ := strings.Cut(out, "\nEvents:\n")
	out = "$ kubectl describe node worker-7\nConditions:\n" + conditions + "\nEvents:\n" + events
	out = dates.ReplaceAllString(out, "Thu, 01 Jan 2026 12:00:00 +0000")
	out = ages.ReplaceAllString(out, "${1}5s    nodevitals")
	lines := strings.Split(out, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	if header := slices.Index(lines, "Events:"); header >= 0 { // those of one second come in any order
		slices.Sort(lines[header+3 : len(lines)-1])
	}
	return strings.Join(lines, "\n")
}

// TestOthersConditions: what kubelet writes at the same time is never lost, and
// ours neither.
func TestOthersConditions(t *testing.T) {
	t.Parallel()
	p := shared.plane
	a := newAgent(t, shared.plane, "busy")
	kubelet, err := p.Client(Kubelet("busy"))
	a.must(err)
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { // a kubelet in a hurry
		for n := 1; ; n++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if _, err := p.DoAs(kubelet, http.MethodPatch, "/api/v1/nodes/busy/status", strategicMerge, kubeletPatch(n)); err != nil {
				ended <- err
				return
			}
			var node struct {
				Status struct{ Conditions []condition }
			}
			if err := p.Get("/api/v1/nodes/busy", &node); err != nil {
				ended <- err
				return
			}
			kubelets := 0
			for _, c := range node.Status.Conditions {
				if c.Message == fmt.Sprintf("beat %d", n) {
					kubelets++
				}
			}
			if kubelets != 4 {
				ended <- fmt.Errorf("beat %d: %d of kubelet's 4 conditions are as it wrote them: %+v", n, kubelets, node.Status.Conditions)
				return
			}
		}
	}()
	a.start()
	a.await("MountHung", "False")
	a.hang("nas1")
	a.await("MountHung", "True")
	a.heal("nas1")
	a.await("MountHung", "False")
	close(stop)
	a.must(<-ended)
}

// TestPodEvent: what hurts one pod is told about the pod, too, and turns no condition.
func TestPodEvent(t *testing.T) {
	t.Parallel()
	a := newAgent(t, shared.plane, "pods")
	a.start()
	a.await("ContainerRuntimeUnhealthy", "False")
	a.sayAs("kubelet[1234]", `E1122 10:00:00.000000    1234 pod_workers.go:1300] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"app\" `+
		`with ImagePullBackOff: \"Back-off pulling image \\\"nginx:bad\\\"\"" pod="default/worker-7c9"`)
	var pod, node int
	a.must(Await(patience, func() error {
		pod, node = 0, 0
		events := a.events("default")
		for _, e := range events {
			switch {
			case e.Reason != "ImagePullFailure" || e.Type != "Warning":
			case e.Regarding.Kind == "Pod" && e.Regarding.Name == "worker-7c9" && e.Related.Name == "pods":
				pod++
			case e.Regarding.Kind == "Node" && e.Related.Kind == "Pod" && e.Related.Name == "worker-7c9":
				node++
			}
		}
		if pod != 1 || node != 1 || len(events) != 2 {
			return fmt.Errorf("%d about the pod, %d about the Node: %+v", pod, node, events)
		}
		return nil
	}))
	for _, c := range a.conditions() {
		if c.Status == "True" && c.Type != "Ready" {
			t.Errorf("%+v", c)
		}
	}
}

// TestRemoval: conditions that are published no more are removed, and cleanup
// removes all of ours and nothing else.
func TestRemoval(t *testing.T) {
	t.Parallel()
	a := newAgent(t, shared.plane, "removal")
	a.more = "conditions: {npdTypes: true, prefix: example.com/}"
	a.start()
	a.await("example.com/MountHung", "False")
	a.await("FrequentKubeletRestart", "False")
	a.stop()
	a.more = ""
	a.start()
	a.await("MountHung", "False")
	for typ := range a.conditions() {
		if strings.HasPrefix(typ, "example.com/") || strings.HasPrefix(typ, "Frequent") {
			t.Errorf("%s was left", typ)
		}
	}
	a.stop()
	if out := a.cleanup(); !strings.Contains(out, "removed: ") || !strings.Contains(out, "MountHung") {
		t.Errorf("cleanup says %q", out)
	}
	left := a.conditions()
	if len(left) != 4 || left["Ready"].Status != "True" {
		t.Errorf("left: %+v", left)
	}
	if out := a.cleanup(); !strings.Contains(out, "nothing of ours") {
		t.Errorf("cleanup says %q", out)
	}
}

// TestProblemDetectorIsNoticed: that a node-problem-detector writes the same types.
func TestProblemDetectorIsNoticed(t *testing.T) {
	t.Parallel()
	a := newAgent(t, shared.plane, "npd")
	now := time.Now().UTC().Format(time.RFC3339)
	_, err := shared.plane.Do(http.MethodPatch, "/api/v1/nodes/npd/status", strategicMerge, fmt.Sprintf(
		`{"status":{"conditions":[{"type":"KubeletUnhealthy","status":"False","reason":"KubeletIsHealthy","message":"kubelet on the node is functioning properly","lastHeartbeatTime":%q,"lastTransitionTime":%q}]}}`, now, now))
	a.must(err)
	a.start()
	a.await("MountHung", "False")
	a.awaitWarning("another program, such as node-problem-detector, also writes the Node's KubeletUnhealthy (KubeletIsHealthy)")
}
