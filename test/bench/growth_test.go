package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/diagnosis"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/report"
	"github.com/nodevitals/nodevitals/internal/rules"
	"github.com/nodevitals/nodevitals/internal/tracker"
	"github.com/nodevitals/nodevitals/test/export"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

// This file lets the node grow tenfold, and again, and counts what the agent does
// then: system calls, allocations, bytes. No step may be worse than linear. Times
// are not judged.

var grow = flag.Int("grow", 20, "multiply by so much in the last step of TestGrowth")

// work is what a run did; calls is -1 where nobody could count them.
type work struct {
	calls         int
	allocs, bytes uint64
}

// growing is something that there can be more of. prepare makes n of it, and
// returns what is to be measured; the root is one that system calls are counted on.
type growing struct {
	of      string
	base    int
	prepare func(t *testing.T, n int) (run func() error, root string)
}

// TestGrowth: what one more process, mount, cgroup, rule, record or problem costs
// is no more on a large node than on a small one.
func TestGrowth(t *testing.T) {
	strace, err := newTracer(t.Context())
	if err != nil {
		t.Logf("system calls are not counted: %v", err)
	} else {
		defer func() { _ = strace.close() }()
	}
	var table strings.Builder
	fmt.Fprint(&table, "\nof\thow many\tsystem calls\tallocations\tKiB\n")
	for _, g := range []growing{
		{"processes", 10, moreProcesses},
		{"mounts", 10, moreMounts},
		{"pods' cgroups", 4, moreCgroups},
		{"rules", 10, moreRules},
		{"log records", 1000, moreRecords},
		{"problems", 3, moreProblems},
	} {
		t.Run(g.of, func(t *testing.T) {
			counts := []int{g.base, g.base * 10, g.base * *grow}
			var done []work
			for _, n := range counts {
				w := g.measure(t, strace, n)
				done = append(done, w)
				fmt.Fprintf(&table, "%s\t%d\t%s\t%d\t%d\n", g.of, n, number(w.calls), w.allocs, w.bytes>>10)
			}
			atMostLinear(t, "system calls", counts, done, func(w work) float64 { return float64(w.calls) }, 100)
			atMostLinear(t, "allocations", counts, done, func(w work) float64 { return float64(w.allocs) }, 200)
			atMostLinear(t, "bytes", counts, done, func(w work) float64 { return float64(w.bytes) }, 256<<10)
		})
	}
	var out bytes.Buffer
	if err := align(&out, 0, table.String()); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
}

