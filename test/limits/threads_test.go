package limits

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// pidsCgroup makes a cgroup below the pids hierarchy, and removes it, with all
// that is above it and was made for it, when the test ends.
func pidsCgroup(t *testing.T, n *probes.Node, path string) string {
	t.Helper()
	needRoot(t)
	if n.Cgroups == nil || !n.Cgroups.Has(cgroup.ControllerPIDs) {
		t.Skip("SKIPPED: this machine has no pids cgroup controller")
	}
	at := ""
	for e := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		at += "/" + e
		dir := n.Cgroups.File(cgroup.ControllerPIDs, at, "")
		err := os.Mkdir(dir, 0o755)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			t.Skipf("SKIPPED: cannot make a cgroup here: %v", err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Errorf("the cgroup of the test stays behind: %v", err)
			}
		})
	}
	return n.Cgroups.File(cgroup.ControllerPIDs, path, "")
}

func put(t *testing.T, dir, file, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

// forker is a helper that starts sleeping children until a fork is refused.
// Orders: "fork N" tries N forks and prints how many were refused; "end" ends
// the children.
func forker() {
	var children []int
	in := bufio.NewScanner(os.Stdin)
	defer func() { reap(children) }()
	fmt.Println("ready")
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		switch verb {
		case "fork":
			count, _ := strconv.Atoi(arg)
			refused := 0
			for range count {
				pid, err := forkSleeper()
				if errors.Is(err, syscall.EAGAIN) {
					refused++
				} else if err != nil {
					fail(err)
				} else {
					children = append(children, pid)
				}
			}
			fmt.Println(refused)
		case "end":
			reap(children)
			children = nil
			fmt.Println("ended")
		}
	}
}

// forkSleeper starts a process that waits for the end of its parent.
func forkSleeper() (int, error) {
	return syscall.ForkExec("/bin/sleep", []string{"sleeper", "600"}, &syscall.ProcAttr{
		Files: []uintptr{0, 2, 2}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
}

func reap(children []int) {
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
	}
}

const podUID = "5382cf41-0000-4000-8000-00000000c0de"

// TestPIDLimitInOnePod: a pod at its pids.max, whose forks are refused: the
// binding limit, the culprit, and that it is no other limit.
func TestPIDLimitInOnePod(t *testing.T) {
	n := node(t)
	top := fmt.Sprintf("/nodevitals-test-%d", os.Getpid())
	pod := top + "/kubepods/burstable/pod" + podUID
	container := pod + "/" + strings.Repeat("c0de", 16)
	containerDir := pidsCgroup(t, n, container)
	neighbour := pidsCgroup(t, n, top+"/kubepods/burstable/pod"+strings.Replace(podUID, "c0de", "beef", 1))
	put(t, neighbour, "pids.max", "1000")
	podDir := filepath.Dir(containerDir)
	put(t, podDir, "pids.max", "1000") // as kubelet does when it makes a pod
	p := probes.NewThreads()
	subject := "pod uid " + podUID

	look(t, p, n) // the baseline
	h := start(t, "forker", nil)
	h.line()
	put(t, containerDir, "cgroup.procs", strconv.Itoa(h.cmd.Process.Pid))
	r := look(t, p, n)
	silent(t, r, problem.ForkRefused, subject)
	silent(t, r, problem.CgroupPIDsNearLimit, subject)

	current, err := os.ReadFile(filepath.Join(podDir, "pids.current"))
	if err != nil {
		t.Fatal(err)
	}
	own, _ := strconv.Atoi(strings.TrimSpace(string(current)))
	put(t, podDir, "pids.max", strconv.Itoa(own+20))
	if refused := h.say("fork 27"); refused != "7" {
		t.Fatalf("%s forks were refused, want 7", refused)
	}

	// A limit that was far away, and was lowered since, is found in the next
	// thorough run, the sixth at most.
	var v *problem.Verdict
	for range 6 {
		if r = look(t, p, n); v == nil {
			v = wrong(r, problem.ForkRefused, subject)
		}
	}
	if v == nil {
		t.Fatalf("no ForkRefused: %+v", r.Verdicts)
	}
	wantMessage := fmt.Sprintf("fork fails: pids.max reached in %s (%d of %d threads, 7 refused)", subject, own+20, own+20)
	if v.Message != wantMessage || v.Severity != problem.Critical || v.Scope != problem.PodScope {
		t.Errorf("got %q (%v, %v), want %q", v.Message, v.Severity, v.Scope, wantMessage)
	}
	if len(v.Holders) == 0 || v.Holders[0].Process != "sleep" || v.Holders[0].Amount != 20 || !strings.Contains(v.Holders[0].Owner, podUID) {
		t.Errorf("holders %+v, want 20 threads of sleep in the pod", v.Holders)
	}
	near := wrong(r, problem.CgroupPIDsNearLimit, subject)
	if near == nil || !near.Refused || !slices.ContainsFunc(near.Touches, func(ref problem.Ref) bool { return problem.Reaches(ref, problem.NewRef(problem.RefCgroup, container)) }) {
		t.Errorf("the limit itself: %+v", near)
	}
	for _, other := range r.Verdicts {
		if other.State == problem.Wrong && other.Subject != subject {
			t.Errorf("somebody else is blamed: %+v", other)
		}
	}

	// Without new refusals, and with room again, both are over.
	h.say("end")
	look(t, p, n)
	r = look(t, p, n)
	silent(t, r, problem.ForkRefused, subject)
	silent(t, r, problem.CgroupPIDsNearLimit, subject)
}

// TestThreadsHealthy: this machine, as it is, has nothing wrong with its limits
// on tasks.
func TestThreadsHealthy(t *testing.T) {
	n := node(t)
	p := probes.NewThreads()
	for range 2 {
		for _, v := range look(t, p, n).Verdicts {
			if v.State == problem.Wrong {
				t.Errorf("%+v", v)
			}
		}
	}
}
