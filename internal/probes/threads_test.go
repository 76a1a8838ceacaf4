package probes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

func run(t *testing.T, p Probe, n *Node) problem.Result {
	t.Helper()
	r, err := p.Run(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEvaluateNode(t *testing.T) {
	th := NewThreads().Thresholds
	for _, tc := range []struct {
		name                        string
		threads, pidMax, threadsMax uint64
		want                        problem.Severity
		limit                       string
		refused                     bool
	}{
		{"healthy", 500, 32768, 192730, 0, "", false},
		{"pid_max binds", 27000, 32768, 192730, problem.Warning, "pid_max", false},
		{"threads-max binds", 9600, 4194304, 10000, problem.Critical, "threads-max", false},
		// A check against the higher of the two never fires here.
		{"full by pid_max, at a sixth of threads-max", 32500, 32768, 192730, problem.Critical, "pid_max", true},
		{"full by threads-max", 10000, 4194304, 10000, problem.Critical, "threads-max", true},
		{"look-alike: many threads, large limits", 200000, 4194304, 2000000, 0, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r problem.Result
			evaluateNode(&r, &threadSample{threads: tc.threads, pidMax: tc.pidMax, threadsMax: tc.threadsMax}, th)
			v := checkSeverity(t, r, problem.NodeThreadsNearLimit, "", tc.want)
			if !strings.Contains(v.Message, tc.limit) || v.Refused != tc.refused {
				t.Errorf("message %q, refused %v; want %s, %v", v.Message, v.Refused, tc.limit, tc.refused)
			}
			if len(r.Measurements) != 2 {
				t.Errorf("measurements %+v, want both limits", r.Measurements)
			}
		})
	}
}

func TestParseLoadavgThreads(t *testing.T) {
	if n, err := parseLoadavgThreads([]byte("0.10 0.20 0.30 2/6882 12345\n")); err != nil || n != 6882 {
		t.Errorf("%d, %v", n, err)
	}
	for _, raw := range []string{"", "0.1 0.2 0.3 6882 1", "0.1 0.2 0.3 a/b 1", "0.1 0.2 0.3 1/-2 1", "0.1"} {
		if n, err := parseLoadavgThreads([]byte(raw)); err == nil {
			t.Errorf("%q gave %d", raw, n)
		}
	}
}

func FuzzParseLoadavgThreads(f *testing.F) {
	f.Add([]byte("0.10 0.20 0.30 2/6882 12345\n"))
	f.Fuzz(func(_ *testing.T, raw []byte) { _, _ = parseLoadavgThreads(raw) })
}

// TestPIDLimitOnRecordedNodes: the kernel moved the counter of refused forks
// from the forking cgroup (6.1) to the limiting one and its ancestors (6.12).
// Either way it is the pod that is named, and nothing above or beside it.
func TestPIDLimitOnRecordedNodes(t *testing.T) {
	for _, tc := range []struct {
		state   string
		refused int
	}{{"pids-limit-k6.1", 19}, {"pids-limit-k6.12", 23}} {
		t.Run(tc.state, func(t *testing.T) {
			n := nodeAt(t, fixtures.Node(t, tc.state))
			r := run(t, NewThreads(), n)
			var found []string
			for _, v := range r.Verdicts {
				if v.State == problem.Wrong {
					found = append(found, string(v.Kind)+" "+v.Subject[:len("pod uid 5382cf41")])
				}
			}
			if want := []string{"ForkRefused pod uid 5382cf41", "CgroupPIDsNearLimit pod uid 5382cf41"}; !slices.Equal(found, want) {
				t.Fatalf("found %q, want %q", found, want)
			}
			v := r.Verdicts[0]
			if want := fmt.Sprintf("(64 of 64 threads, %d refused)", tc.refused); !strings.HasSuffix(v.Message, want) {
				t.Errorf("message %q, want %q", v.Message, want)
			}
			if len(v.Holders) == 0 || v.Holders[0].Process != "forker-child" || v.Holders[0].Amount != 57 {
				t.Errorf("holders %+v", v.Holders)
			}
		})
	}
}

// TestOldRefusalsAreNoProblem: a counter that stands still, in a cgroup that has
// room, tells of something that is over.
func TestOldRefusalsAreNoProblem(t *testing.T) {
	for name, current := range map[string]string{"room": "10", "full": "64"} {
		n := tree(t, cgroup2(map[string]string{
			"kubepods/podaaaa/pids.current": current, "kubepods/podaaaa/pids.max": "64",
			"kubepods/podaaaa/pids.events": "max 9\n", "kubepods/podaaaa/pids.events.local": "max 9\n",
		}))
		p := NewThreads()
		first, second := run(t, p, n), run(t, p, n)
		want := problem.Severity(0)
		if name == "full" {
			want = problem.Critical // it would refuse the next one, too
		}
		checkSeverity(t, first, problem.ForkRefused, "pod uid aaaa", want)
		checkSeverity(t, second, problem.ForkRefused, "pod uid aaaa", want)
	}
}

// TestRaisedLimitIsForgiven: what a limit has refused that was raised since is over, and
// the new limit is not near.
func TestRaisedLimitIsForgiven(t *testing.T) {
	files := cgroup2(map[string]string{"kubepods/pids.current": "90", "kubepods/pids.max": "90", "kubepods/pids.events": "max 0\n", "kubepods/pids.events.local": "max 0\n"})
	for name, tc := range map[string]struct {
		max  string
		want problem.Severity
	}{"not raised": {"90", problem.Critical}, "raised": {"4194304", 0}, "raised by too little": {"95", problem.Critical}} {
		n, p := tree(t, files), NewThreads()
		run(t, p, n)
		for file, content := range map[string]string{"pids.max": tc.max, "pids.events": "max 7\n", "pids.events.local": "max 7\n"} {
			writeFile(t, n.Host.Root(), "/sys/fs/cgroup/kubepods/"+file, content)
		}
		r := run(t, p, n)
		for _, kind := range []problem.Kind{problem.ForkRefused, problem.CgroupPIDsNearLimit} {
			t.Log(name)
			checkSeverity(t, r, kind, "cgroup /kubepods", tc.want)
		}
	}
}

// cgroup2 is a host with a v2 hierarchy that holds the given files.
func cgroup2(files map[string]string) map[string]string {
	out := map[string]string{
		"/proc/1/mountinfo":                 "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
		"/proc/sys/kernel/pid_max":          "32768\n",
		"/proc/sys/kernel/threads-max":      "192730\n",
		"/sys/fs/cgroup/cgroup.controllers": "cpu io memory pids\n",
		"/sys/fs/cgroup/cgroup.procs":       "",
	}
	for p, content := range files {
		out["/sys/fs/cgroup/"+p] = content
	}
	return out
}

func TestThreadsBadInput(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		// want is what the run says of ForkRefused: an error, or a state.
		want string
	}{
		{"garbled loadavg", map[string]string{"/proc/loadavg": "\x00\x01"}, "error"},
		{"no pid_max", map[string]string{"/proc/loadavg": "0 0 0 1/100 5"}, "error"},
		{"garbled pid_max", map[string]string{"/proc/sys/kernel/pid_max": "many", "/proc/sys/kernel/threads-max": "5"}, "error"},
		{"no cgroups", map[string]string{"/proc/sys/kernel/pid_max": "32768", "/proc/sys/kernel/threads-max": "9999"}, "unknown"},
		{"garbled pids.max", cgroup2(map[string]string{"a/pids.current": "1", "a/pids.max": "lots"}), "partial"},
		{"no pids controller", map[string]string{
			"/proc/1/mountinfo":        "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
			"/proc/sys/kernel/pid_max": "32768", "/proc/sys/kernel/threads-max": "9999",
			"/sys/fs/cgroup/cgroup.controllers": "cpu\n", "/sys/fs/cgroup/cgroup.procs": "",
		}, "not-applicable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := NewThreads().Run(context.Background(), tree(t, tc.files))
			got := "fine"
			switch {
			case err != nil:
				got = "error"
			case r.Partial != "":
				got = "partial"
			}
			for _, v := range r.Verdicts {
				if v.Kind == problem.ForkRefused {
					got = v.State.String()
				}
			}
			if got != tc.want {
				t.Errorf("got %s (%v, %+v), want %s", got, err, r, tc.want)
			}
		})
	}
}

