package agent

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// TestLastRunsWordIsNoVerdict: what the last run has left wrong is shown as not
// confirmed, and turns no condition, until a probe has looked in this run.
func TestLastRunsWordIsNoVerdict(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	start := func(run func(context.Context) (problem.Result, error)) *running {
		s := spec("mounts", problem.MountNotAnswering, run)
		s.Timeout = 20 * time.Second
		a := newAgent(t, nil, s)
		a.config.StateFile = file
		return startDaemon(t, a)
	}
	wrong := func(context.Context) (problem.Result, error) {
		return problem.Result{Verdicts: []problem.Verdict{{
			Kind: problem.MountNotAnswering, Subject: "/data", State: problem.Wrong, Severity: problem.Critical, Message: "hangs",
		}}}, nil
	}
	const isTrue, isUnknown = `nodevitals_condition{status="True",type="MountHung"} 1`, `nodevitals_condition{status="Unknown",type="MountHung"} 1`
	var since time.Time
	for name, x := range map[string]struct {
		look func(context.Context) (problem.Result, error)
		want string
	}{
		"still wrong": {wrong, isTrue},
		"over by now": {fine, `nodevitals_condition{status="False",type="MountHung"} 1`},
	} {
		d := start(wrong)
		d.await("/metrics", contains(isTrue))
		since = problemOf(t, d).Since
		d.stop()
		look := make(chan struct{})
		d = start(func(ctx context.Context) (problem.Result, error) {
			<-look
			return x.look(ctx)
		})
		d.await("/metrics", contains(isUnknown))
		if p := problemOf(t, d); p.Stale == "" || !p.Since.Equal(since) {
			t.Errorf("%s: before the first look: %+v, was since %v", name, p, since)
		}
		close(look)
		d.await("/metrics", contains(x.want))
		if x.want == isTrue {
			if p := problemOf(t, d); p.Stale != "" || !p.Since.Equal(since) {
				t.Errorf("%s: %+v, was since %v", name, p, since)
			}
		}
		d.stop()
	}
	// Without its probe nothing is known of it any more.
	d := start(wrong)
	d.await("/metrics", contains(isTrue))
	d.stop()
	a := newAgent(t, nil, spec("good", problem.ClockJumped, fine))
	a.config.StateFile = file
	d = startDaemon(t, a)
	d.await("/status", func(_ int, body string) bool { return !strings.Contains(body, "hangs") })
	d.stop()
}

// problemOf is the daemon's only problem.
func problemOf(t *testing.T, d *running) problem.Problem {
	t.Helper()
	var s problem.Snapshot
	if err := json.Unmarshal([]byte(d.await("/status", contains("hangs"))), &s); err != nil || len(s.Problems) != 1 {
		t.Fatalf("%v, %+v", err, s.Problems)
	}
	return s.Problems[0]
}
