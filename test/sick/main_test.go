// Package sick runs the agent on a node that is sick in one way after the other,
// with the agent itself in the midst of it, and checks that it lives, answers
// every request, and tells of what arrives meanwhile. docs/reliability.md has the
// list.
package sick

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/daemon"
	"github.com/nodevitals/nodevitals/test/helper"
	"github.com/nodevitals/nodevitals/test/unprivileged"
)

// long is for patience: each fault lasts two minutes then.
var long = flag.Bool("long", false, "let each fault last two minutes")

func TestMain(m *testing.M) {
	helper.Main(m, map[string]func(){
		"become": become, "stuck": stuck, "forker": forker, "glutton": glutton, "reader": reader, "deaf": deaf, "hangfs": hangfs,
	})
}

// lasts is how long a fault goes on.
func lasts() time.Duration {
	if *long {
		return 2 * time.Minute
	}
	return 5 * time.Second
}

// arrived is the kind of the fault that arrives while another lasts: a line in a
// log file.
const arrived problem.Kind = "FaultArrived"

// patient is an agent whose node is about to fall ill.
type patient struct {
	*daemon.Daemon
	t   *testing.T
	log string // the file that it follows
}

// options are how an agent is started.
type options struct {
	setup string // steps of become, see there; none starts the agent itself
	flags uintptr
	env   []string
	more  string // configuration
	state string // file; a temporary one by default
}

// start starts an agent, in whose node nothing is wrong yet.
func start(t *testing.T, o options) *patient {
	t.Helper()
	dir := t.TempDir()
	unprivileged.Open(t, dir)
	p := &patient{t: t, log: filepath.Join(dir, "app.log")}
	if o.state == "" {
		o.state = filepath.Join(dir, "state.json")
	}
	config := filepath.Join(dir, "config.yaml")
	write(t, p.log, "")
	write(t, config, fmt.Sprintf(`
listen: 127.0.0.1:0
stateFile: %s
logs: {files: [%s], journal: [], kmsg: false}
rules:
  - {kind: %s, pattern: 'a fault arrives', quiet: 24h, message: a line}
probes:
  threads: {period: 1s}
  oom: {period: 1s}
  inotify: {period: 1s}
%s`, o.state, p.log, arrived, o.more))
	bin := build.Agent(t)
	unprivileged.Open(t, filepath.Dir(bin))
	cmd := exec.Command(bin, "--config", config)
	if o.setup != "" {
		cmd = helper.Command("become", append(o.env, "SETUP="+o.setup, "AGENT="+bin, "ARGS=--config "+config)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: o.flags}
		if o.flags&syscall.CLONE_NEWUSER != 0 {
			root := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
			cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = root, root
		}
	}
	p.Daemon = daemon.Start(t, cmd)
	p.AwaitReady()
	return p
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// endure asks the agent all the time until the fault has lasted for long enough
// and seen has returned, which is called meanwhile. Every request must be
// answered, the agent must be alive, and tell of a fault that arrives.
func (p *patient) endure(seen func()) {
	p.t.Helper()
	asked := make(chan string, 1)
	stop := make(chan struct{})
	go func() {
		n, again := 0, time.NewTicker(100*time.Millisecond)
		defer again.Stop()
		for {
			for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
				code, body, err := p.Ask(path)
				if err != nil || code != http.StatusOK {
					asked <- fmt.Sprintf("%s, the %dth: %d %.200s %v", path, n, code, body, err)
					return
				}
				n++
			}
			select {
			case <-stop:
				p.t.Logf("%d requests were answered", n)
				asked <- ""
				return
			case <-again.C:
			}
		}
	}()
	begun := time.Now()
	f, err := os.OpenFile(p.log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, "%s n app: a fault arrives\n", time.Now().Format(time.RFC3339Nano))
	if err := errors.Join(err, f.Close()); err != nil {
		p.t.Fatal(err)
	}
	p.await(arrived, "")
	if seen != nil {
		seen()
	}
	select {
	case bad := <-asked:
		p.t.Fatalf("%s\n%s", bad, p.Log())
	case <-time.After(time.Until(begun.Add(lasts()))):
	}
	close(stop)
	if bad := <-asked; bad != "" {
		p.t.Fatalf("%s\n%s", bad, p.Log())
	}
	p.calm()
}

// calm: nothing that only a bug brings about is in the agent's log.
func (p *patient) calm() {
	p.t.Helper()
	for _, bad := range []string{"panic", "goroutine ", "fatal error", "runtime:", "which is a bug"} {
		if strings.Contains(p.Log(), bad) {
			p.t.Errorf("its log has %q:\n%s", bad, p.Log())
		}
	}
}

// await waits for a problem.
func (p *patient) await(kind problem.Kind, subject string) problem.Problem {
	p.t.Helper()
	var found problem.Problem
	p.Await(fmt.Sprintf("%s %s", kind, subject), func(s problem.Snapshot) bool {
		i := slices.IndexFunc(s.Problems, func(p problem.Problem) bool {
			return p.Kind == kind && (subject == "" || p.Subject == subject)
		})
		if i >= 0 {
			found = s.Problems[i]
		}
		return i >= 0
	})
	return found
}

// awaitUnknown waits until a kind cannot be told, and returns the reason.
func (p *patient) awaitUnknown(kind problem.Kind) string {
	p.t.Helper()
	why := ""
	p.Await(fmt.Sprintf("%s cannot be told", kind), func(s problem.Snapshot) bool {
		for _, k := range s.Kinds {
			if k.Kind == kind && k.State == problem.Unknown {
				why = k.Reason
			}
		}
		return why != ""
	})
	return why
}

// stops ends the agent, which must do so by itself and in peace.
func (p *patient) stops() {
	p.t.Helper()
	if err := p.End(syscall.SIGTERM); err != nil {
		p.t.Errorf("SIGTERM ends it with %v\n%s", err, p.Log())
	}
	p.calm()
}

func readTrimmed(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(b))
}
