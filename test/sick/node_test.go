package sick

// This file: what the agent reads and writes is full, hung, hidden, or not there.

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/helper"
)

// warned waits until the report has a warning about the agent itself.
func (p *patient) warned(part string) {
	p.t.Helper()
	p.Await(fmt.Sprintf("a warning of %q", part), func(s problem.Snapshot) bool {
		return slices.ContainsFunc(s.Host.Warnings, func(w string) bool { return strings.Contains(w, part) })
	})
}

// TestFullStateDirectory: there is no room for the state.
func TestFullStateDirectory(t *testing.T) {
	helper.NeedRoot(t)
	dir := t.TempDir()
	p := start(t, options{setup: "private full=" + dir, flags: unix.CLONE_NEWNS, state: dir + "/state.json"})
	p.endure(func() { p.warned("no space left on device") })
	p.stops()
}

// TestReadOnlyStateDirectory: the state cannot be written at all.
func TestReadOnlyStateDirectory(t *testing.T) {
	helper.NeedRoot(t)
	dir := t.TempDir()
	p := start(t, options{setup: "private readonly=" + dir, flags: unix.CLONE_NEWNS, state: dir + "/deeper/state.json"})
	p.endure(func() { p.warned("read-only file system") })
	p.stops()
}

// TestBadStateFile: what stands in the state file's place is none.
func TestBadStateFile(t *testing.T) {
	for name, put := range map[string]func(string) error{
		"empty":     func(f string) error { return os.WriteFile(f, nil, 0o600) },
		"garbage":   func(f string) error { return os.WriteFile(f, []byte("\x00\xffgarbage"), 0o600) },
		"truncated": func(f string) error { return os.WriteFile(f, []byte(`{"version":1,"bootID":"`), 0o600) },
		"huge": func(f string) error {
			if err := os.WriteFile(f, nil, 0o600); err != nil {
				return err
			}
			return os.Truncate(f, 10<<30) // without a block on the disk
		},
		"fifo":      func(f string) error { return unix.Mkfifo(f, 0o600) },
		"directory": func(f string) error { return os.Mkdir(f, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state.json")
			if err := put(state); err != nil {
				t.Fatal(err)
			}
			p := start(t, options{state: state})
			if !strings.Contains(p.Log(), "cannot go on from the last run's state") {
				t.Errorf("it does not say that it starts anew:\n%s", p.Log())
			}
			p.stops()
			if name == "directory" {
				return // which stays in the way
			}
			if b, err := os.ReadFile(state); err != nil || !strings.HasPrefix(string(b), `{"version":`) || len(b) < 50 {
				t.Errorf("the state was not saved anew: %.40q %v", b, err)
			}
		})
	}
}

// TestHungStateDirectory: the disk of the state does not answer, neither at start
// nor later.
func TestHungStateDirectory(t *testing.T) {
	helper.NeedRoot(t)
	dir := t.TempDir()
	fs := helper.Start(t, "hangfs", nil, "DIR="+dir)
	if said := fs.Line(); said != "mounted" {
		t.Skipf("SKIPPED: no FUSE here: %s", said)
	}
	p := start(t, options{state: dir + "/state.json"})
	if !strings.Contains(p.Log(), "no answer within") {
		t.Errorf("it does not say that it starts anew:\n%s", p.Log())
	}
	p.endure(nil)
	if *long {
		p.warned("does not answer")
	}
	// It ends as far as it can: its last thread waits for the disk.
	p.Signal(syscall.SIGTERM)
	p.refuses()
	fs.End() // its requests fail now
	if err := p.Gone(); err != nil {
		t.Errorf("ended with %v\n%s", err, p.Log())
	}
}

// refuses waits until the agent takes no connections any more.
func (p *patient) refuses() {
	p.t.Helper()
	for {
		if _, _, err := p.Ask("/healthz"); err != nil {
			return
		}
	}
}

// TestHiddenProcesses: /proc hides the processes of others, and the agent has no
// right to see them.
func TestHiddenProcesses(t *testing.T) {
	helper.NeedRoot(t)
	p := start(t, options{
		setup: "private proc=hidepid=2 user", flags: unix.CLONE_NEWNS,
	})
	p.endure(func() {
		for _, kind := range []problem.Kind{problem.ZombieProcesses, problem.DaemonFilesNearLimit, problem.UserProcessesNearLimit} {
			if why := p.awaitUnknown(kind); why == "" {
				t.Errorf("%s cannot be told, without a reason", kind)
			}
		}
	})
	for _, k := range p.Snapshot().Kinds {
		if k.State == problem.Unknown && k.Reason == "" {
			t.Errorf("%s cannot be told, and no reason is given", k.Kind)
		}
	}
	p.stops()
}

// TestNoCgroups: there is no cgroup file system to be seen.
func TestNoCgroups(t *testing.T) {
	helper.NeedRoot(t)
	p := start(t, options{setup: "private tmpfs=/sys/fs/cgroup", flags: unix.CLONE_NEWNS})
	p.endure(func() {
		if why := p.awaitUnknown(problem.ForkRefused); !strings.Contains(why, "cgroup") {
			t.Errorf("reason %q", why)
		}
	})
	p.stops()
}

// TestDeafKubeletAndRuntime: kubelet and the container runtime take connections and
// never answer.
func TestDeafKubeletAndRuntime(t *testing.T) {
	helper.NeedRoot(t)
	run := t.TempDir() // the runtime's folder under /run
	runtime := helper.Start(t, "deaf", nil, "ADDRESS=unix:"+run+"/containerd.sock")
	runtime.Line()
	kubelet := helper.Start(t, "deaf", nil, "ADDRESS=tcp:127.0.0.1:0")
	_, port, _ := strings.Cut(kubelet.Line(), ":")
	p := start(t, options{
		flags: unix.CLONE_NEWNS,
		setup: "private tmpfs=/run mkdir=/run/containerd bind=" + run + "=/run/containerd" +
			" tmpfs=/var/lib mkdir=/var/lib/kubelet put=/var/lib/kubelet/config.yaml=" +
			`{"kind":"KubeletConfiguration","healthzPort":` + port + "}",
		more: "  kubelet: {period: 1s, thresholds: {answer: 500ms}}\n  runtime: {period: 1s, thresholds: {answer: 500ms}}\n",
	})
	p.endure(func() {
		p.await(problem.KubeletNotAnswering, "")
		p.await(problem.RuntimeNotAnswering, "")
	})
	p.stops()
}

// TestLogNobodyReads: who takes the agent's own log does not take it any more.
func TestLogNobodyReads(t *testing.T) {
	p := start(t, options{})
	hear := p.Deafen()
	defer hear()
	p.endure(nil)
	p.Signal(syscall.SIGTERM)
	p.refuses()
	hear()
	if err := p.Gone(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestListenerThatIsTaken: a second agent says what is in its way, and ends.
func TestListenerThatIsTaken(t *testing.T) {
	p := start(t, options{})
	out, err := exec.Command(build.Agent(t), "--listen", strings.TrimPrefix(p.URL, "http://"), "--state-file", "").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another agent on this node?") {
		t.Errorf("%v\n%s", err, out)
	}
	if code, _, err := p.Ask("/healthz"); code != http.StatusOK {
		t.Errorf("the first: %d %v", code, err)
	}
	p.stops()
}
