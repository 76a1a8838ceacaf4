// Package daemon runs the program as it is shipped as a service, for the tests
// that look at it from outside.
package daemon

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// Patience is how long anything is awaited that must come at all.
const Patience = time.Minute

// Daemon is a running agent.
type Daemon struct {
	t   testing.TB
	Cmd *exec.Cmd
	URL string
	// Client asks it; each question over a connection of its own.
	Client *http.Client
	ended  chan error // the result of Wait, once

	mu  sync.Mutex
	log strings.Builder
	ear sync.Mutex // held while nobody listens to its log
}

var address = regexp.MustCompile(`address=(\S+)`)

// Start starts cmd, which is or becomes the agent, and waits until it serves. The
// process is killed when the test ends.
func Start(t testing.TB, cmd *exec.Cmd) *Daemon {
	t.Helper()
	d := &Daemon{
		t: t, Cmd: cmd, ended: make(chan error, 1),
		Client: &http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serves := make(chan string, 1)
	go func() {
		defer close(serves)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			d.ear.Lock()
			d.ear.Unlock() //nolint:staticcheck // only waited for
			d.mu.Lock()
			_, _ = fmt.Fprintln(&d.log, lines.Text())
			d.mu.Unlock()
			if m := address.FindStringSubmatch(lines.Text()); m != nil && strings.Contains(lines.Text(), "nodevitals is running") {
				serves <- m[1]
			}
		}
		d.ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			t.Logf("the agent was still there: %v", <-d.ended)
		}
	})
	select {
	case at, ok := <-serves:
		if !ok {
			t.Fatalf("the agent ended: %s", d.Log())
		}
		d.URL = "http://" + at
	case <-time.After(Patience):
		t.Fatalf("the agent does not say where it serves: %s", d.Log())
	}
	return d
}

// Log is what the agent has logged so far.
func (d *Daemon) Log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// Ask is one request.
func (d *Daemon) Ask(path string) (code int, body []byte, err error) {
	resp, err := d.Client.Get(d.URL + path)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// Snapshot is what the agent reports now.
func (d *Daemon) Snapshot() problem.Snapshot {
	d.t.Helper()
	code, body, err := d.Ask("/status")
	if err != nil || code != http.StatusOK {
		d.t.Fatalf("/status: %d, %v\n%s", code, err, d.Log())
	}
	var s problem.Snapshot
	if err := json.Unmarshal(body, &s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// Await looks at reports until one is as wanted.
func (d *Daemon) Await(what string, wanted func(problem.Snapshot) bool) problem.Snapshot {
	d.t.Helper()
	end := time.Now().Add(2 * Patience)
	for {
		s := d.Snapshot()
		if wanted(s) {
			return s
		}
		if time.Now().After(end) {
			d.t.Fatalf("%s: not within %v; problems %+v\nits log is\n%s", what, 2*Patience, s.Problems, d.Log())
		}
		<-time.After(50 * time.Millisecond) // a question is no busy loop
	}
}

// AwaitReady waits until every probe has had its first run.
func (d *Daemon) AwaitReady() {
	d.t.Helper()
	d.Await("ready", func(problem.Snapshot) bool {
		code, _, err := d.Ask("/readyz")
		return err == nil && code == http.StatusOK
	})
}

// Deafen lets the agent's log be read by nobody, and be full, until the returned
// function is called.
func (d *Daemon) Deafen() (hear func()) {
	d.t.Helper()
	d.ear.Lock()
	full, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", d.Cmd.Process.Pid), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		d.ear.Unlock()
		d.t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	if raw, err := full.SyscallConn(); err == nil {
		_ = raw.Write(func(fd uintptr) bool {
			for {
				if _, err := syscall.Write(int(fd), []byte("junk\n")); err != nil {
					return true // EAGAIN: not one byte more
				}
			}
		})
	}
	return sync.OnceFunc(d.ear.Unlock)
}

// End ends the agent with a signal and returns what became of it.
func (d *Daemon) End(sig syscall.Signal) error {
	d.t.Helper()
	d.Signal(sig)
	return d.Gone()
}

// Signal sends the agent a signal.
func (d *Daemon) Signal(sig syscall.Signal) {
	d.t.Helper()
	if err := d.Cmd.Process.Signal(sig); err != nil {
		d.t.Fatalf("%v\n%s", err, d.Log())
	}
}

// Gone waits until the agent has ended, and returns what became of it.
func (d *Daemon) Gone() error {
	d.t.Helper()
	select {
	case err := <-d.ended:
		return err
	case <-time.After(Patience):
		d.t.Fatal("it does not end")
		return nil
	}
}
