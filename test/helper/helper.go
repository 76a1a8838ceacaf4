// Package helper starts the test binary itself as another program: one that uses
// a limit up, or becomes the agent within limits and namespaces of its own.
package helper

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Env is the variable that names the helper that a process is to be.
const Env = "NODEVITALS_TEST_HELPER"

// Main is for TestMain: it runs the helper that this process is to be, if any,
// and ends, and otherwise the tests. Helpers read orders from standard input, a
// line each, and end when it is closed.
func Main(m *testing.M, helpers map[string]func()) {
	if name := os.Getenv(Env); name != "" {
		helpers[name]()
		return
	}
	os.Exit(m.Run())
}

// Command is the test binary as a helper, not started yet.
func Command(name string, environ ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), append(environ, Env+"="+name)...)
	return cmd
}

// Helper is a running helper process.
type Helper struct {
	t     testing.TB
	Cmd   *exec.Cmd
	Stdin io.WriteCloser
	Out   *bufio.Scanner
}

// Start starts a helper; attr may put it into namespaces. It is ended, and waited
// for, when the test ends.
func Start(t testing.TB, name string, attr *syscall.SysProcAttr, environ ...string) *Helper {
	t.Helper()
	cmd := Command(name, environ...)
	cmd.SysProcAttr = attr
	return StartCommand(t, name, cmd)
}

// StartCommand starts a program that is, or becomes, the helper of that name.
func StartCommand(t testing.TB, name string, cmd *exec.Cmd) *Helper {
	t.Helper()
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("helper %s: %v", name, err)
	}
	h := &Helper{t: t, Cmd: cmd, Stdin: stdin, Out: bufio.NewScanner(stdout)}
	h.Out.Buffer(nil, 16<<20)
	t.Cleanup(h.End)
	return h
}

// Say sends an order and returns the answer, a line.
func (h *Helper) Say(order string) string {
	h.t.Helper()
	if _, err := fmt.Fprintln(h.Stdin, order); err != nil {
		h.t.Fatal(err)
	}
	return h.Line()
}

// Line is the next line that the helper prints.
func (h *Helper) Line() string {
	h.t.Helper()
	if !h.Out.Scan() {
		h.t.Fatalf("the helper ended early: %v", h.Out.Err())
	}
	if msg, bad := strings.CutPrefix(h.Out.Text(), "error: "); bad {
		h.t.Fatal(msg)
	}
	return h.Out.Text()
}

// End closes the helper's input and waits until it is gone; a second time it
// does nothing.
func (h *Helper) End() {
	if h.Cmd.ProcessState != nil {
		return
	}
	_ = h.Stdin.Close()
	gone := make(chan struct{})
	go func() { _ = h.Cmd.Wait(); close(gone) }()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		_ = h.Cmd.Process.Kill()
		<-gone
	}
}

// Fail is how a helper reports an error to its test.
func Fail(err error) {
	fmt.Println("error:", err)
	os.Exit(1)
}

// NeedRoot skips a test that anybody else cannot run.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root: it makes cgroups, namespaces or mounts of its own")
	}
}