func (g growing) measure(t *testing.T, strace *tracer, n int) work {
	t.Helper()
	run, root := g.prepare(t, n)
	c, err := measure(3, run)
	if err != nil {
		t.Fatal(err)
	}
	w := work{calls: -1, allocs: c.allocs, bytes: c.bytes}
	if root != "" && strace != nil {
		strace.root = root
		if w.calls, err = strace.perRun(t.Context(), "every probe"); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// atMostLinear: from the second to the third count, each one more costs at most a
// third more than from the first to the second: a slice that doubles its room may
// be half empty. slack is for what depends on no count.
func atMostLinear(t *testing.T, what string, counts []int, done []work, of func(work) float64, slack float64) {
	t.Helper()
	if of(done[0]) < 0 {
		return
	}
	grown := func(i int) float64 { return of(done[i]) - of(done[i-1]) }
	factor := float64(counts[2]-counts[1]) / float64(counts[1]-counts[0])
	if most := factor*max(grown(1), 0)*4/3 + slack*factor; grown(2) > most {
		t.Errorf("%s: %.0f, %.0f, %.0f for %v: that is more than linear (%.0f more, at most %.0f)", what, of(done[0]), of(done[1]), of(done[2]), counts, grown(2), most)
	}
}

// A measure of growth that lets everything pass is none.
func TestAtMostLinear(t *testing.T) {
	counts := []int{10, 100, 1000}
	for _, tc := range []struct {
		name string
		work []work
		bad  bool
	}{
		{"constant", []work{{allocs: 900}, {allocs: 900}, {allocs: 900}}, false},
		{"linear", []work{{allocs: 5000}, {allocs: 14000}, {allocs: 104000}}, false},
		{"n log n", []work{{allocs: 10_000 * 3}, {allocs: 100_000 * 7}, {allocs: 1_000_000 * 10}}, true},
		{"quadratic", []work{{allocs: 100}, {allocs: 10_000}, {allocs: 1_000_000}}, true},
	} {
		var failed testing.T
		atMostLinear(&failed, tc.name, counts, tc.work, func(w work) float64 { return float64(w.allocs) }, 100)
		if failed.Failed() != tc.bad {
			t.Errorf("%s: %v", tc.name, failed.Failed())
		}
	}
}

// onFixture measures all probes on a recorded node that was changed.
func onFixture(t *testing.T, change func(root string)) (func() error, string) {
	t.Helper()
	root := fixtures.Node(t, "healthy-k6.12")
	change(root)
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	all := everyProbe(h)
	return func() error { return all.run(context.Background()) }, root
}

func moreProcesses(t *testing.T, n int) (func() error, string) {
	t.Helper()
	return onFixture(t, func(root string) {
		from := filepath.Join(root, "proc/609") // a container's
		for i := range n {
			pid := fmt.Sprint(10_000 + i)
			copyTree(t, from, filepath.Join(root, "proc", pid), func(text string) string {
				return strings.Replace(strings.Replace(text, "609 (", pid+" (", 1), "Pid:\t609\n", "Pid:\t"+pid+"\n", 1)
			})
		}
	})
}

func moreMounts(t *testing.T, n int) (func() error, string) {
	t.Helper()
	return onFixture(t, func(root string) {
		var more strings.Builder
		for i := range n {
			fmt.Fprintf(&more, "%d 29 0:%d / /var/lib/kubelet/pods/%08x-0000-4000-8000-000000000000/volumes/kubernetes.io~projected/token rw,relatime shared:%d - tmpfs tmpfs rw,size=64k\n", 5000+i, 5000+i, i, 5000+i)
		}
		for _, of := range []string{"1", "self"} {
			file := filepath.Join(root, "proc", of, "mountinfo")
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, append(old, more.String()...), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func moreCgroups(t *testing.T, n int) (func() error, string) {
	t.Helper()
	return onFixture(t, func(root string) {
		slice := filepath.Join(root, "sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice")
		pods, err := filepath.Glob(slice + "/kubepods-burstable-pod*.slice")
		if err != nil || len(pods) == 0 {
			t.Fatal("the recording has no pod", err)
		}
		for i := range n {
			to := filepath.Join(slice, fmt.Sprintf("kubepods-burstable-pod%08x_0000_4000_8000_000000000000.slice", i))
			copyTree(t, pods[0], to, func(text string) string { return text })
		}
	})
}

func copyTree(t *testing.T, from, to string, change func(string) string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inner, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, inner), 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, inner), []byte(change(string(b))), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// moreRules: the same lines, with so many rules of a user's beside ours.
func moreRules(t *testing.T, n int) (func() error, string) {
	t.Helper()
	all := rules.Builtin()
	for i := range n {
		all = append(all, rules.Rule{Kind: "Mine", Pattern: fmt.Sprintf(`licence number%d of (?P<what>\S+) has expired`, i), Message: "expired"})
	}
	lines := logLines(1000)
	return func() error {
		set, err := rules.Compile(rules.BuiltinUnits(), all)
		if err != nil {
			return err
		}
		for _, l := range lines {
			set.Match(&journal.Record{Source: "x", Message: l})
		}
		return nil
	}, ""
}

// logLines are n lines of a node's log, of which one in a thousand tells of a failure.
func logLines(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 1))
	lines := make([][]byte, n)
	for i := range lines {
		lines[i] = []byte(regexp.MustCompile(`[\n\r]`).ReplaceAllString(export.Message(r, rare), " "))
	}
	return lines
}

// moreRecords: a log file of so many lines, from the file to the tracker.
func moreRecords(t *testing.T, n int) (func() error, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "messages")
	if err := os.WriteFile(file, append(bytes.Join(logLines(n), []byte("\n")), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := rules.Compile(rules.BuiltinUnits(), rules.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	return func() error {
		log, err := journal.NewTextLog(file, 1<<40)
		if err != nil {
			return err
		}
		defer log.Close()
		told, read := tracker.New(problem.Builtin(), false), 0
		err = log.Poll(func(line []byte) {
			read++
			for _, c := range set.MatchText(&journal.Record{Source: file, Message: line}, time.Unix(0, 0), rules.Any) {
				told.Match(time.Hour, c)
			}
		})
		if err == nil && read < n-1 {
			err = fmt.Errorf("%d lines of %d were read", read, n)
		}
		return err
	}, ""
}

// moreProblems: of each kind there are so many problems, on a cgroup or mount of
// their own; tracked, explained by each other, and reported in each way.
func moreProblems(t *testing.T, n int) (func() error, string) {
	t.Helper()
	catalogue := problem.Builtin()
	kinds := []problem.Kind{
		problem.ForkRefused, problem.CgroupPIDsNearLimit, problem.MountNotAnswering, problem.TasksStuckOnMount, problem.VolumeOperationStuck, problem.ContainerOOM,
	}
	wall := func(d time.Duration) time.Time { return time.Unix(0, 0).Add(d) }
	return func() error {
		told := tracker.New(catalogue, true)
		told.Expect("made-up", kinds, time.Minute, 0)
		var verdicts []problem.Verdict
		for i := range n {
			for _, k := range kinds {
				verdicts = append(verdicts, problem.Verdict{
					Kind: k, Subject: fmt.Sprint("subject ", i), State: problem.Wrong, Severity: problem.Critical, Message: "is wrong", Refused: true,
					Touches: []problem.Ref{problem.Ref(fmt.Sprintf("mount:/mnt/%d", i)), problem.Ref(fmt.Sprintf("cgroup:/kubepods/pod%d", i))},
				})
			}
		}
		told.Observe(problem.Report{Probe: "made-up", Kinds: kinds, Period: time.Minute, Begun: time.Minute, Ended: time.Minute, Result: problem.Result{Verdicts: verdicts}})
		told.Tick(time.Minute)
		s := &problem.Snapshot{Problems: diagnosis.Diagnose(diagnosis.Input{Catalogue: catalogue, Problems: told.Active(), Kinds: told.Kinds(time.Minute), Wall: wall})}
		if len(s.Problems) < n*len(kinds) {
			return fmt.Errorf("%d problems of %d", len(s.Problems), n*len(kinds))
		}
		var out bytes.Buffer
		for _, err := range []error{report.Text(&out, s, catalogue, report.TextOptions{}), report.JSON(&out, s), report.Prometheus(&out, s)} {
			if err != nil {
				return err
			}
		}
		return nil
	}, ""
}
