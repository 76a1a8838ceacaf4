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
	"slices"
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
	for _, m := range fuseMounts() { // such as other tests have made hang
		must("unmount", unix.Unmount(m, unix.MNT_DETACH))
	}
	must("folders", unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	must("folder", os.Mkdir(dir+controls, 0o755))
	if err := unix.Mount("fusectl", dir+controls, "fusectl", 0, ""); err != nil {
		fmt.Println("skip: fusectl:", err)
		os.Exit(0)
	}
	must("connections", unix.Mount("tmpfs", connections, "tmpfs", 0, ""))
	for i := range n {
		dirs = append(dirs, fmt.Sprintf("%s/m%02d", dir, i))
		must("folder", os.Mkdir(dirs[i], 0o755))
	}
	// PID 1 is the machine's, and its namespace another.
	must("mountinfo", unix.Mount("/proc/self/mountinfo", "/proc/1/mountinfo", "", unix.MS_BIND, ""))
	return dirs
}

const (
	connections = "/sys/fs/fuse/connections"
	controls    = "/fusectl" // in the cell's folder: those of the whole machine
)

// showConnections makes the connections of a cell's mounts those that the cell sees.
func showConnections(dirs []string) {
	for _, dir := range dirs {
		number, err := connectionOf(dir)
		if err == nil {
			err = os.Mkdir(connections+"/"+number, 0o755)
		}
		if err == nil {
			err = unix.Mount(filepath.Dir(dir)+controls+"/"+number, connections+"/"+number, "", unix.MS_BIND, "")
		}
		if err != nil {
			fail(err)
		}
	}
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

// ownMounts is the mount table of this process.
func ownMounts() mounts.Table {
	table, err := mounts.Own()
	if err != nil {
		fail(err)
	}
	return table
}

// fuseMounts are the mount points of FUSE in this namespace, innermost first.
func fuseMounts() (points []string) {
	for _, m := range slices.Backward(ownMounts().Mounts) {
		if m.FUSE() {
			points = append(points, m.Point)
		}
	}
	return points
}

// connectionOf is the number of the connection behind the FUSE mount at dir.
func connectionOf(dir string) (string, error) {
	m, ok := ownMounts().At(dir)
	if !ok || m.Point != dir || !m.FUSE() {
		return "", fmt.Errorf("no FUSE mount at %s", dir)
	}
	return strconv.Itoa(int(m.Minor)), nil
}

// abortFUSE ends the connection of the FUSE mount at dir, as if its server had died.
func abortFUSE(dir string) error {
	number, err := connectionOf(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(connections, number, "abort"), []byte("1"), 0)
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
