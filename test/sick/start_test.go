package sick

// This file: what there must be for the program to start at all.

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/helper"
	"github.com/nodevitals/nodevitals/test/unprivileged"
)

// run runs the agent through a shell, which has but one thread, and returns what is
// printed and the exit code.
func run(t *testing.T, shell string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", shell}, args...)...)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if out = string(b); strings.Contains(out, "goroutine") || strings.Contains(out, "runtime:") {
		t.Errorf("%v: a stack trace: %s", args, out)
	}
	return out, cmd.ProcessState.ExitCode()
}

const (
	into = `echo 0 >"$0/cgroup.procs" && exec "$@"` // run's in a cgroup

	// below is what is said where nobody can tell whose limit it is.
	below = "agent: cannot start: a limit on threads is used up, there is no room for 5 (EAGAIN"
)

// TestNoRoomToStart: with too little room for its threads the agent says so, and
// whose limit it is, and does not die of it.
func TestNoRoomToStart(t *testing.T) {
	at, dir := newCgroup(t, cgroup.ControllerPIDs, "start")
	bin := build.Agent(t)
	limit := func(room int) { write(t, filepath.Join(dir, "pids.max"), strconv.Itoa(room)) }
	refused := func(room, want int, args ...string) {
		t.Helper()
		limit(room)
		for range 3 {
			out, code := run(t, into, append([]string{dir, bin}, args...)...)
			named := strings.Contains(out, "cannot start: the pids limit of cgroup "+at) &&
				strings.Contains(out, fmt.Sprintf("of %d threads in use", room)) && strings.Contains(out, "EAGAIN")
			if code != want || named != (room >= 5) || !named && !strings.HasPrefix(out, below) {
				t.Errorf("room for %d threads, %v: exit code %d, %s", room, args, code, out)
			}
		}
	}
	for room := 1; room < 10; room++ {
		refused(room, 1)
		refused(room, 1, "version")
		refused(room, 3, "-o", "json", "--once")
	}
	refused(12, 1)
	refused(25, 1)
	// A single look needs little: it does with the least what it does with plenty.
	limit(10)
	for range 3 {
		if out, code := run(t, into, dir, bin, "--once", "-o", "json"); code > 3 || !strings.Contains(out, `"probes"`) {
			t.Errorf("--once with room for 10 threads: exit code %d, %s", code, out)
		}
	}
}

// TestNoRoomForTheUser: the same where it is the user who may have no more, and where
// the children's ends are not to be told.
func TestNoRoomForTheUser(t *testing.T) {
	helper.NeedRoot(t)
	bin := build.Agent(t)
	unprivileged.Open(t, filepath.Dir(bin))
	// A user whom nobody else uses; above the limit he could execute nothing.
	const user = `trap "" CHLD; exec setpriv --reuid=540237 --regid=540237 --clear-groups prlimit --nproc="$0" "$@"`
	for room := 1; room < 10; room++ {
		out, code := run(t, user, strconv.Itoa(room), bin, "version")
		if named := strings.Contains(out, fmt.Sprintf("of %d threads in use", room)); code != 1 || named != (room >= 5) || !named && !strings.HasPrefix(out, below) {
			t.Errorf("room for %d threads: exit code %d, %s", room, code, out)
		}
	}
	if out, code := run(t, user, "10", bin, "version"); code != 0 {
		t.Errorf("room for 10 threads: exit code %d, %s", code, out)
	}
}

// TestStartsOnOneProcessor: the Go runtime starts on one processor, however many there
// are, since each may cost a thread; unless the user says how many. A single look
// uses all of them then.
func TestStartsOnOneProcessor(t *testing.T) {
	bin := build.Agent(t)
	processors := regexp.MustCompile(`SCHED \d+ms: gomaxprocs=(\d+) `)
	all := strconv.Itoa(runtime.GOMAXPROCS(0))
	for _, c := range []struct{ env, first, last string }{
		{"A=b", "1", all},
		{"GOMAXPROCS=3", "3", "3"},
	} {
		cmd := exec.Command(bin, "--once")
		cmd.Env = []string{"GODEBUG=schedtrace=1", c.env}
		out, _ := cmd.CombinedOutput()
		told := processors.FindAllStringSubmatch(string(out), -1)
		if len(told) < 2 || told[0][1] != c.first || told[len(told)-1][1] != c.last {
			t.Errorf("with %s: %.2000s", c.env, out)
		}
	}
}
