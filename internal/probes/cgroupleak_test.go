package probes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

// Lines of /proc/1/mountinfo.
const (
	mountinfoV2 = "33 24 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
	mountinfoV1 = "34 24 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:10 - cgroup cgroup rw,memory\n"
)

const (
	podUID      = "5382cf41-1111-4222-8333-444455556666"
	containerID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	linux6      = "Linux version 6.1.0 (x)\n"
	linux3      = "Linux version 3.10.0-1160.el7 (x)\n"
	swapsNone   = "Filename\tType\tSize\tUsed\tPriority\n"
	swapsOne    = swapsNone + "/dev/sda2 partition 1000 0 -2\n"
)

func TestEvaluateCgroupLeak(t *testing.T) {
	some := func(n int) map[uint64]struct{} {
		m := map[uint64]struct{}{}
		for i := range n {
			m[uint64(i)] = struct{}{}
		}
		return m
	}
	for _, tc := range []struct {
		name    string
		c       cgroupCount
		subject string
		want    problem.Severity
		refused bool
	}{
		{"healthy", cgroupCount{live: 300, dying: 25, ids: 300, empty: some(3)}, "", 0, false},
		{"look-alike: many pods", cgroupCount{live: 5000, dying: 900, ids: 5000}, "", 0, false},
		{"look-alike: a CI node removes thousands", cgroupCount{live: 3000, dying: 9000, ids: 3000, grown: 500}, "", 0, false},
		{"look-alike: emptied just now", cgroupCount{live: 3000, empty: some(2000), longEmpty: 20}, "", 0, false},
		{"empty ones", cgroupCount{live: 3000, empty: some(2000), longEmpty: 1000}, "empty cgroups", problem.Warning, false},
		{"dying ones", cgroupCount{live: 300, dying: 10_000}, "dying cgroups", problem.Warning, false},
		{"ever more dying ones", cgroupCount{live: 300, dying: 2000, grown: 1000}, "dying cgroups", problem.Warning, false},
		{"ids run out", cgroupCount{ids: 60_000}, "memory cgroup ids", problem.Critical, false},
		{"ids are gone", cgroupCount{ids: 65_535}, "memory cgroup ids", problem.Critical, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := evaluateCgroupLeak(tc.c, NewCgroupLeak().Thresholds)
			if v := checkSeverity(t, r, problem.CgroupLeak, tc.subject, tc.want); v.Refused != tc.refused {
				t.Errorf("refused %v", v.Refused)
			}
			if (len(r.Verdicts) == 0) != (tc.want == 0) || len(r.Measurements) != 3 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// The recorded node has 300 dying cgroups below one service, of 325.
func TestCgroupLeakNamesTheService(t *testing.T) {
	n := nodeAt(t, fixtures.Node(t, "dying-cgroups-k6.12"))
	p := NewCgroupLeak()
	r, err := p.Run(t.Context(), n)
	if err != nil || len(r.Verdicts) != 0 {
		t.Fatalf("by default 325 are not worth a word: %v %+v", err, r.Verdicts)
	}
	checkUsed(t, r, "cgroups_dying", 325)
	checkUsed(t, r, "cgroup_memory_ids", 38) // no swap: the dying ones gave theirs back
	p.Thresholds.Dying = 300
	if r, err = p.Run(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	v := checkSeverity(t, r, problem.CgroupLeak, "unit leaky.service", problem.Warning)
	if len(r.Verdicts) != 1 || len(v.Holders) != 1 || v.Holders[0].Amount != 300 || v.Holders[0].Owner != v.Subject {
		t.Errorf("%+v", r.Verdicts)
	}
}

func TestCgroupLeakOnHealthyNodes(t *testing.T) {
	for _, state := range fixtures.States(t) {
		if strings.HasPrefix(state, "container-view") {
			continue
		}
		r, err := NewCgroupLeak().Run(t.Context(), nodeAt(t, fixtures.Node(t, state)))
		if err != nil || r.Partial != "" || len(r.Verdicts) != 0 {
			t.Errorf("%s: %v %+v", state, err, r)
		}
	}
}

func TestEmptyCgroups(t *testing.T) {
	pod := "/kubepods/burstable/pod" + podUID
	for _, mode := range []string{"v1", "v2"} {
		t.Run(mode, func(t *testing.T) {
			top, mountinfo := "/sys/fs/cgroup", mountinfoV2
			if mode == "v1" {
				top, mountinfo = "/sys/fs/cgroup/memory", mountinfoV1
			}
			n := tree(t, map[string]string{
				"/proc/1/mountinfo":         mountinfo,
				"/proc/version":             linux6,
				"/proc/swaps":               swapsNone,
				"/proc/cgroups":             "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t8\t1\n",
				top + "/cgroup.procs":       "1\n",
				top + "/cgroup.controllers": "memory\n",
				top + "/cgroup.stat":        "nr_descendants 7\nnr_dying_descendants 0\n",
			})
			set := func(path string, procs string, populated int) {
				writeFile(t, n.Host.Root(), top+path+"/cgroup.procs", procs)
				writeFile(t, n.Host.Root(), top+path+"/cgroup.events", fmt.Sprintf("populated %d\nfrozen 0\n", populated))
			}
			// Empty by design: no pod's nor container's own.
			for _, at := range []string{"/kubepods", "/kubepods/burstable", "/kubepods/besteffort", "/user.slice"} {
				set(at, "", 0)
			}
			set(pod, "", 1)
			set(pod+"/"+containerID, "", 1)
			set(pod+"/"+containerID+"/nested", "42\n", 1)
			clock := &testClock{boot: time.Hour}
			n = nodeAt(t, n.Host.Root())
			n.Host.Clock = clock
			p := NewCgroupLeak()
			p.Thresholds.Empty = 2
			look := func(empty float64, want problem.Severity) {
				t.Helper()
				r, err := p.Run(t.Context(), n)
				if err != nil || r.Partial != "" {
					t.Fatal(err, r.Partial)
				}
				checkUsed(t, r, "cgroups_empty", empty)
				checkUsed(t, r, "cgroups_dying", 0)
				checkSeverity(t, r, problem.CgroupLeak, "empty cgroups", want)
			}
			look(0, 0)
			set(pod, "", 0)
			set(pod+"/"+containerID, "", 0)
			set(pod+"/"+containerID+"/nested", "", 0)
			look(2, 0)
			clock.boot += time.Hour - time.Second
			look(2, 0)
			clock.boot += time.Second
			look(2, problem.Warning)
			set(pod+"/"+containerID+"/nested", "43\n", 1)
			set(pod+"/"+containerID, "", 1)
			set(pod, "", 1)
			look(0, 0)
			// Empty again: the hour begins anew.
			set(pod+"/"+containerID+"/nested", "", 0)
			set(pod+"/"+containerID, "", 0)
			set(pod, "", 0)
			look(2, 0)
			clock.boot += time.Hour
			look(2, problem.Warning)
			if err := os.RemoveAll(n.Host.Path(top + pod)); err != nil {
				t.Fatal(err)
			}
			writeFile(t, n.Host.Root(), "/proc/cgroups", "memory\t4\t5\t1\n")
			look(0, 0)
		})
	}
}

func TestDyingOnV1(t *testing.T) {
	for _, tc := range []struct {
		name       string
		num        int
		version    string
		swaps      string
		dying, ids float64
	}{
		{"none", 3, linux6, swapsNone, 0, 3},
		{"one was removed while we walked", 2, linux6, swapsNone, 0, 3},
		{"some", 40, linux6, swapsNone, 37, 3},
		{"some, and swap holds their ids", 40, linux6, swapsOne, 37, 40},
		{"some, and an old kernel holds their ids", 40, linux3, swapsNone, 37, 40},
	} {
		t.Run(tc.name, func(t *testing.T) {
			top := "/sys/fs/cgroup/memory"
			n := tree(t, map[string]string{
				"/proc/1/mountinfo":       mountinfoV1,
				"/proc/version":           tc.version,
				"/proc/swaps":             tc.swaps,
				"/proc/cgroups":           fmt.Sprintf("#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t9\t1\nmemory\t4\t%d\t1\n", tc.num),
				top + "/cgroup.procs":     "1\n",
				top + "/a/cgroup.procs":   "",
				top + "/a/b/cgroup.procs": "",
			})
			p := NewCgroupLeak()
			p.Thresholds.Dying = 37
			r, err := p.Run(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			checkUsed(t, r, "cgroups_dying", tc.dying)
			checkUsed(t, r, "cgroup_memory_ids", tc.ids)
			want := problem.Severity(0)
			if tc.dying >= 37 {
				want = problem.Warning
			}
			checkSeverity(t, r, problem.CgroupLeak, "dying cgroups", want)
		})
	}
}

func TestCgroupLeakCannotTell(t *testing.T) {
	top := "/sys/fs/cgroup/memory"
	files := map[string]string{
		"/proc/1/mountinfo": mountinfoV1, "/proc/version": linux6, "/proc/swaps": swapsNone,
		"/proc/cgroups": "memory\t4\t3\t1\n", top + "/cgroup.procs": "1\n",
	}
	if _, err := NewCgroupLeak().Run(t.Context(), tree(t, files)); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{
		"/proc/cgroups": "memory\t4\tmany\t1\n", "/proc/version": "Windows\n",
	} {
		n := tree(t, files)
		writeFile(t, n.Host.Root(), file, content)
		if r, err := NewCgroupLeak().Run(t.Context(), n); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("garbled %s: %v %+v", file, err, r)
		}
		if err := os.Remove(filepath.Join(n.Host.Root(), file)); err != nil {
			t.Fatal(err)
		}
		if r, err := NewCgroupLeak().Run(t.Context(), n); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("missing %s: %v %+v", file, err, r)
		}
	}
	if _, err := NewCgroupLeak().Run(t.Context(), tree(t, nil)); err == nil {
		t.Error("a host without cgroups is fine")
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{time.Hour: "1h", 15 * time.Minute: "15m", 10 * time.Second: "10s", 90 * time.Minute: "1h30m", 20 * time.Minute: "20m"} {
		if got := duration(d); got != want {
			t.Errorf("%v renders as %q, want %q", d, got, want)
		}
	}
}

func FuzzParseProcCgroups(f *testing.F) {
	f.Add([]byte("#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t231\t1\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if n, err := parseProcCgroups(raw, "memory"); err == nil && n < 0 {
			t.Errorf("%q: %d", raw, n)
		}
	})
}

// checkUsed checks the amount of the node's measurement.
func checkUsed(t *testing.T, r problem.Result, resource string, want float64) {
	t.Helper()
	for _, m := range r.Measurements {
		if m.Resource == resource && m.Subject == "" {
			if m.Used != want {
				t.Errorf("%s is %v, want %v", resource, m.Used, want)
			}
			return
		}
	}
	t.Errorf("no %s in %+v", resource, r.Measurements)
}
