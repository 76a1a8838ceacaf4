package probes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

// proc adds a process to a host's files.
func proc(files map[string]string, pid int, comm string, state string, ppid, threads, uid int, capEff, nproc, cg string) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	rest := strings.Repeat(" 0", 40)
	files[dir+"stat"] = fmt.Sprintf("%d (%s) %s %d 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 %d 0 100%s\n", pid, comm, state, ppid, threads, rest)
	files[dir+"status"] = fmt.Sprintf("Name:\t%s\nUid:\t%d\t%d\t%d\t%d\nThreads:\t%d\nCapEff:\t%s\n", comm, uid, uid, uid, uid, threads, capEff)
	files[dir+"limits"] = fmt.Sprintf("Limit                     Soft Limit           Hard Limit           Units     \n"+
		"Max processes             %-20s %-20s processes \nMax open files            1024                 4096                 files     \n", nproc, nproc)
	files[dir+"cgroup"] = "0::" + cg + "\n"
}

const (
	noCaps  = "0000000000000000"
	sysRes  = "0000000001000000"
	podCg   = "/kubepods/podaaaa"
	otherCg = "/user.slice"
)

func TestUserProcesses(t *testing.T) {
	for _, tc := range []struct {
		name string
		add  func(map[string]string)
		want problem.Severity
	}{
		{"healthy", func(f map[string]string) { proc(f, 10, "app", "S", 1, 30, 1000, noCaps, "100", podCg) }, 0},
		{"one container has most", func(f map[string]string) { proc(f, 10, "app", "S", 1, 97, 1000, noCaps, "100", podCg) }, problem.Critical},
		{"summed over pods", func(f map[string]string) {
			proc(f, 10, "app", "S", 1, 45, 1000, noCaps, "100", podCg)
			proc(f, 11, "app", "S", 1, 45, 1000, noCaps, "unlimited", "/kubepods/podbbbb")
		}, problem.Warning},
		{"look-alike: uid 0 is exempt", func(f map[string]string) { proc(f, 10, "app", "S", 1, 97, 0, noCaps, "100", podCg) }, 0},
		{"look-alike: CAP_SYS_RESOURCE is exempt", func(f map[string]string) { proc(f, 10, "app", "S", 1, 97, 1000, sysRes, "100", podCg) }, 0},
		{"look-alike: no limit", func(f map[string]string) { proc(f, 10, "app", "S", 1, 9700, 1000, noCaps, "unlimited", podCg) }, 0},
		{"look-alike: a login session", func(f map[string]string) { proc(f, 10, "bash", "S", 1, 97, 1000, noCaps, "100", otherCg) }, 0},
		{"a comm with parentheses and spaces", func(f map[string]string) { proc(f, 10, "a) R (b c", "S", 1, 97, 1000, noCaps, "100", podCg) }, problem.Critical},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := cgroup2(map[string]string{"kubepods/podaaaa/cgroup.procs": ""})
			tc.add(files)
			r := run(t, NewProcesses(), tree(t, files))
			checkSeverity(t, r, problem.UserProcessesNearLimit, "uid 1000", tc.want)
			if r.Partial != "" {
				t.Error(r.Partial)
			}
		})
	}
}

func TestZombies(t *testing.T) {
	files := cgroup2(nil)
	proc(files, 50, "negligent", "S", 1, 1, 0, noCaps, "unlimited", podCg)
	for i := range 99 {
		proc(files, 100+i, "child", "Z", 50, 1, 0, noCaps, "unlimited", podCg)
	}
	n := tree(t, files)
	checkSeverity(t, run(t, NewProcesses(), n), problem.ZombieProcesses, "negligent[50]", 0)
	proc(files, 300, "child", "Z", 50, 1, 0, noCaps, "unlimited", podCg)
	v := checkSeverity(t, run(t, NewProcesses(), tree(t, files)), problem.ZombieProcesses, "negligent[50]", problem.Warning)
	if v.Scope != problem.PodScope || !strings.Contains(v.Message, "pod uid aaaa") {
		t.Errorf("%+v", v)
	}
}

// TestZombiesAtALimit: zombies are tied to the limits that they take a quarter of,
// and there are worth a word also if they are few.
func TestZombiesAtALimit(t *testing.T) {
	for _, tc := range []struct {
		zombies     int
		max, pidMax string
		want        []problem.Ref // beside the process
		silent      bool
	}{
		{zombies: 60, max: "64", pidMax: "32768", want: []problem.Ref{"pod:aaaa", "cgroup:/kubepods/podaaaa"}},
		{zombies: 60, max: "1024", pidMax: "32768", silent: true},
		{zombies: 9, max: "10", pidMax: "32768", silent: true}, // the parent may just be slow
		{zombies: 100, max: "4096", pidMax: "32768"},
		{zombies: 100, max: "max", pidMax: "301", want: []problem.Ref{problem.NodeThreads}},
	} {
		files := cgroup2(map[string]string{
			"kubepods/podaaaa/cgroup.procs": "", "kubepods/podaaaa/pids.max": tc.max + "\n", "kubepods/podaaaa/pids.current": "64\n",
		})
		files["/proc/sys/kernel/pid_max"] = tc.pidMax + "\n"
		proc(files, 50, "negligent", "S", 1, 1, 0, noCaps, "unlimited", podCg)
		for i := range tc.zombies {
			proc(files, 100+i, "child", "Z", 50, 1, 0, noCaps, "unlimited", podCg)
		}
		severity := problem.Warning
		if tc.silent {
			severity = 0
		}
		v := checkSeverity(t, run(t, NewProcesses(), tree(t, files)), problem.ZombieProcesses, "negligent[50]", severity)
		if want := append([]problem.Ref{"process:negligent"}, tc.want...); !tc.silent && !slices.Equal(v.Touches, want) {
			t.Errorf("%d zombies of %s: %v, want %v", tc.zombies, tc.max, v.Touches, want)
		}
	}
}

func TestProcessesBadInput(t *testing.T) {
	t.Run("no process at all", func(t *testing.T) {
		if r, err := NewProcesses().Run(context.Background(), tree(t, nil)); err == nil {
			t.Errorf("fine: %+v", r)
		}
	})
	t.Run("a garbled stat", func(t *testing.T) {
		files := cgroup2(nil)
		proc(files, 10, "app", "S", 1, 1, 1000, noCaps, "100", podCg)
		files["/proc/11/stat"] = "garbage"
		if r := run(t, NewProcesses(), tree(t, files)); r.Partial == "" {
			t.Errorf("nothing is said: %+v", r)
		}
	})
	t.Run("vanished between stat and status", func(t *testing.T) {
		files := cgroup2(nil)
		proc(files, 10, "app", "S", 1, 1, 1000, noCaps, "100", podCg)
		proc(files, 11, "gone", "S", 1, 1, 1000, noCaps, "100", podCg)
		delete(files, "/proc/11/status")
		if r := run(t, NewProcesses(), tree(t, files)); r.Partial != "" {
			t.Errorf("a process that ended is no blindness: %s", r.Partial)
		}
	})
}

// TestProcessesOnRecordedNodes: none of them has a user near a limit, or zombies.
func TestProcessesOnRecordedNodes(t *testing.T) {
	for _, state := range []string{"healthy-k6.1", "healthy-k6.12", "healthy-cgroupfs-k6.1"} {
		r := run(t, NewProcesses(), nodeAt(t, fixtures.Node(t, state)))
		for _, v := range r.Verdicts {
			t.Errorf("%s: %+v", state, v)
		}
	}
}
