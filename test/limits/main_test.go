// Package limits makes real failures, each within a cgroup, a namespace or a
// file system of its own, and checks that the probes report them with the
// right kind, subject, numbers and culprit; and that they are silent before
// and after.
package limits

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/agent"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/mounthelper"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// helperEnv names the helper that this process is; see start.
const helperEnv = "NODEVITALS_TEST_HELPER"

// helpers are what the test binary can be started as, instead of its tests: the
// programs that use a limit up. They read orders from standard input, a line
// each, and end when it is closed.
func helpers() map[string]func() {
	return map[string]func(){
		"forker":      forker,
		"user-forker": userForker,
		"negligent":   negligent,
		"eater":       eater,
		"pod":         pod,

		"inotify-eater": inotifyEater,
		"flooder":       flooder,
		"neighbourly":   neighbourly,
		"networked":     networked,
		"hoarder":       hoarder,
		"holder":        holder,
		"fuse-server":   fuseServer,
		"fuse-user":     fuseUser,
		"cellmate":      cellmate,
		"mount-prober":  mountProber,
	}
}

func TestMain(m *testing.M) {
	mounthelper.ServeIfAsked(agent.UnmapText)
	if name := os.Getenv(helperEnv); name != "" {
		helpers()[name]()
		return
	}
	os.Exit(m.Run())
}

// helper is a running helper process.
type helper struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Scanner
}

// start starts the test binary as a helper; attr may put it into namespaces. It
// is ended, and waited for, when the test ends.
func start(t *testing.T, name string, attr *syscall.SysProcAttr, env ...string) *helper {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), append(env, helperEnv+"="+name)...)
	cmd.SysProcAttr = attr
	return startCommand(t, name, cmd)
}

// startCommand starts a program that becomes a helper.
func startCommand(t *testing.T, name string, cmd *exec.Cmd) *helper {
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
	h := &helper{t: t, cmd: cmd, stdin: stdin, out: bufio.NewScanner(stdout)}
	h.out.Buffer(nil, 16<<20)
	t.Cleanup(h.end)
	return h
}

// say sends an order and returns the answer, a line.
func (h *helper) say(order string) string {
	h.t.Helper()
	if _, err := fmt.Fprintln(h.stdin, order); err != nil {
		h.t.Fatal(err)
	}
	return h.line()
}

// line is the next line that the helper prints.
func (h *helper) line() string {
	h.t.Helper()
	if !h.out.Scan() {
		h.t.Fatalf("the helper ended early: %v", h.out.Err())
	}
	if msg, bad := strings.CutPrefix(h.out.Text(), "error: "); bad {
		h.t.Fatal(msg)
	}
	return h.out.Text()
}

// end closes the helper's input and waits until it is gone; a second time it
// does nothing.
func (h *helper) end() {
	if h.cmd.ProcessState != nil {
		return
	}
	_ = h.stdin.Close()
	gone := make(chan struct{})
	go func() { _ = h.cmd.Wait(); close(gone) }()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		_ = h.cmd.Process.Kill()
		<-gone
	}
}

// fail is how a helper reports an error to its test.
func fail(err error) {
	fmt.Println("error:", err)
	os.Exit(1)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root: it makes cgroups, namespaces or mounts of its own")
	}
}

// node is this machine, as the probes look at it.
func node(t *testing.T) *probes.Node {
	t.Helper()
	h, err := host.New("/")
	if err != nil {
		t.Fatal(err)
	}
	return probes.NewNode(h)
}

// look runs a probe once.
func look(t *testing.T, p probes.Probe, n *probes.Node) problem.Result {
	t.Helper()
	r, err := p.Run(context.Background(), n)
	if err != nil {
		t.Fatalf("probe %s: %v", p.Name(), err)
	}
	return r
}

// wrong is the verdict on (kind, subject), or nil if the probe is silent about it.
func wrong(r problem.Result, kind problem.Kind, subject string) *problem.Verdict {
	for i, v := range r.Verdicts {
		if v.Kind == kind && v.Subject == subject && v.State == problem.Wrong {
			return &r.Verdicts[i]
		}
	}
	return nil
}

// silent fails the test if the probe says of (kind, subject) that it is wrong.
func silent(t *testing.T, r problem.Result, kind problem.Kind, subject string) {
	t.Helper()
	if v := wrong(r, kind, subject); v != nil {
		t.Fatalf("%s %q is reported though nothing is wrong: %+v", kind, subject, *v)
	}
}
