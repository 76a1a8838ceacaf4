package agent

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/config"
)

// TestStopLeavesNothing: an agent with all of its probes, its logs and its state
// file is started and stopped again and again; no goroutine and no descriptor of
// an earlier one is left.
func TestStopLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "app.log")
	if err := os.WriteFile(log, []byte("a line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	life := func() {
		a := newAgent(t, []string{log}, config.Default().Probes...)
		a.config.StateFile = filepath.Join(dir, "state.json")
		a.config.Kmsg, a.config.JournalDirs = true, config.Default().JournalDirs
		d := startDaemon(t, a)
		d.await("/readyz", func(code int, _ string) bool { return code == http.StatusOK })
		d.get("/metrics")
		d.get("/status")
		d.stop()
		http.DefaultClient.CloseIdleConnections()
	}
	life() // what is made once, and kept for good
	goroutines, open := runtime.NumGoroutine(), descriptors(t)
	for range 3 {
		life()
	}
	// What was asked to end does so in its own time.
	deadline := time.Now().Add(20 * time.Second)
	for ; runtime.NumGoroutine() > goroutines || len(descriptors(t)) > len(open); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d after the first stop; descriptors %q, then %q\n%s", runtime.NumGoroutine(), goroutines,
				descriptors(t), open, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// descriptors are what this process has open.
func descriptors(t *testing.T) (open []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil { // but for that of this listing
			open = append(open, fmt.Sprintf("%s %s", e.Name(), to))
		}
	}
	slices.Sort(open)
	return open
}
