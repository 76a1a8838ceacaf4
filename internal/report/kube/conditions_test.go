package kube

import (
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestConditions(t *testing.T) {
	s := &problem.Snapshot{
		Conditions: []problem.Condition{
			{Type: "PIDExhaustion", Status: problem.ConditionTrue, Reason: "ForkRefused", Message: "a\x1b[31mb\n" + strings.Repeat("é", 2000)},
			{Type: "ConntrackExhaustion", Status: problem.ConditionUnknown, NotApplicable: true},
			{Type: "KernelDeadlock", Status: problem.ConditionFalse, Reason: "Healthy", Message: "of an imported rule"},
		},
		Problems: []problem.Problem{
			{Kind: problem.ReadonlyFilesystem, Scope: problem.NodeScope, Severity: problem.Warning, Message: "/ turned read-only"},
			{Kind: problem.FrequentRuntimeRestart, Scope: problem.NodeScope, Severity: problem.Warning, Message: "again and again", Evidence: []string{"journal systemd: Started containerd container runtime. (5 times)"}},
		},
		Kinds: []problem.KindStatus{
			{Kind: problem.ReadonlyFilesystem, State: problem.Wrong},
			{Kind: problem.FrequentRuntimeRestart, State: problem.Fine},
			{Kind: problem.TaskHung, State: problem.Fine},
			{Kind: problem.NetdeviceStuck, State: problem.Unknown, Starting: true},
			{Kind: problem.FrequentKubeletRestart, State: problem.NotApplicable, Reason: "no kubelet"},
		},
	}
	plain := Conditions(s, ConditionOptions{})
	if len(plain) != 2 || plain[0].Type != "PIDExhaustion" {
		t.Fatalf("%+v", plain)
	}
	m := plain[0].Message
	if len(m) > maxText || len(m) < maxText-8 || strings.ContainsAny(m, "\x1b\n") || !strings.HasSuffix(m, "é…") || !strings.HasPrefix(m, `a\u001b[31mb\u000aé`) {
		t.Errorf("message of %d bytes: %q", len(m), m)
	}
	got := map[string]problem.ConditionStatus{}
	for _, c := range Conditions(s, ConditionOptions{Prefix: "example.com/", NPDTypes: true}) {
		got[c.Type] = c.Status
	}
	want := map[string]problem.ConditionStatus{
		"example.com/PIDExhaustion": "True", "example.com/KernelDeadlock": "False",
		"ReadonlyFilesystem": "True", "FrequentContainerdRestart": "True", "FrequentDockerRestart": "False",
		"FrequentUnregisterNetDevice": "Unknown", "KernelDeadlock": "False",
	}
	if len(got) != len(want) {
		t.Errorf("%v, want %v", got, want)
	}
	for typ, status := range want {
		if got[typ] != status {
			t.Errorf("%s is %q, want %q", typ, got[typ], status)
		}
	}
	for _, c := range Conditions(s, ConditionOptions{NPDTypes: true}) {
		if c.Type == "KernelDeadlock" && c.Message != "of an imported rule" {
			t.Errorf("a second %s: %s", c.Type, c.Message)
		}
	}
}

func TestOurs(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := func(typ, reason string, age time.Duration) nodeCondition {
		return nodeCondition{
			Type: typ, Status: "False", Reason: reason,
			LastHeartbeatTime: dateTime{now.Add(-age)}, LastTransitionTime: dateTime{now.Add(-time.Hour)},
		}
	}
	const kubelets = "KubeletReady"
	for name, x := range map[string]struct {
		conditions []nodeCondition
		options    ConditionOptions
		found      []string
		others     string
	}{
		"kubelet only": {conditions: []nodeCondition{c("Ready", kubelets, 0), c("MemoryPressure", "KubeletHasSufficientMemory", 0)}},
		"ours":         {conditions: []nodeCondition{c("PIDExhaustion", "Healthy", 0), c("DiskExhaustion", "NoSpaceLeft", 0)}, found: []string{"DiskExhaustion", "PIDExhaustion"}},
		"node-problem-detector's health checker": {
			conditions: []nodeCondition{c("KubeletUnhealthy", "KubeletIsHealthy", time.Minute)},
			others:     "another program, such as node-problem-detector, also writes the Node's KubeletUnhealthy (KubeletIsHealthy)",
		},
		"the same, behind a prefix": {
			conditions: []nodeCondition{c("KubeletUnhealthy", "KubeletIsHealthy", time.Minute)}, options: ConditionOptions{Prefix: "Vitals"},
		},
		"node-problem-detector": {
			conditions: []nodeCondition{c("KernelDeadlock", "KernelHasNoDeadlock", time.Minute), c("ReadonlyFilesystem", "FilesystemIsNotReadOnly", time.Minute)},
			others:     "node-problem-detector runs on this node as well: it writes KernelDeadlock, ReadonlyFilesystem",
		},
		"the same, and we write its types": {
			conditions: []nodeCondition{c("KernelDeadlock", "KernelHasNoDeadlock", time.Minute)}, options: ConditionOptions{NPDTypes: true},
			others: "another program, such as node-problem-detector, also writes the Node's KernelDeadlock",
		},
		"what it has left": {conditions: []nodeCondition{c("KernelDeadlock", "KernelHasNoDeadlock", time.Hour)}},
		"remembered":       {conditions: []nodeCondition{c("OfAnOldRule", "Removed", time.Hour)}, found: []string{"OfAnOldRule"}},
	} {
		o := ours{catalogue: problem.Builtin(), options: x.options, remembered: map[string]bool{"OfAnOldRule": true}}
		if got := sorted(o.found(x.conditions)); strings.Join(got, " ") != strings.Join(x.found, " ") {
			t.Errorf("%s: found %q, want %q", name, got, x.found)
		}
		if got := o.others(x.conditions, now); !strings.HasPrefix(got, x.others) || got != "" && x.others == "" {
			t.Errorf("%s: others %q, want %q", name, got, x.others)
		}
	}
}

// TestOurOwnImportedWords: what an earlier run has written in the words of one of
// node-problem-detector's files is not taken for somebody else's.
func TestOurOwnImportedWords(t *testing.T) {
	now := time.Now()
	all := []nodeCondition{{
		Type: "VitalsKernelDeadlock", Status: "False", Reason: "KernelHasNoDeadlock", LastHeartbeatTime: dateTime{now.Add(-time.Minute)},
	}}
	o := ours{
		catalogue: problem.Builtin().WithHealthy(problem.HealthyText{Type: "KernelDeadlock", Reason: "KernelHasNoDeadlock"}),
		options:   ConditionOptions{Prefix: "Vitals"}, remembered: map[string]bool{},
	}
	if o.others(all, now) == "" {
		t.Error("never written by us, and not told")
	}
	o.remembered["VitalsKernelDeadlock"] = true
	if got := o.others(all, now); got != "" {
		t.Errorf("our own is told as another's: %s", got)
	}
}
