package agent

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/rules"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

var update = flag.Bool("update", false, "write golden files anew")

// TestRecordedNodes: the whole agent on the recorded /proc and /sys of real
// cgroup v2 nodes. What it concludes of each is in testdata/nodes; that it is
// right is argued in the recording's own page (test/fixtures/nodes).
func TestRecordedNodes(t *testing.T) {
	for i, state := range fixtures.States(t) {
		if strings.HasPrefix(state, "container-view") {
			continue // paths as a container sees them, and no root
		}
		if testing.Short() && i%4 != 0 {
			continue // enough for the race detector
		}
		t.Run(state, func(t *testing.T) {
			t.Parallel() // of hung mounts each is waited for
			h, err := host.New(fixtures.Node(t, state))
			if err != nil {
				t.Fatal(err)
			}
			c, err := config.Parse(state, []byte(settings(state)))
			if err != nil {
				t.Fatal(err)
			}
			a := New(h, c, "test")
			got := conclusions(a.Once(context.Background(), 0)) + kernelLog(t, a, state)
			file := filepath.Join("testdata", "nodes", state+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs (-update accepts):\n--- got\n%s--- want\n%s", file, got, want)
			}
		})
	}
}

// settings is the configuration for a recording. The nodes were recorded in an
// emulator that is ten times slower than a machine, so that everything waits for
// a CPU: that look is turned off. Two faults were made small, and the thresholds
// for them are lowered as much.
func settings(state string) string {
	thresholds := map[string]string{
		"dying-cgroups-k6.12":   "  cgroupleak: {thresholds: {dying: 300}}\n",
		"memory-pressure-k6.12": "  pressure: {thresholds: {cpu: {warning: 100, critical: 100}, memory: {warning: 2}}}\n",
	}
	own := thresholds[state]
	if !strings.Contains(own, "pressure:") {
		own += "  pressure: {thresholds: {cpu: {warning: 100, critical: 100}}}\n"
	}
	return "logs: {files: [], journal: [], kmsg: false}\nprobes:\n" + own
}

// conclusions are the parts of a report that a recording determines: the
// problems with their causes, and which probes failed.
func conclusions(s *problem.Snapshot) string {
	var b strings.Builder
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "%s %s %s (%s scope)\n  %s\n", p.Severity, p.Kind, p.Subject, p.Scope, p.Message)
		for _, c := range p.Causes {
			fmt.Fprintf(&b, "  cause: %s %s\n", c.Kind, c.Subject)
		}
		for _, e := range p.Examined {
			fmt.Fprintf(&b, "  %s\n", e)
		}
		for _, h := range p.Holders {
			fmt.Fprintf(&b, "  holder: %g %s %s, %s\n", h.Amount, h.Unit, h.Process, h.Owner)
		}
	}
	if len(s.Problems) == 0 {
		b.WriteString("nothing wrong\n")
	}
	for _, p := range s.Probes {
		if p.Outcome == problem.OutcomeFailed || p.Outcome == problem.OutcomePartial {
			fmt.Fprintf(&b, "%s %s: %s\n", p.Outcome, p.Probe, strings.ReplaceAll(p.Reason, s.Host.Node, "NODE"))
		}
	}
	return b.String()
}

// kernelLog is what the rules make of the recording's kernel log.
func kernelLog(t *testing.T, a *Agent, state string) string {
	t.Helper()
	r := resolver{node: a.node}
	counts := map[string]int{}
	var order []string
	for line := range strings.Lines(string(fixtures.File(t, state, "dmesg.txt"))) {
		rec := journal.Record{Message: []byte(strings.TrimSpace(line)), Kernel: true, Source: "kmsg"}
		for _, c := range a.rules.MatchText(&rec, time.Now(), rules.Kernel) {
			if r.repeatsOOM(time.Minute, c) {
				continue
			}
			c = r.resolve(c)
			what := strings.TrimSpace(fmt.Sprintf("%s %s", c.Kind, c.Subject))
			if c.Resolves {
				what += " is over"
			}
			if counts[what]++; counts[what] == 1 {
				order = append(order, what)
			}
		}
	}
	var b strings.Builder
	for _, what := range order {
		fmt.Fprintf(&b, "kernel log: %s (%d lines)\n", what, counts[what])
	}
	return b.String()
}
