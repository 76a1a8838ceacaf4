package rules

import (
	"slices"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func builtin(t testing.TB) *Set {
	t.Helper()
	s, err := Compile(Builtin())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestForkRefusedLines(t *testing.T) {
	set := builtin(t)
	for _, tc := range []struct {
		line string
		want bool
	}{
		{`Nov 22 10:00:00 n1 kernel: cgroup: fork rejected by pids controller in /kubepods.slice/kubepods-pod1.slice/cri-containerd-x.scope`, true},
		{`time="2026-11-22T10:00:00Z" level=error msg="Handler for POST returned error: fork/exec /usr/bin/containerd-shim-runc-v2: resource temporarily unavailable"`, true},
		{`E1122 10:00:00.000000    1234 kuberuntime_manager.go:1] "Failed" err="failed to start shim: fork/exec /usr/bin/runc: resource temporarily unavailable"`, true},
		{`runtime: failed to create new OS thread (have 5 already; errno=11)`, true},
		{`sshd[123]: error: fork of unprivileged child failed`, true},
		{`systemd[1]: kubelet.service: Failed to fork: Resource temporarily unavailable`, true},
		{`bash: fork: retry: Resource temporarily unavailable`, true},
		{`runtime/cgo: pthread_create failed: Resource temporarily unavailable`, true},
		{`java.lang.OutOfMemoryError: unable to create native thread: possibly out of memory or process/resource limits reached`, true},
		// Look-alikes.
		{`read unix @->/run/containerd.sock: resource temporarily unavailable`, false},
		{`recvfrom: Resource temporarily unavailable`, false},
		{`runtime: failed to create new OS thread (have 5 already; errno=12)`, false},
		{`a pod named fork-retry is Running`, false},
		{``, false},
	} {
		got := slices.ContainsFunc(set.Match("syslog", []byte(tc.line)), func(c problem.Claim) bool { return c.Kind == problem.ForkRefused })
		if got != tc.want {
			t.Errorf("%q: claimed %v, want %v", tc.line, got, tc.want)
		}
	}
}

func TestCapturesBecomeReferences(t *testing.T) {
	claims := builtin(t).Match("kern.log", []byte("cgroup: fork rejected by pids controller in /kubepods/besteffort/podabc/def"))
	if len(claims) != 1 || !slices.Contains(claims[0].Touches, problem.Ref("cgroup:/kubepods/besteffort/podabc/def")) {
		t.Fatalf("%+v", claims)
	}
	if claims[0].Source != "kern.log" {
		t.Errorf("source %q", claims[0].Source)
	}
}

func TestLinesAreBoundedAndValid(t *testing.T) {
	long := "fork of unprivileged child failed \xff" + strings.Repeat("x", 100000)
	claims := builtin(t).Match("", []byte(long))
	if len(claims) != 1 || len(claims[0].Line) > maxLine+len("…") || !strings.HasSuffix(claims[0].Line, "…") {
		t.Fatalf("%d claims; line of %d bytes", len(claims), len(claims[0].Line))
	}
}

func TestMistakesNameTheRule(t *testing.T) {
	for _, r := range []Rule{{Kind: "Mine", Pattern: "("}, {Kind: "Mine", Pattern: "a", Exclude: "["}} {
		if _, err := Compile([]Rule{r}); err == nil || !strings.Contains(err.Error(), "rule 1 (Mine)") {
			t.Errorf("error %v", err)
		}
	}
}

func TestBuiltinRulesAreInTheCatalogue(t *testing.T) {
	c := problem.Builtin()
	for _, k := range builtin(t).Kinds() {
		if d, ok := c.Get(k); !ok || d.Sources&problem.Log == 0 || d.Logs.N == 0 {
			t.Errorf("%s: the catalogue has no log evidence for it", k)
		}
	}
}

func BenchmarkMatchOrdinaryLine(b *testing.B) {
	set := builtin(b)
	line := []byte(`I1122 10:00:00.000000    1234 kubelet.go:2400] "SyncLoop (PLEG): event for pod" pod="payments/worker-7c9" event={"ID":"5382cf41","Type":"ContainerStarted"}`)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		set.Match("kubelet", line)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add([]byte("cgroup: fork rejected by pids controller in /a"))
	set := builtin(f)
	f.Fuzz(func(_ *testing.T, line []byte) { set.Match("x", line) })
}
