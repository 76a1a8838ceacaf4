package limits

// A cell is a mount namespace of its own in which file systems hang: whoever looks
// at PID 1's mounts there sees the cell's, and nobody outside sees any of it. The FUSE
// server makes it and goes with it: its end lets all go that wait.

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
)

// makeCell makes the namespace that this process is in a cell, and n folders.
func makeCell(dir string, n int) (dirs []string) {
	must := func(what string, err error) {
		if err != nil {
			fail(fmt.Errorf("%s: %w", what, err))
		}
	}
	must("private mounts", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must("folders", unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	if err := unix.Mount("fusectl", "/sys/fs/fuse/connections", "fusectl", 0, ""); err != nil {
		fmt.Println("skip: fusectl:", err)
		os.Exit(0)
	}
	for i := range n {
		dirs = append(dirs, fmt.Sprintf("%s/m%02d", dir, i))
		must("folder", os.Mkdir(dirs[i], 0o755))
	}
	// PID 1 is the machine's, and its namespace another.
	must("mountinfo", unix.Mount("/proc/self/mountinfo", "/proc/1/mountinfo", "", unix.MS_BIND, ""))
	return dirs
}

// cell is a running one.
type cell struct {
	*helper
	dir string
}

// newCell makes a cell with n FUSE mounts that answer.
func newCell(t *testing.T, n int) cell {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	server := start(t, "fuse-server", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}, fuseDir+"="+dir, fuseMany+"="+strconv.Itoa(n))
	if said := server.line(); said != "mounted" {
		t.Skipf("SKIPPED: no FUSE here: %s", said)
	}
	return cell{server, dir}
}

func (c cell) mount(i int) string { return fmt.Sprintf("%s/m%02d", c.dir, i) }

// held is how many requests the server holds back.
func (c cell) held() int {
	c.t.Helper()
	n, err := strconv.Atoi(c.say("count"))
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

const (
	cellPID  = "NODEVITALS_TEST_CELL"
	cellArgs = "NODEVITALS_TEST_CELL_ARGS"
)

// command is a program to be run in the cell.
func (c cell) command(args ...string) *exec.Cmd {
	raw, err := json.Marshal(args)
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=cellmate", cellPID+"="+strconv.Itoa(c.cmd.Process.Pid), cellArgs+"="+string(raw))
	return cmd
}

// start starts a helper in the cell. One that is stuck there is let go by the end
// of the server, which comes first.
func (c cell) start(name string, env ...string) *helper {
	c.t.Helper()
	args := append([]string{"/usr/bin/env", helperEnv + "=" + name}, env...)
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		c.t.Fatal(err)
	}
	h := startCommand(c.t, name, c.command(append(args, exe)...))
	c.t.Cleanup(c.end)
	return h
}

// cellmate enters a cell and becomes a program.
func cellmate() {
	runtime.LockOSThread() // namespaces are a thread's, until it executes another program
	ns, err := os.Open("/proc/" + os.Getenv(cellPID) + "/ns/mnt")
	if err != nil {
		fail(err)
	}
	var args []string
	if err := json.Unmarshal([]byte(os.Getenv(cellArgs)), &args); err != nil {
		fail(err)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		fail(err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		fail(err)
	}
	for _, name := range []string{helperEnv, cellPID, cellArgs} {
		_ = os.Unsetenv(name)
	}
	fail(unix.Exec(args[0], args, os.Environ()))
}

// abortFUSE ends the connection of the FUSE mount at dir, as if its server had died.
func abortFUSE(dir string) error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	table, err := mounts.Parse("mountinfo", raw)
	if err != nil {
		return err
	}
	m, _ := table.At(dir)
	return os.WriteFile(filepath.Join("/sys/fs/fuse/connections", strconv.Itoa(int(m.Minor)), "abort"), []byte("1"), 0)
}

// statusOf is fields of /proc/PID/status.
func statusOf(t *testing.T, pid int, field string) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.Atoi(strings.Fields(v)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("process %d has no %s", pid, field)
	return 0
}
