// Package logs runs the agent on log files that are written, rotated and
// truncated meanwhile, and stops and kills it, and counts what it has read.
package logs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/daemon"
)

const (
	numbered problem.Kind = "NumberedLine"
	patience              = time.Minute
)

// bench is a log file, its writer, and an agent that reads it.
type bench struct {
	t       *testing.T
	bin     string
	log     string
	state   string
	config  string
	written atomic.Int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{
		t: t, bin: build.Agent(t), log: filepath.Join(dir, "app.log"),
		state: filepath.Join(dir, "state.json"), config: filepath.Join(dir, "config.yaml"),
	}
	config := fmt.Sprintf(`
listen: 127.0.0.1:0
stateFile: %s
logs: {files: [%s], journal: [], kmsg: false}
rules:
  - {kind: %s, pattern: 'numbered line \d+', within: 1h, quiet: 24h, message: a line}
`, b.state, b.log, numbered)
	if err := os.WriteFile(b.config, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return b
}

// write appends lines until stop is closed, and rotates the file now and then.
func (b *bench) write(stop <-chan struct{}, rotateEvery int64) error {
	open := func() (*os.File, error) { return os.OpenFile(b.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) }
	f, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
		n := b.written.Load() + 1
		if _, err := fmt.Fprintf(f, "%s host app: numbered line %d\n", time.Now().Format(time.RFC3339Nano), n); err != nil {
			return err
		}
		b.written.Store(n)
		if n%rotateEvery == 0 {
			if err := os.Rename(b.log, fmt.Sprintf("%s.%d", b.log, n)); err != nil {
				return err
			}
			_ = f.Close()
			if f, err = open(); err != nil {
				return err
			}
		}
	}
}

// life is one life of the agent.
type life struct {
	b   *bench
	d   *daemon.Daemon
	cmd *exec.Cmd
	url string
}

func (b *bench) start() *life {
	b.t.Helper()
	d := daemon.Start(b.t, exec.Command(b.bin, "--config", b.config))
	return &life{b, d, d.Cmd, d.URL}
}

// lines is how many numbered lines the agent has counted.
func (l *life) lines() int64 {
	l.b.t.Helper()
	for _, p := range l.status().Problems {
		if p.Kind == numbered {
			return int64(p.Lines)
		}
	}
	return 0
}

// records is how many lines the agent has read in this life, as far as it has come to
// the end of the file.
func (l *life) records() (n uint64) {
	l.b.t.Helper()
	for _, st := range l.status().Logs {
		n += st.Records
	}
	return n
}

func (l *life) status() (s problem.Snapshot) {
	l.b.t.Helper()
	resp, err := http.Get(l.url + "/status")
	if err != nil {
		l.b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		l.b.t.Fatal(err)
	}
	return s
}

func (l *life) await(what string, ok func() bool) {
	l.b.t.Helper()
	end := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(end) {
			l.b.t.Fatalf("%s: %d lines written, %d counted", what, l.b.written.Load(), l.lines())
		}
		<-time.After(10 * time.Millisecond)
	}
}

func (l *life) end(sig syscall.Signal) {
	l.b.t.Helper()
	_ = l.d.End(sig) // by a signal, or not
}

// writing runs the writer until the returned function is called.
func (b *bench) writing(rotateEvery int64) (stop func()) {
	ch := make(chan struct{})
	failed := make(chan error, 1)
	go func() { failed <- b.write(ch, rotateEvery) }()
	return sync.OnceFunc(func() {
		close(ch)
		if err := <-failed; err != nil {
			b.t.Error(err)
		}
	})
}

// TestRestartsCountEachLineOnce: the agent is stopped again and again while lines
// are written and the file is rotated, also while it is not there to see it.
func TestRestartsCountEachLineOnce(t *testing.T) {
	b := newBench(t)
	life := b.start()
	stop := b.writing(331)
	defer stop()
	for range 5 {
		seen := life.lines()
		life.await("more lines", func() bool { return life.lines() > seen+100 })
		life.end(syscall.SIGTERM)
		down := b.written.Load()
		life.await("lines while it is down", func() bool { return b.written.Load() > down+500 })
		life = b.start()
	}
	stop()
	life.await("all lines", func() bool { return life.lines() >= b.written.Load() })
	life.end(syscall.SIGTERM)
	if got := b.start().lines(); got != b.written.Load() {
		t.Errorf("%d lines counted of %d written", got, b.written.Load())
	}
}

