package limits

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// daemonName is a runtime's name that no process of a machine with tests bears.
const daemonName = "crio"

// hoarder is a helper that calls itself a container runtime and opens files.
// Orders: "open" opens them until it is refused, and prints the limit; "close"
// closes them.
func hoarder() {
	const limit = 64
	if err := os.WriteFile("/proc/self/comm", []byte(daemonName), 0o644); err != nil {
		fail(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		fail(err)
	}
	var fds []int
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		switch in.Text() {
		case "open":
			for {
				fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if errors.Is(err, unix.EMFILE) {
					break
				}
				if err != nil {
					fail(err)
				}
				fds = append(fds, fd)
			}
		case "close":
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			fds = nil
		}
		fmt.Println(limit)
	}
}

// TestDaemonOutOfFiles: a container runtime opens all files that its limit allows.
func TestDaemonOutOfFiles(t *testing.T) {
	needRoot(t)
	p, n := probes.NewDaemonFiles(), node(t)
	h := start(t, "hoarder", nil)
	h.line()
	silent(t, look(t, p, n), problem.DaemonFilesNearLimit, daemonName)

	limit, err := strconv.ParseFloat(h.say("open"), 64)
	if err != nil {
		t.Fatal(err)
	}
	r := look(t, p, n)
	v := wrong(r, problem.DaemonFilesNearLimit, daemonName)
	if v == nil {
		t.Fatalf("no verdict: %+v", r)
	}
	if v.Severity != problem.Critical || !v.Refused {
		t.Errorf("severity %s, refused %t", v.Severity, v.Refused)
	}
	// A descriptor that was inherited may be above the limit.
	if m := measured(t, r, "daemon_files", daemonName); m.Used < limit || m.Max != limit {
		t.Errorf("measured %+v, want at least %v of %v", m, limit, limit)
	}
	if len(v.Holders) != 1 || v.Holders[0].PID != h.cmd.Process.Pid || v.Holders[0].Process != daemonName {
		t.Errorf("holders %+v, want process %d", v.Holders, h.cmd.Process.Pid)
	}

	h.say("close")
	silent(t, look(t, p, n), problem.DaemonFilesNearLimit, daemonName)
}
