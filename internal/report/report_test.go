package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/nodevitals/nodevitals/internal/problem"
)

var update = flag.Bool("update", false, "write golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-update accepts):\n%s", file, got)
	}
}

// sick is a node with one pod at its pids limit, a disk that fills, and a
// mount that cannot be told.
func sick() *problem.Snapshot {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	refused := uint64(1204)
	pod := "pod payments/worker-7c9"
	return &problem.Snapshot{
		Time: now,
		Host: problem.HostFacts{
			Node: "node-7", OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.1.0-50-amd64", Cgroup: "v2",
			CPUs: 8, Memory: 32 << 30, Load1: 3.25, Uptime: 49 * time.Hour, Agent: "v1.2.3",
		},
		Problems: []problem.Problem{
			{
				Kind: problem.ForkRefused, Subject: pod, Severity: problem.Critical, Scope: problem.PodScope,
				Since: now.Add(-90 * time.Second), Message: "fork fails: pids.max reached in " + pod + " (64 of 64 threads, 1200+ refused)",
				Evidence: []string{"/sys/fs/cgroup/kubepods.slice/pids.events.local: max 1204 (12 more)"},
				Holders:  []problem.Holder{{Owner: pod + " container app", Process: "java", Amount: 58, Unit: problem.Threads}},
				Causes:   []problem.Cause{{Kind: problem.CgroupPIDsNearLimit, Subject: pod, Message: pod + " is at 100 % (64 of 64 threads) of its pids limit"}},
				Examined: []string{"not pid_max: 21 % (6882 of 32768 threads)", "not threads_max: 9 % (6882 of 76466 threads)"},
				Next:     "cat /sys/fs/cgroup/kubepods.slice/pids.max",
			},
			{
				Kind: problem.CgroupPIDsNearLimit, Subject: pod, Severity: problem.Critical, Scope: problem.PodScope,
				Since: now.Add(-90 * time.Second), Message: pod + " is at 100 % (64 of 64 threads) of its pids limit",
				Effects: []string{"ForkRefused " + pod},
			},
			{
				Kind: problem.FilesystemSpaceLow, Subject: "/", Severity: problem.Warning, Scope: problem.NodeScope,
				Since: now.Add(-30 * time.Hour), Message: "/ (root, kubelet) has 12 % left", Stale: "no answer within 10s", Note: "cause not found on this node",
			},
		},
		Conditions: []problem.Condition{
			{Type: problem.ConntrackExhaustion, Status: problem.ConditionUnknown, NotApplicable: true, Message: "the module is not loaded"},
			{Type: problem.PIDExhaustion, Status: problem.ConditionFalse, Reason: "Healthy"},
			{Type: problem.FileHandleExhaustion, Status: problem.ConditionFalse, Reason: "Healthy"},
			{Type: problem.DiskExhaustion, Status: problem.ConditionFalse, Reason: "FilesystemSpaceLow"},
			{Type: problem.MountHung, Status: problem.ConditionUnknown, Reason: "CannotTell", Message: "MountTableLarge: /proc/1/mountinfo: permission denied"},
			{Type: problem.NodeNetworkFault, Status: problem.ConditionUnknown, NotApplicable: true, Message: "the module is not loaded"},
		},
		Measurements: []problem.Measurement{
			{Resource: "pid_max", Used: 6882, Max: 32768, Unit: problem.Threads},
			{Resource: "threads_max", Used: 6882, Max: 76466, Unit: problem.Threads},
			{Resource: "cgroup_pids", Subject: pod, Used: 64, Max: 64, Unit: problem.Threads, Refused: &refused},
			{Resource: "file_handles", Used: 4096, Unit: problem.Files},
			{Resource: "filesystem_bytes", Subject: "/boot", Used: 1 << 30, Max: 2 << 30, Unit: problem.Bytes},
			{Resource: "filesystem_bytes", Subject: "/", Used: 88 << 30, Max: 100 << 30, Unit: problem.Bytes},
			{Resource: "filesystem_bytes", Subject: "/data", Used: 88 << 30, Max: 200 << 30, Unit: problem.Bytes},
		},
		Probes: []problem.ProbeStatus{
			{Probe: "later", Outcome: problem.OutcomeStarting},
			{Probe: "threads", Outcome: problem.OutcomeOK, Duration: 2 * time.Millisecond, Runs: 3},
			{Probe: "filesystems", Outcome: problem.OutcomeFailed, Reason: "no answer within 10s", Runs: 3, Failures: 1},
		},
		Findings: []problem.LogFinding{
			{Kind: problem.ContainerOOM, Count: 1, First: now.Add(-25 * time.Hour), Last: now.Add(-25 * time.Hour), Message: "the day before", Source: "kmsg (kernel)", Line: "y"},
			{
				Kind: problem.ForkRefused, Subject: pod, Count: 3, First: now.Add(-3 * time.Minute), Last: now.Add(-90 * time.Second),
				Message: "the kernel refused a fork", Source: "kmsg (kernel)", Line: "cgroup: fork rejected <by> pids & co",
			},
			{Kind: problem.ContainerOOM, Count: 1, First: now.Add(-time.Minute), Last: now.Add(-time.Minute), Message: "a container was killed", Source: "journal (kernel)", Line: "x"},
		},
		Logs: []problem.LogStatus{{Source: "/var/log/syslog", Records: 1000, Matches: 2}},
	}
}

