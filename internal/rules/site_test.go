package rules

import (
	"testing"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// TestSites: the places that write about one failed call are told apart, and
// each is the same for all calls.
func TestSites(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{`E1122 10:00:00.000000    1234 log.go:32] "RunPodSandbox from runtime service failed" err="x"`, "kubelet log.go:32"},
		{`E1122 10:00:00.000000    1234 kuberuntime_sandbox.go:72] "Failed to create sandbox for pod" err="x"`, "kubelet kuberuntime_sandbox.go:72"},
		{`time="2026-11-22T10:00:00Z" level=error msg="RunPodSandbox for &PodSandboxMetadata{Name:a,} failed, error"`, "kubelet RunPodSandbox for "},
		{`time="2026-11-22T10:00:00Z" level=error msg="StopPodSandbox for \"9f86\" failed"`, "kubelet StopPodSandbox for "},
		{`RunPodSandbox for a failed err="x" caller="kuberuntime/x.go:7"`, "kubelet kuberuntime/x.go:7"},
		{`E1122`, "kubelet E"},
		{``, "kubelet "},
		{`Errors I1122] `, "kubelet Errors I"},
	} {
		if got := site(&journal.Record{Identifier: "kubelet"}, []byte(tc.line)); got != tc.want {
			t.Errorf("%q, want %q: %s", got, tc.want, tc.line)
		}
	}
}
