package kube

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// TestCleanup takes away what is ours, whatever its prefix, and nobody else's.
func TestCleanup(t *testing.T) {
	var patched []string
	node := ""
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			patched = append(patched, short(r))
		}
		_, _ = fmt.Fprint(w, node)
	}))
	t.Cleanup(server.Close)
	c := problem.Builtin().WithHealthy(problem.HealthyText{Type: "AcmeDeadlock", Reason: "AcmeIsWell"})
	a := Access{Kubeconfig: kubeconfigOf(t, server, "token: abc"), Node: "n1"}
	const others = `{"type":"Ready","status":"True","reason":"KubeletReady"},{"type":"KernelDeadlock","status":"False","reason":"KernelHasNoDeadlock"},` +
		`{"type":"example.com/DiskExhaustion","status":"False"},{"type":"Mine","status":"False","reason":"Healthy"}`
	for _, tc := range []struct {
		conditions string
		remembered []string
		want       []string
		patch      string
	}{
		{others, nil, nil, ""},
		{
			others + `,{"type":"DiskExhaustion","status":"False","reason":"Healthy"},{"type":"x.io/MountHung","status":"True","reason":"MountNotAnswering"},` +
				`{"type":"AcmeDeadlock","status":"False","reason":"AcmeIsWell"}`,
			[]string{"Mine"},
			[]string{"AcmeDeadlock", "DiskExhaustion", "Mine", "x.io/MountHung"},
			"-AcmeDeadlock -DiskExhaustion -Mine -x.io/MountHung",
		},
	} {
		node, patched = `{"metadata":{"uid":"u1"},"status":{"conditions":[`+tc.conditions+`]}}`, nil
		got, err := Cleanup(t.Context(), a, c, tc.remembered)
		if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("removed %q, %v; want %q", got, err, tc.want)
		}
		if tc.patch == "" && len(patched) != 0 || tc.patch != "" && (len(patched) != 1 || patched[0] != tc.patch) {
			t.Errorf("patched %q, want %q", patched, tc.patch)
		}
	}
	node = "no JSON"
	if got, err := Cleanup(t.Context(), a, c, nil); err == nil {
		t.Errorf("an answer that is none: %q", got)
	}
}