func TestTextGolden(t *testing.T) {
	for name, o := range map[string]TextOptions{
		"sick.txt": {}, "sick-narrow.txt": {Width: 60}, "sick-colour.txt": {Colour: true, Width: 120},
	} {
		var b bytes.Buffer
		if err := Text(&b, sick(), problem.Builtin(), o); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
	}
}

// TestShortReports: what is not known of a host is not told, and the last line says
// what was found.
func TestShortReports(t *testing.T) {
	found := func(severities ...problem.Severity) (ps []problem.Problem) {
		for _, sev := range severities {
			ps = append(ps, problem.Problem{Kind: problem.DiskHung, Severity: sev})
		}
		return ps
	}
	const w, c, i = problem.Warning, problem.Critical, problem.Info
	blind := []problem.Condition{{Type: problem.DiskExhaustion, Status: problem.ConditionUnknown}, {Type: problem.MountHung, Status: problem.ConditionUnknown}}
	for _, tc := range []struct {
		up         time.Duration
		problems   []problem.Problem
		conditions []problem.Condition
		facts      string
		last       string
	}{
		{0, nil, nil, "load 0.00", "\x1b[32mnothing wrong was found\x1b[0m"},
		{59 * time.Minute, found(i), nil, "load 0.00 · up 59m", "\x1b[32mnothing wrong was found\x1b[0m, 1 for information"},
		{time.Hour, found(w, w), nil, "load 0.00 · up 1h00m", "\x1b[33m0 critical, 2 warnings\x1b[0m"},
		{48*time.Hour - 1, found(c, w), nil, "load 0.00 · up 47h59m", "\x1b[1;31m1 critical, 1 warning\x1b[0m"},
		{48 * time.Hour, nil, blind, "load 0.00 · up 2d", "0 critical, 0 warnings\x1b[35m, 2 vital signs cannot be told\x1b[0m"},
	} {
		var b bytes.Buffer
		s := &problem.Snapshot{Host: problem.HostFacts{Uptime: tc.up}, Problems: tc.problems, Conditions: tc.conditions}
		if err := Text(&b, s, problem.Builtin(), TextOptions{Colour: true}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(b.String(), "\n")
		if facts := "\x1b[2m" + tc.facts + "\x1b[0m"; lines[1] != facts {
			t.Errorf("%q, want %q", lines[1], facts)
		}
		if last := lines[len(lines)-2]; last != tc.last {
			t.Errorf("%q, want %q", last, tc.last)
		}
	}
}

func TestJSONGolden(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, sick()); err != nil {
		t.Fatal(err)
	}
	golden(t, "sick.json", b.Bytes())
	var back problem.Snapshot
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Errorf("what we write, we cannot read: %v", err)
	}
}

