package probes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

func TestEvaluateMemoryStall(t *testing.T) {
	kubepods := func(full float64, bound bool) stallGroup {
		return stallGroup{subject: "kubepods", full: full, bound: bound, scope: problem.NodeScope}
	}
	pod := func(name string, full float64, bound bool) stallGroup {
		return stallGroup{subject: name, pod: true, full: full, bound: bound, scope: problem.PodScope}
	}
	type found map[string]problem.Severity
	for _, tc := range []struct {
		name      string
		node      float64
		available float64
		groups    []stallGroup
		want      found
	}{
		{"healthy", 0.3, 0.7, []stallGroup{kubepods(0.2, false), pod("a", 0.2, false)}, found{}},
		{"below the line", 9.9, 0.1, []stallGroup{kubepods(9.9, false), pod("a", 9.9, false)}, found{}},
		{"the node is short", 15, 0.03, []stallGroup{kubepods(20, false), pod("a", 20, false)}, found{"": problem.Warning}},
		{"the node is very short", 45, 0.03, []stallGroup{kubepods(50, false), pod("a", 50, false)}, found{"": problem.Critical}},
		{"the node is short, without any pods", 15, 0.03, nil, found{"": problem.Warning}},
		{"kubepods is at its limit", 15, 0.5, []stallGroup{kubepods(50, true), pod("a", 45, false)}, found{"kubepods": problem.Critical}},
		{"a pod is at its limit: felt above, but its own", 15, 0.8, []stallGroup{kubepods(17, false), pod("a", 60, true), pod("b", 0, false)}, found{"a": problem.Warning}},
		{"the same, where page cache fills kubepods", 15, 0.8, []stallGroup{kubepods(17, true), pod("a", 60, true)}, found{"a": problem.Warning}},
		{"two pods at their limits explain a node together", 15, 0.8, []stallGroup{kubepods(17, false), pod("a", 12, true), pod("b", 9, true)}, found{"a": problem.Warning}},
		{"a pod at its limit does not explain a node that stalls more", 45, 0.8, []stallGroup{kubepods(5, false), pod("a", 12, true)}, found{"": problem.Critical, "a": problem.Warning}},
		{"a pod stalls by a limit within it", 3, 0.8, []stallGroup{kubepods(3, false), pod("a", 60, false)}, found{"a": problem.Warning}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := evaluateMemoryStall(cgroup.Pressure{Full: cgroup.Stall{Avg60: tc.node}}, tc.available, tc.groups, NewPressure().Thresholds.Memory)
			got := found{}
			for _, v := range r.Verdicts {
				got[v.Subject] = v.Severity
				if pod := v.Subject == "a" || v.Subject == "b"; pod != (v.Scope == problem.PodScope) {
					t.Errorf("%q has scope %v", v.Subject, v.Scope)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) || len(r.Verdicts) != len(tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			if m := r.Measurements[0]; m.Resource != "pressure_memory_full" || m.Subject != "" || m.Used != tc.node/100 {
				t.Errorf("measurement %+v", m)
			}
		})
	}
}

func TestEvaluateIOStallAndSystemSlice(t *testing.T) {
	th := NewPressure().Thresholds
	for _, tc := range []struct {
		avg60, avg300 float64
		io, cpu       problem.Severity
	}{
		{1, 1, 0, 0},
		{19.9, 60, 0, 0},
		{25, 25, problem.Warning, problem.Warning},
		{60, 55, problem.Critical, problem.Critical},
		// A few pods have just started.
		{60, 15, problem.Critical, 0},
	} {
		s := cgroup.Stall{Avg60: tc.avg60, Avg300: tc.avg300}
		checkSeverity(t, evaluateIOStall(cgroup.Pressure{Full: s}, th.IO), problem.IOStall, "", tc.io)
		checkSeverity(t, evaluateSystemSlice(cgroup.Pressure{Some: s}, "cgroup:/system.slice", th.CPU), problem.CPUStarvation, "system.slice", tc.cpu)
	}
}

// A message that changes at every run would be sent at every run.
func TestPressureMessageIsStable(t *testing.T) {
	th := NewPressure().Thresholds.IO
	message := func(percent float64) string {
		r := evaluateIOStall(cgroup.Pressure{Full: cgroup.Stall{Avg60: percent}}, th)
		return r.Verdicts[0].Message
	}
	if a, b := message(31.2), message(33.9); a != b {
		t.Errorf("%q changed to %q", a, b)
	}
	if a, b := message(31.2), message(51); a == b {
		t.Errorf("%q did not change", a)
	}
}

func TestSteal(t *testing.T) {
	for _, tc := range []struct {
		name      string
		then, now string
		after     time.Duration
		want      problem.Severity
		measured  bool
	}{
		{"healthy", "cpu 100 0 100 800 0 0 0 0 0 0", "cpu 200 0 200 1600 0 0 0 1 0 0", 15 * time.Second, 0, true},
		{"noisy neighbour", "cpu 100 0 100 800 0 0 0 0 0 0", "cpu 200 0 200 1500 0 0 0 110 0 0", 15 * time.Second, problem.Warning, true},
		{"starved", "cpu 100 0 100 800 0 0 0 0 0 0", "cpu 200 0 200 800 0 0 0 900 0 0", 15 * time.Second, problem.Critical, true},
		{"look-alike: high since boot, but not now", "cpu 100 0 100 800 0 0 0 9000 0 0", "cpu 200 0 200 1600 0 0 0 9001 0 0", 15 * time.Second, 0, true},
		{"look-alike: rounding in a short time", "cpu 100 0 100 800 0 0 0 0 0 0", "cpu 105 0 105 825 0 0 0 5 0 0", 200 * time.Millisecond, 0, true},
		{"short, but clear", "cpu 100 0 100 800 0 0 0 0 0 0", "cpu 105 0 105 805 0 0 0 25 0 0", 200 * time.Millisecond, problem.Critical, true},
		{"look-alike: guest time", "cpu 100 0 100 800 0 0 0 0 0 0", "cpu 200 0 200 1600 0 0 0 0 900 0", 15 * time.Second, 0, true},
		{"reset", "cpu 100 0 100 800 0 0 0 50 0 0", "cpu 1 0 1 8 0 0 0 40 0 0", 15 * time.Second, 0, false},
		{"no time has passed", "cpu 100 0 100 800 0 0 0 50 0 0", "cpu 100 0 100 800 0 0 0 50 0 0", 0, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := tree(t, map[string]string{"/proc/stat": tc.then + "\ncpu0 1 2 3\n"})
			clock := &testClock{}
			n.Host.Clock = clock
			p := NewPressure()
			first, err := p.Run(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range []problem.Kind{problem.MemoryStall, problem.IOStall} {
				if !slices.ContainsFunc(first.Verdicts, func(v problem.Verdict) bool {
					return v.Kind == kind && v.State == problem.NotApplicable && v.Subject == "" && v.Message != ""
				}) {
					t.Errorf("without PSI %s is not called not applicable: %+v", kind, first.Verdicts)
				}
			}
			checkSeverity(t, first, problem.CPUStarvation, "steal", 0)
			clock.boot = tc.after
			writeFile(t, n.Host.Root(), "/proc/stat", tc.now+"\ncpu0 1 2 3\n")
			r, err := p.Run(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			checkSeverity(t, r, problem.CPUStarvation, "steal", tc.want)
			if got := len(r.Measurements) == 1 && r.Measurements[0].Resource == "cpu_steal"; got != tc.measured {
				t.Errorf("measurements %+v", r.Measurements)
			}
		})
	}
}

// Several looks in a short time are judged by the first.
func TestStealKeepsItsBaseline(t *testing.T) {
	n := tree(t, map[string]string{"/proc/stat": "cpu 0 0 0 0 0 0 0 0 0 0\n"})
	clock := &testClock{}
	n.Host.Clock = clock
	p := NewPressure()
	for i := range 4 {
		clock.boot = time.Duration(i) * 200 * time.Millisecond
		writeFile(t, n.Host.Root(), "/proc/stat", fmt.Sprintf("cpu %d 0 0 0 0 0 0 %d 0 0\n", i*20, i*4))
		r, err := p.Run(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		want := problem.Severity(0)
		if i == 3 { // 12 ticks of 72
			want = problem.Warning
		}
		checkSeverity(t, r, problem.CPUStarvation, "steal", want)
	}
}

func TestParseCPUGarbled(t *testing.T) {
	for _, raw := range []string{"", "cpu", "cpu 1 2 3 4 5 6 7", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 x", "cpu 1 2 3 4 5 6 7 -8", "cpu 1 2 3 4 5 6 7 99999999999999999999"} {
		if got, err := parseCPU([]byte(raw)); err == nil {
			t.Errorf("%q parsed as %+v", raw, got)
		}
	}
}

func FuzzParseCPU(f *testing.F) {
	f.Add([]byte("cpu  14552 0 22668 16286 243 0 1506 0 0 0\ncpu0 7049 0\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseCPU(raw)
		if err != nil {
			return
		}
		for _, m := range evaluateSteal(cpuSample{}, s, NewPressure().Thresholds.Steal).Measurements {
			if !(m.Used >= 0 && m.Used <= 1) {
				t.Errorf("%q: %+v", raw, m)
			}
		}
	})
}

func TestPressureGarbled(t *testing.T) {
	for _, file := range []string{"memory", "io"} {
		n := tree(t, map[string]string{
			"/proc/stat":            "cpu 1 2 3 4 5 6 7 8 9 10\n",
			"/proc/meminfo":         "MemTotal: 100 kB\nMemAvailable: 50 kB\n",
			"/proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
			"/proc/pressure/io":     "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		})
		if _, err := NewPressure().Run(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		writeFile(t, n.Host.Root(), "/proc/pressure/"+file, "some like it hot\n")
		if _, err := NewPressure().Run(t.Context(), n); err == nil || !strings.Contains(err.Error(), "/proc/pressure/"+file) {
			t.Errorf("garbled %s: %v", file, err)
		}
	}
}

// The recorded nodes: on a pod that thrashes at its own limit, the pod is told
// and neither its container nor the node. All were recorded on an emulated CPU,
// which is slow: there the services' wait for it is a fact.
func TestPressureOnRecordedNodes(t *testing.T) {
	for _, tc := range []struct {
		state string
		pod   string // uid; empty: no stall
		th    Levels
	}{
		{"healthy-k6.1", "", Levels{Warning: 10, Critical: 40}},
		{"healthy-k6.12", "", Levels{Warning: 10, Critical: 40}},
		{"healthy-cgroupfs-k6.1", "", Levels{Warning: 10, Critical: 40}},
		{"oom-killed-k6.12", "", Levels{Warning: 10, Critical: 40}},
		{"memory-pressure-k6.1", "f86e6a3f3b3e", Levels{Warning: 10, Critical: 40}},
		// 2 % of the time: not worth a word by default.
		{"memory-pressure-k6.12", "", Levels{Warning: 10, Critical: 40}},
		{"memory-pressure-k6.12", "f399ffef2cf4", Levels{Warning: 2, Critical: 40}},
	} {
		t.Run(fmt.Sprint(tc.state, " at ", tc.th.Warning, " %"), func(t *testing.T) {
			n := nodeAt(t, fixtures.Node(t, tc.state))
			p := NewPressure()
			p.Thresholds.Memory = tc.th
			r, err := p.Run(t.Context(), n)
			if err != nil || r.Partial != "" {
				t.Fatal(err, r.Partial)
			}
			var stalls []problem.Verdict
			for _, v := range r.Verdicts {
				switch v.Kind {
				case problem.MemoryStall:
					stalls = append(stalls, v)
				case problem.CPUStarvation: // see above
				default:
					t.Errorf("%+v", v)
				}
			}
			if tc.pod == "" {
				if len(stalls) != 0 {
					t.Errorf("%+v", stalls)
				}
				return
			}
			if len(stalls) != 1 {
				t.Fatalf("%d verdicts, want 1: %+v", len(stalls), stalls)
			}
			v := stalls[0]
			if !strings.Contains(v.Subject, tc.pod) || v.Scope != problem.PodScope || v.Severity != problem.Warning || !strings.Contains(v.Message, "its own limit") {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestPressureHere(t *testing.T) {
	if _, err := os.Stat("/proc/pressure/memory"); err != nil {
		t.Skipf("SKIPPED: this machine has no pressure stall information: %v", err)
	}
	r, err := NewPressure().Run(t.Context(), nodeAt(t, "/"))
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range []string{"pressure_memory_full", "pressure_io_full"} {
		if !slices.ContainsFunc(r.Measurements, func(m problem.Measurement) bool {
			return m.Resource == resource && m.Subject == "" && m.Used >= 0 && m.Used <= 1 && m.Max == 1
		}) {
			t.Errorf("no %s in %+v", resource, r.Measurements)
		}
	}
}

// kubepods of all recorded nodes is measured once.
func TestPressureFindsPods(t *testing.T) {
	n := nodeAt(t, fixtures.Node(t, "healthy-k6.12"))
	groups, err := stalledGroups(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	var kubepods, pods int
	for _, g := range groups {
		if g.pod {
			pods++
		} else {
			kubepods++
		}
	}
	recorded, err := filepath.Glob(n.Host.Path("/sys/fs/cgroup/kubepods.slice/*pod*.slice"))
	if err != nil {
		t.Fatal(err)
	}
	inQoS, err := filepath.Glob(n.Host.Path("/sys/fs/cgroup/kubepods.slice/*.slice/*-pod*.slice"))
	if err != nil {
		t.Fatal(err)
	}
	direct := 0 // kubepods-burstable.slice matches *pod* as well
	for _, p := range recorded {
		if !strings.HasSuffix(p, "-burstable.slice") && !strings.HasSuffix(p, "-besteffort.slice") {
			direct++
		}
	}
	if kubepods != 1 || pods != direct+len(inQoS) || pods < 3 {
		t.Errorf("%d kubepods, %d pods; recorded %d + %d", kubepods, pods, direct, len(inQoS))
	}
}
