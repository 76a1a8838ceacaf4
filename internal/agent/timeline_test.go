package agent

import (
	"bytes"
	"html"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/report"
)

// TestTimeline: of several logs, what came first stands first, whichever file or line
// it was read from; what is older than asked for is not told.
func TestTimeline(t *testing.T) {
	logs := map[string]string{
		"kubelet.log": `2026-11-22T11:20:00.5Z n kubelet[900]: E1122 11:20:00.500000 900 remote_runtime.go:193] "RunPodSandbox from runtime service failed" err="rpc error: code = DeadlineExceeded desc = context deadline exceeded"
2026-11-22T11:25:00Z n kubelet[900]: E1122 11:25:00.000000 900 kubelet.go:2347] "Skipping pod synchronization" err="PLEG is not healthy: pleg was last seen active 3m7.6s ago; threshold is 3m0s"
2026-11-22T11:26:00Z n kubelet[900]: E1122 11:26:00.000000 900 remote_runtime.go:193] "StopPodSandbox from runtime service failed" err="rpc error: code = DeadlineExceeded desc = context deadline exceeded"
`,
		// Read before the others, and later.
		"containerd.log": `2026-11-22T11:19:00Z n containerd[800]: time="2026-11-22T11:19:00Z" level=error msg="failed to start shim" error="fork/exec /usr/bin/containerd-shim-runc-v2: resource temporarily unavailable"
2026-11-22T11:40:00Z n containerd[800]: time="2026-11-22T11:40:00Z" level=error msg="failed to handle event: no space left on device"
`,
		"kern.log": `2026-11-22T09:30:00Z n kernel: [1.0] Out of memory: Killed process 4242 (java) total-vm:1kB
2026-11-22T10:59:00Z n kernel: [2.0] nfs: server 10.9.0.1 not responding, still trying
2026-11-22T11:10:00Z n kernel: [3.0] nfs: server 10.9.0.1 OK
2026-11-22T11:18:00Z n kernel: [4.0] cgroup: fork rejected by pids controller in /system.slice/containerd.service
2026-11-22T11:30:00Z n kernel: [5.0] nfs: server 10.9.0.1 not responding, still trying
`,
	}
	dir := t.TempDir()
	writeTree(t, dir, logs)
	files := []string{filepath.Join(dir, "containerd.log"), filepath.Join(dir, "kern.log"), filepath.Join(dir, "kubelet.log")}
	a := newAgent(t, files)
	clock := &playClock{incidentBoot + 2*time.Hour} // noon
	a.node.Host.Clock = clock
	s := a.Once(t.Context(), 2*time.Hour)
	for i := range s.Findings {
		s.Findings[i].Source = strings.ReplaceAll(s.Findings[i].Source, dir, "/var/log")
	}
	s.Host, s.Conditions, s.Kinds = problem.HostFacts{Node: "node-1"}, nil, nil
	var text bytes.Buffer
	if err := report.Text(&text, s, a.catalogue, report.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	_, told, ok := strings.Cut(text.String(), "In the logs, first things first\n")
	if !ok {
		t.Fatalf("no timeline: %s", text.String())
	}
	told, _, _ = strings.Cut(told, "\n\n")
	compare(t, "testdata/timeline.txt", told+"\n")
	for i, f := range s.Findings {
		if i > 0 && f.First.Before(s.Findings[i-1].First) {
			t.Errorf("%s stands behind what came later", f.Kind)
		}
	}
}

// TestStatusOfAnIncident: /status is the same report, as JSON and for a browser.
func TestStatusOfAnIncident(t *testing.T) {
	dir := filepath.Join(incidentDir, "nfs-server-gone-and-pleg")
	p := newPlayer(t, dir, readIncident(t, filepath.Join(dir, "incident.yaml")))
	s := p.play()
	l := &loop{agent: p.state.agent}
	l.latest.Store(s)
	ask := func(accept string) string {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, "/status", nil)
		r.RemoteAddr = "127.0.0.1:4242"
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		l.status(w, r)
		return w.Body.String()
	}
	var want bytes.Buffer
	if err := report.JSON(&want, s); err != nil {
		t.Fatal(err)
	}
	if got := ask("application/json"); got != want.String() {
		t.Errorf("JSON: %.300s", got)
	}
	page := html.UnescapeString(ask("text/html"))
	var places []int
	for _, part := range []string{"CRITICAL  PLEGUnhealthy", "cause     ", "└─ ", "MountNotAnswering", "NFSServerNotResponding"} {
		i := strings.Index(page, part)
		if i < 0 || len(places) > 0 && i < places[len(places)-1] {
			t.Errorf("%q is not where it should be", part)
		}
		places = append(places, i)
	}
}