func TestPrometheusGolden(t *testing.T) {
	var b bytes.Buffer
	if err := Prometheus(&b, sick()); err != nil {
		t.Fatal(err)
	}
	golden(t, "sick.prom", b.Bytes())
	problems, err := promlint.New(&b).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
}

// TestTextFromOutsideIsData: a process may be called anything and a log line
// may hold anything; neither may steer a terminal or forge a line.
func TestTextFromOutsideIsData(t *testing.T) {
	evil := "\x1b[2J\x1b]0;owned\x07\nCRITICAL  forged\r\u202e\xff" + strings.Repeat("A", 10000)
	s := sick()
	p := &s.Problems[0]
	p.Subject, p.Message, p.Evidence, p.Examined, p.Next, p.Stale = evil, evil, []string{evil}, []string{evil}, evil, evil
	p.Holders = []problem.Holder{{Owner: evil, Process: evil, Amount: 1}}
	p.Causes = []problem.Cause{{Kind: "K", Subject: evil, Message: evil}}
	s.Host.Node, s.Host.OS = evil, evil
	s.Conditions[4].Message = evil
	s.Probes[2].Reason = evil
	s.Measurements[2].Subject = evil
	s.Findings[0].Subject, s.Findings[0].Message, s.Findings[0].Source = evil, evil, evil
	s.Logs[0].Source, s.Logs[0].Blind = evil, evil
	var text, prom bytes.Buffer
	if err := Text(&text, s, problem.Builtin(), TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := Prometheus(&prom, s); err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]string{"text": text.String(), "metrics": prom.String()} {
		if strings.ContainsAny(out, "\x1b\x07\r\u202e") || !utf8.ValidString(out) {
			t.Errorf("%s: control characters came through", name)
		}
		if strings.Contains(out, "\nCRITICAL  forged") {
			t.Errorf("%s: a line was forged", name)
		}
		if strings.Contains(out, strings.Repeat("A", maxShown+1)) {
			t.Errorf("%s: the length is not bounded", name)
		}
	}
}

func TestSeriesAreBounded(t *testing.T) {
	s := sick()
	for i := range 1000 {
		s.Problems = append(s.Problems, problem.Problem{Kind: "Many", Subject: fmt.Sprint(i), Severity: problem.Warning})
		s.Measurements = append(s.Measurements, problem.Measurement{Resource: "many", Subject: fmt.Sprint(i), Used: float64(i), Max: 1000})
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(NewMetrics(func() *problem.Snapshot { return s }))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := len(f.Metric); n > 2*(maxSubjects+1)+10 {
			t.Errorf("%s has %d series", f.GetName(), n)
		}
	}
}

func TestMetricsBeforeTheFirstSnapshot(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(NewMetrics(func() *problem.Snapshot { return nil }))
	if families, err := reg.Gather(); err != nil || len(families) != 0 {
		t.Errorf("%v %v", families, err)
	}
}

// FuzzJSON: whatever a text holds, the document is one that can be read back, is
// printable, and the text is the same unless it is too long.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{"", "\u009b31m\x7f\u202e", "\\\"\n\u2028", "\U000e0041\xff", strings.Repeat("\x00", maxString+1)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b bytes.Buffer
		if err := JSON(&b, &problem.Snapshot{Problems: []problem.Problem{{Message: s, Evidence: []string{s}}}}); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%q keeps %q", s, r)
			}
		}
		var back problem.Snapshot
		if err := json.Unmarshal(b.Bytes(), &back); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		got, n := back.Problems[0].Message, utf8.RuneCountInString(s)
		if utf8.ValidString(s) && n <= maxString && got != s {
			t.Errorf("%q became %q", s, got)
		}
		if utf8.RuneCountInString(got) > maxString+1 || n > maxString && !strings.HasSuffix(got, "…") {
			t.Errorf("%d runes of %d are shown", utf8.RuneCountInString(got), n)
		}
	})
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[31m\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		for _, r := range got {
			if !unicode.IsPrint(r) || r == utf8.RuneError {
				t.Errorf("%q keeps %q", s, r)
			}
		}
		if n := utf8.RuneCountInString(got); n > maxShown+1 {
			t.Errorf("%q became %d runes", s, n)
		}
	})
}
