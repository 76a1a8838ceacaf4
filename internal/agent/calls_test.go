package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/tracker"
)

// logged is a record as the journal has it, so long after the boot.
type logged struct {
	at   time.Duration
	unit string
	text string
}

// raisedBy feeds records to the rules and what they claim to a tracker.
func raisedBy(records []logged) []problem.Kind {
	c := config.Default()
	tr := tracker.New(c.Catalogue, false)
	for _, l := range records {
		r := journal.Record{Source: "journal", Unit: l.unit + ".service", Identifier: l.unit, Message: []byte(l.text)}
		for _, claim := range c.Rules.Match(&r) {
			tr.Match(l.at, claim)
		}
		tr.Tick(l.at)
	}
	var kinds []problem.Kind
	for _, p := range tr.Active() {
		if p.Severity > problem.Info {
			kinds = append(kinds, p.Kind)
		}
	}
	return kinds
}

// sandboxFails is what containerd 1.7 and kubelet 1.30 log about one sandbox that
// the network plugin could not set up.
func sandboxFails(at time.Duration, pod string) []logged {
	const fault = `rpc error: code = Unknown desc = failed to setup network for sandbox \"9f86\": plugin type=\"calico\" failed (add): x`
	var all []logged
	for i, l := range []struct{ unit, text string }{
		{"containerd", `time="2026-11-22T10:00:00.1Z" level=error msg="RunPodSandbox for &PodSandboxMetadata{Name:POD,Uid:5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11,Namespace:payments,Attempt:0,} failed, error" error="failed to setup network for sandbox \"9f86\": plugin type=\"calico\" failed (add): x"`},
		{"kubelet", `E1122 10:00:00.100000    1234 log.go:32] "RunPodSandbox from runtime service failed" err="` + fault + `"`},
		{"kubelet", `E1122 10:00:00.100000    1234 kuberuntime_sandbox.go:72] "Failed to create sandbox for pod" err="` + fault + `" pod="payments/POD"`},
		{"kubelet", `E1122 10:00:00.100000    1234 kuberuntime_manager.go:1172] "CreatePodSandbox for pod failed" err="` + fault + `" pod="payments/POD"`},
		{"kubelet", `E1122 10:00:00.100000    1234 pod_workers.go:1300] "Error syncing pod, skipping" err="failed to \"CreatePodSandbox\" for \"POD_payments(5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11)\" with CreatePodSandboxError: \"` + fault + `\"" pod="payments/POD"`},
	} {
		all = append(all, logged{at + time.Duration(i)*time.Millisecond, l.unit, strings.ReplaceAll(l.text, "POD", pod)})
	}
	return all
}

// TestCallsAreCounted: "3 in 5 min" are three calls that failed, not the lines
// that one call makes.
func TestCallsAreCounted(t *testing.T) {
	const at = 1000 * time.Second
	var two, three []logged
	two = append(sandboxFails(at, "a"), sandboxFails(at+time.Minute, "a")...)
	three = append(append(three, two...), sandboxFails(at+2*time.Minute, "a")...)
	together := append(append(sandboxFails(at, "a"), sandboxFails(at+100*time.Millisecond, "b")...), sandboxFails(at+300*time.Millisecond, "c")...)
	for _, tc := range []struct {
		name    string
		records []logged
		want    bool
	}{
		{"one call of five lines", sandboxFails(at, "a"), false},
		{"two calls of five lines", two, false},
		{"three calls", three, true},
		{"three pods' calls in one second", together, true},
	} {
		kinds := raisedBy(tc.records)
		if got := len(kinds) == 1 && kinds[0] == problem.CNIFailure; got != tc.want || !tc.want && len(kinds) > 0 {
			t.Errorf("%s: %v", tc.name, kinds)
		}
	}
}

// TestPLEGThatNeverSucceeds: normal at each start, but not for over 3 min.
func TestPLEGThatNeverSucceeds(t *testing.T) {
	const text = `E1122 10:00:00.000000    1234 kubelet.go:2347] "Skipping pod synchronization" err="[container runtime status check may not have completed yet, PLEG is not healthy: pleg has yet to be successful]"`
	waits := func(from, to int) (all []logged) {
		for s := from; s < to; s += 5 {
			all = append(all, logged{time.Duration(s) * time.Second, "kubelet", text})
		}
		return all
	}
	start := func(s int) logged {
		return logged{time.Duration(s) * time.Second, "kubelet", `I1122 10:00:00.000000    1234 kubelet.go:2337] "Starting kubelet main sync loop"`}
	}
	var loop []logged // a kubelet that is started again every 20 s
	for s := 1000; s < 1400; s += 20 {
		loop = append(append(loop, start(s)), waits(s+1, s+20)...)
	}
	for _, tc := range []struct {
		name    string
		records []logged
		want    bool
	}{
		{"a slow start", append([]logged{start(1000)}, waits(1001, 1170)...), false},
		{"no list of pods for over 3 min", append([]logged{start(1000)}, waits(1001, 1190)...), true},
		{"many starts", loop, false},
	} {
		if kinds := raisedBy(tc.records); (len(kinds) == 1 && kinds[0] == problem.PLEGUnhealthy) != tc.want || !tc.want && len(kinds) > 0 {
			t.Errorf("%s: %v", tc.name, kinds)
		}
	}
}