// TestStopInABacklog: the agent is stopped while it reads more than it can in one go.
// What it has taken in of that is not counted again.
func TestStopInABacklog(t *testing.T) {
	const lines = 400_000
	b := newBench(t)
	stamped := func(w io.Writer, n int) {
		_, _ = fmt.Fprintf(w, "%s host app: numbered line %d\n", time.Now().Format(time.RFC3339Nano), n)
	}
	var first, backlog bytes.Buffer
	stamped(&first, 0)
	for n := range lines {
		stamped(&backlog, n+1)
	}
	if err := os.WriteFile(b.log, first.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	life := b.start()
	life.await("the first line", func() bool { return life.lines() == 1 })
	f, err := os.OpenFile(b.log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(backlog.Bytes()); err != nil {
		t.Fatal(err)
	}
	life.await("some lines", func() bool { return life.lines() > 1 })
	if n := life.lines(); n > lines {
		t.Fatal("all lines were read at once: this needs more of them")
	}
	life.end(syscall.SIGTERM)
	life = b.start()
	stamped(f, lines+1)
	life.await("all lines", func() bool { return life.records() > 0 }) // a poll has come to an end
	if got := life.lines(); got != lines+2 {
		t.Errorf("%d lines counted of %d", got, lines+2)
	}
}

// TestKillLosesNothing: killed at any moment, the agent has lost no line after
// its restart, and counts at most those again that came since it saved its state.
func TestKillLosesNothing(t *testing.T) {
	b := newBench(t)
	life := b.start()
	stop := b.writing(1009)
	defer stop()
	saved := func() time.Time {
		st, err := os.Stat(b.state)
		if err != nil {
			return time.Time{}
		}
		return st.ModTime()
	}
	var again int64
	for range 2 {
		before := saved()
		atSave := b.written.Load()
		life.await("a saved state", func() bool {
			if saved() != before {
				return true
			}
			atSave = b.written.Load()
			return false
		})
		more := atSave + 100 + time.Now().UnixNano()%400
		life.await("more lines", func() bool { return b.written.Load() > more })
		life.end(syscall.SIGKILL)
		// What was read until the state was saved may be some polls older than it.
		again += b.written.Load() - atSave + 1500
		life = b.start()
	}
	stop()
	life.await("all lines", func() bool { return life.lines() >= b.written.Load() })
	life.end(syscall.SIGTERM)
	got := b.start().lines()
	if want := b.written.Load(); got < want || got > want+again {
		t.Errorf("%d lines counted of %d written; at most %d may count twice", got, want, again)
	}
	t.Logf("%d lines written, %d counted", b.written.Load(), got)
}

// TestBadState: a state file that is garbage, or of another version, is told of
// and survived.
func TestBadState(t *testing.T) {
	for _, text := range []string{"garbage", `{"version": 99}`, `{"version": 1, "tracker": 5}`, ""} {
		b := newBench(t)
		if err := os.WriteFile(b.state, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		life := b.start()
		stop := b.writing(1 << 40)
		life.await("lines", func() bool { return life.lines() > 10 })
		stop()
		life.end(syscall.SIGTERM)
		if again, err := os.ReadFile(b.state); err != nil || string(again) == text {
			t.Errorf("%q: the state was not saved anew: %v", text, err)
		}
	}
}

// TestNoRoomForTheState: on a full disk the agent goes on, and says what it
// cannot do.
func TestNoRoomForTheState(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root to mount a small file system")
	}
	b := newBench(t)
	full := filepath.Join(filepath.Dir(b.state), "full")
	if err := os.Mkdir(full, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", full, "tmpfs", 0, "size=4k"); err != nil {
		t.Skipf("SKIPPED: cannot mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(full, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(full, "ballast"), make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	config = regexp.MustCompile(`stateFile: .*`).ReplaceAll(config, []byte("stateFile: "+full+"/state.json"))
	if err := os.WriteFile(b.config, config, 0o644); err != nil {
		t.Fatal(err)
	}
	life := b.start()
	stop := b.writing(1 << 40)
	defer stop()
	life.await("a word about it", func() bool {
		resp, err := http.Get(life.url + "/status")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return err == nil && regexp.MustCompile(`cannot save the state.*no space left`).Match(body)
	})
	life.await("lines all the same", func() bool { return life.lines() > 0 })
}