// TestCgroupVanishesWhileRead: a cgroup that is removed between its parent's
// listing and its own is no error and no verdict.
func TestCgroupVanishesWhileRead(t *testing.T) {
	n := tree(t, cgroup2(map[string]string{"a/cgroup.procs": "", "b/pids.current": "1", "b/pids.max": "10"}))
	r := run(t, NewThreads(), n)
	if r.Partial != "" {
		t.Errorf("partial: %s", r.Partial)
	}
	if !slices.ContainsFunc(r.Measurements, func(m problem.Measurement) bool { return m.Subject == "cgroup /b" }) {
		t.Errorf("b was not measured: %+v", r.Measurements)
	}
}

func TestByLimiter(t *testing.T) {
	groups := byLimiter([]refusal{
		{at: "/a/x", limiter: "/a", times: 1, pids: cgroup.PIDs{Max: 5}}, {at: "/b", limiter: "/b"}, {at: "/a/y", limiter: "/a", times: 2},
	})
	if len(groups) != 2 || len(groups[0]) != 2 || groups[0][1].at != "/a/y" {
		t.Errorf("%+v", groups)
	}
}

// TestScanSkipsOnlyWhatItKnows: cgroups that are far from their limit are not
// read in every run; one that fills, or whose limit is lowered, is seen all the same.
func TestScanSkipsOnlyWhatItKnows(t *testing.T) {
	files := cgroup2(map[string]string{
		"kubepods/pids.current": "10", "kubepods/pids.max": "max", "kubepods/pids.events": "max 0\n",
		"kubepods/podaaaa/pids.current": "10", "kubepods/podaaaa/pids.max": "1000", "kubepods/podaaaa/pids.events": "max 0\n",
	})
	n := tree(t, files)
	put := func(file, content string) { writeFile(t, n.Host.Root(), "/sys/fs/cgroup/kubepods/"+file, content) }
	const pod = "pod uid aaaa"
	p := NewThreads()
	for range 3 {
		checkSeverity(t, run(t, p, n), problem.CgroupPIDsNearLimit, pod, 0)
	}
	put("pids.current", "990")
	put("podaaaa/pids.current", "990")
	writeFile(t, n.Host.Root(), "/proc/loadavg", "0 0 0 1/2000 1\n")
	checkSeverity(t, run(t, p, n), problem.CgroupPIDsNearLimit, pod, problem.Critical)
	put("pids.current", "30")
	put("podaaaa/pids.current", "20")
	r := run(t, p, n)
	checkSeverity(t, r, problem.CgroupPIDsNearLimit, pod, 0)
	for _, m := range r.Measurements {
		if m.Subject == pod && m.Used > 30 {
			t.Errorf("%g tasks are measured in a pod below a cgroup that has 30", m.Used)
		}
	}
	put("podaaaa/pids.max", "20")
	for range thorough {
		r = run(t, p, n)
	}
	checkSeverity(t, r, problem.CgroupPIDsNearLimit, pod, problem.Critical)
}
