// Package limits makes real failures, each within a cgroup, a namespace or a
// file system of its own, and checks that the probes report them with the
// right kind, subject, numbers and culprit; and that they are silent before
// and after.
package limits

import (
	"context"
	"os/exec"
	"syscall"
	"testing"

	"github.com/nodevitals/nodevitals/internal/agent"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/mounthelper"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/build"
	tool "github.com/nodevitals/nodevitals/test/helper"
)

// helperEnv names the helper that a process is to be.
const helperEnv = tool.Env

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
		"disk-reader":   diskReader,
	}
}

func TestMain(m *testing.M) {
	mounthelper.ServeIfAsked(agent.UnmapText)
	tool.Main(m, helpers())
}

// helper is a running helper process.
type helper struct {
	*tool.Helper
	t   *testing.T
	cmd *exec.Cmd
}

// start starts a helper; attr may put it into namespaces.
func start(t *testing.T, name string, attr *syscall.SysProcAttr, env ...string) *helper {
	t.Helper()
	h := tool.Start(t, name, attr, env...)
	return &helper{h, t, h.Cmd}
}

// startCommand starts a program that becomes a helper.
func startCommand(t *testing.T, name string, cmd *exec.Cmd) *helper {
	t.Helper()
	h := tool.StartCommand(t, name, cmd)
	return &helper{h, t, h.Cmd}
}

func (h *helper) say(order string) string { return h.Say(order) }
func (h *helper) line() string            { return h.Line() }
func (h *helper) end()                    { h.End() }

func fail(err error)        { tool.Fail(err) }
func needRoot(t *testing.T) { t.Helper(); tool.NeedRoot(t) }

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

// buildAgent builds the program as it is shipped.
func buildAgent(t *testing.T) string {
	t.Helper()
	return build.Agent(t)
}
