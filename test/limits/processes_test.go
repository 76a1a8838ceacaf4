package limits

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// secondUID is a user id that nobody else on a machine has.
const secondUID = 54321

// userForker is forker as another user with a low RLIMIT_NPROC. The limit comes
// from the environment.
func userForker() {
	limit, _ := strconv.ParseUint(os.Getenv("NPROC"), 10, 64)
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		fail(err)
	}
	forker()
}

// TestUserAtRLIMITNPROC: a user whose threads have reached RLIMIT_NPROC, in a
// pod. The pod's own limit is not the one that binds.
func TestUserAtRLIMITNPROC(t *testing.T) {
	n := node(t)
	top := fmt.Sprintf("/nodevitals-test-%d", os.Getpid())
	dir := pidsCgroup(t, n, top+"/kubepods/burstable/pod"+podUID)
	put(t, dir, "pids.max", "1000")
	p := probes.NewProcesses()
	subject := fmt.Sprintf("uid %d", secondUID)
	silent(t, look(t, p, n), problem.UserProcessesNearLimit, subject)

	const limit = 40
	h := start(t, "user-forker", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: secondUID, Gid: secondUID}}, fmt.Sprint("NPROC=", limit))
	h.line()
	put(t, dir, "cgroup.procs", strconv.Itoa(h.cmd.Process.Pid))
	silent(t, look(t, p, n), problem.UserProcessesNearLimit, subject)
	refused, _ := strconv.Atoi(h.say(fmt.Sprintf("fork %d", limit+10)))
	if refused < 10 {
		t.Fatalf("%d forks were refused", refused)
	}
	r := look(t, p, n)
	v := wrong(r, problem.UserProcessesNearLimit, subject)
	if v == nil {
		t.Fatalf("no verdict: %+v", r.Verdicts)
	}
	want := fmt.Sprintf("%s is at 100 %% (%d of %d threads) of RLIMIT_NPROC", subject, limit, limit)
	if !strings.HasPrefix(v.Message, want) || v.Severity != problem.Critical || !v.Refused || v.Scope != problem.PodScope {
		t.Errorf("%+v, want %q", *v, want)
	}
	if len(v.Holders) == 0 || v.Holders[0].Process != "sleep" || !strings.Contains(v.Holders[0].Owner, podUID) {
		t.Errorf("holders %+v, want sleep in the pod", v.Holders)
	}
	// The cgroup has room: that look stays silent.
	silent(t, look(t, probes.NewThreads(), n), problem.CgroupPIDsNearLimit, "pod uid "+podUID)

	h.say("end")
	silent(t, look(t, p, n), problem.UserProcessesNearLimit, subject)
}

// negligent is a helper that starts children and does not wait for them.
// Orders: "zombies N" makes N zombies; "wait" waits for them all.
func negligent() {
	var pids []int
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		switch verb {
		case "zombies":
			count, _ := strconv.Atoi(arg)
			for range count {
				pid, err := syscall.ForkExec("/bin/true", []string{"true"}, nil)
				if err != nil {
					fail(err)
				}
				// It has ended, and is not waited for yet.
				if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
					fail(err)
				}
				pids = append(pids, pid)
			}
		case "wait":
			for _, pid := range pids {
				if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil && !errors.Is(err, syscall.ECHILD) {
					fail(err)
				}
			}
		}
		fmt.Println("done")
	}
}

// TestZombies: a parent that does not wait for its children.
func TestZombies(t *testing.T) {
	n := node(t)
	p := probes.NewProcesses()
	p.Thresholds.Zombies = 30
	h := start(t, "negligent", nil)
	h.line()
	comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(h.cmd.Process.Pid), "comm"))
	if err != nil {
		t.Fatal(err)
	}
	subject := fmt.Sprintf("%s[%d]", strings.TrimSpace(string(comm)), h.cmd.Process.Pid)
	h.say("zombies 29")
	silent(t, look(t, p, n), problem.ZombieProcesses, subject)
	h.say("zombies 1")
	v := wrong(look(t, p, n), problem.ZombieProcesses, subject)
	if v == nil || !strings.Contains(v.Message, "30 zombies") {
		t.Fatalf("%+v", v)
	}
	h.say("wait")
	silent(t, look(t, p, n), problem.ZombieProcesses, subject)
}
