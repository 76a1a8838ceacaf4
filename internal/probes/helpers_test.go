package probes

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// checkSeverity checks that a result says of (kind, subject) exactly want; 0 means silence.
func checkSeverity(t *testing.T, r problem.Result, kind problem.Kind, subject string, want problem.Severity) problem.Verdict {
	t.Helper()
	var found problem.Verdict
	for _, v := range r.Verdicts {
		if v.Kind == kind && v.Subject == subject && v.State == problem.Wrong {
			found = v
		}
	}
	if found.Severity != want {
		t.Fatalf("%s %q: severity %q, want %q; all verdicts: %+v", kind, subject, found.Severity, want, r.Verdicts)
	}
	return found
}

// tree makes a host root that holds the given files (path → content).
func tree(t *testing.T, files map[string]string) *Node {
	t.Helper()
	root := t.TempDir()
	if _, ok := files["/proc/loadavg"]; !ok {
		writeFile(t, root, "/proc/loadavg", "0.10 0.20 0.30 1/100 12345\n")
	}
	for p, content := range files {
		writeFile(t, root, p, content)
	}
	return nodeAt(t, root)
}

func writeFile(t *testing.T, root, p, content string) {
	t.Helper()
	full := filepath.Join(root, p)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// nodeAt is the node whose root is at root: a fixture, or "/" for this machine.
func nodeAt(t *testing.T, root string) *Node {
	t.Helper()
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	return NewNode(h)
}

// testClock is a clock that a test sets.
type testClock struct {
	boot time.Duration
	wall time.Time
}

func (c *testClock) Boot() time.Duration { return c.boot }
func (c *testClock) Wall() time.Time     { return c.wall }

// checkState checks that a result has a verdict of (kind, subject) in that state.
func checkState(t *testing.T, r problem.Result, kind problem.Kind, subject string, want problem.State) problem.Verdict {
	t.Helper()
	for _, v := range r.Verdicts {
		if v.Kind == kind && v.Subject == subject && v.State == want {
			if v.Message == "" {
				t.Errorf("%s %q is %s without a reason", kind, subject, want)
			}
			return v
		}
	}
	t.Fatalf("%s %q: no verdict %s; all verdicts: %+v", kind, subject, want, r.Verdicts)
	return problem.Verdict{}
}

func removeAll(t *testing.T, root, p string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(root, p)); err != nil {
		t.Fatal(err)
	}
}
