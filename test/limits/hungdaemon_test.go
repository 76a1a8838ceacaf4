package limits

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// TestDaemonWithHungMounts: the daemon names a hung mount and who waits for it, ends
// at SIGTERM at once though its helper is stuck, starts again without adding a stuck
// thread, still knows, and sees by itself that it is over.
func TestDaemonWithHungMounts(t *testing.T) {
	c := newCell(t, 3)
	bin, runDir := buildAgent(t), t.TempDir()
	file := cellConfig(t, runDir, "listen: 127.0.0.1:0\nprobes: {hungmounts: {period: 1s, thresholds: {unanswered: 1s, askEvery: 1s, askFUSE: "+askFUSE(t)+"}}}\n")
	hung := func(of int) func(problem.Snapshot) bool {
		return func(s problem.Snapshot) bool {
			n := 0
			for _, p := range s.Problems {
				if p.Kind == problem.MountNotAnswering {
					n++
				}
			}
			return n == of
		}
	}
	d := c.daemon(t, bin, file)
	d.until("all is well", func(s problem.Snapshot) bool {
		return hung(0)(s) && slices.ContainsFunc(s.Kinds, func(k problem.KindStatus) bool {
			return k.Kind == problem.MountNotAnswering && k.State == problem.Fine
		})
	})
	user := c.start("fuse-user", fuseDir+"="+c.mount(1), fuseComm+"=stuck-in-cell")
	c.say("hang")
	user.say("ask")
	s := d.until("three mounts hang", hung(3))
	i := slices.IndexFunc(s.Problems, func(p problem.Problem) bool { return p.Kind == problem.MountNotAnswering && p.Subject == c.mount(1) })
	if p := s.Problems[i]; len(p.Holders) != 1 || p.Holders[0].Process != "stuck-in-cell" {
		t.Errorf("%s is held by %+v", p.Subject, p.Holders)
	}
	if !slices.ContainsFunc(s.Measurements, func(m problem.Measurement) bool { return m.Resource == "filesystem_bytes" && m.Subject == "/" }) {
		t.Error("/ is not measured any more")
	}
	stuck := c.held()
	if stuck != 4 { // the user's and one for each mount
		t.Errorf("%d requests wait", stuck)
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		begun := time.Now()
		d.end(signal)
		t.Logf("%v ended it within %v", signal, time.Since(begun))
		d = c.daemon(t, bin, file)
		d.until("three mounts hang, after a restart", hung(3))
		if n := c.held(); n != stuck {
			t.Errorf("after a restart %d requests wait, from %d", n, stuck)
		}
	}
	c.say("answer")
	user.line()
	d.until("it is over", hung(0))

	c.say("hang")
	d.until("three mounts hang again", hung(3))
	c.say("unmount")
	d.until("they are unmounted", hung(0))
	d.end(syscall.SIGTERM)
}

// cellDaemon is an agent that runs in a cell.
type cellDaemon struct {
	t   *testing.T
	cmd *exec.Cmd
	url string
}

func (c cell) daemon(t *testing.T, bin, config string) *cellDaemon {
	t.Helper()
	d := &cellDaemon{t: t, cmd: c.command(bin, "--config", config)}
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill(); _ = d.cmd.Wait() })
	log := bufio.NewScanner(stderr)
	for log.Scan() {
		if m := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(log.Text()); m != nil {
			d.url = "http://" + m[1]
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return d
		}
	}
	t.Fatal("the agent does not start")
	return nil
}

// until asks for the report until it is as it should be.
func (d *cellDaemon) until(what string, is func(problem.Snapshot) bool) problem.Snapshot {
	d.t.Helper()
	var s problem.Snapshot
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		resp, err := http.Get(d.url + "/status")
		if err != nil {
			d.t.Fatal(err)
		}
		s = problem.Snapshot{}
		err = json.NewDecoder(resp.Body).Decode(&s)
		_ = resp.Body.Close()
		if err != nil {
			d.t.Fatal(err)
		}
		if is(s) {
			return s
		}
	}
	d.t.Fatalf("within a minute it is not seen that %s: %+v", what, s.Problems)
	return s
}

// end sends the agent a signal, and waits until it has ended.
func (d *cellDaemon) end(signal syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(signal); err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil && signal != syscall.SIGKILL {
			d.t.Errorf("it ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		d.t.Fatalf("%v does not end it", signal)
	}
}
