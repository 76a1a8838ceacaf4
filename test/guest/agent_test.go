package guest

// This file runs the agent in the guest.

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/daemon"
)

// startDaemon starts the agent as a service.
func startDaemon(t *testing.T) *daemon.Daemon {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("listen: 127.0.0.1:0\nstateFile: ''\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := daemon.Start(t, exec.Command("/agent", "--config", config))
	d.AwaitReady()
	return d
}

// await waits until the daemon reports what is wanted. An emulated processor makes
// each look dear, and the agent looks the less often the dearer a look is.
func await(t *testing.T, d *daemon.Daemon, what string, wanted func(problem.Snapshot) bool) {
	t.Helper()
	for end := time.Now().Add(inTime / 2); ; {
		s := d.Snapshot()
		if wanted(s) {
			return
		}
		if time.Now().After(end) {
			for _, p := range s.Probes {
				t.Logf("probe %s: %d runs, the last at %v took %v of CPU", p.Probe, p.Runs, p.Last, p.CPU)
			}
			for _, p := range s.Problems {
				t.Logf("%s %s since %v %s", p.Kind, p.Subject, p.Since, p.Stale)
			}
			t.Fatalf("%s: not within %v\nits log is\n%s", what, inTime/2, d.Log())
		}
		<-time.After(time.Second)
	}
}

// once is what a single look tells. The report for a person is logged.
func once(t *testing.T) problem.Snapshot {
	t.Helper()
	for _, format := range []string{"text", "json"} {
		out, err := exec.Command("/agent", "--once", "--timeout=20s", "--output="+format).Output()
		if format == "json" {
			var s problem.Snapshot
			if err := json.Unmarshal(out, &s); err != nil {
				t.Fatalf("agent --once: %v\n%s", err, out)
			}
			return s
		}
		t.Logf("agent --once: %v\n%s", err, out)
	}
	panic("unreachable")
}

// find is the problem of a kind, nil if there is none.
func find(s problem.Snapshot, kind problem.Kind) *problem.Problem {
	i := slices.IndexFunc(s.Problems, func(p problem.Problem) bool { return p.Kind == kind })
	if i < 0 {
		return nil
	}
	return &s.Problems[i]
}
