package agent

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: the whole agent, with its real probes on this machine, in time that
// passes as fast as it can be worked through (testing/synctest).

var long = flag.Bool("long", false, "run through a whole day, not an hour")

// bubbleClock is the node's clock in such time. Its wall clock may be set.
type bubbleClock struct {
	start time.Time
	by    atomic.Int64 // nanoseconds by which the wall clock was set
}

// booted is how long before the start the node was booted: long enough to look back.
const booted = 100 * time.Hour

func (c *bubbleClock) Boot() time.Duration { return booted + time.Since(c.start) }
func (c *bubbleClock) Wall() time.Time {
	return time.Now().Round(0).Add(time.Duration(c.by.Load()))
}

// bubble is an agent in a bubble. It has no HTTP server, since waiting for a
// connection keeps time from passing; its handlers are asked directly.
type bubble struct {
	*loop
	t      *testing.T
	clock  *bubbleClock
	log    string
	others []problem.Kind // problems that were there before the test made any
	server http.Handler
	cancel context.CancelFunc
}

const (
	madeUp       problem.Kind = "MadeUpFault"
	madeUpThrice problem.Kind = "MadeUpThrice" // takes three lines within five minutes
)

// inBubble starts the agent in the bubble that it is called in, on the node whose
// root is at root, with more of a configuration.
func inBubble(t *testing.T, root, more string) *bubble {
	t.Helper()
	dir := t.TempDir()
	named := filepath.Join(dir, "app.log")
	if root != "/" {
		named = "/app.log"
	}
	b := &bubble{t: t, clock: &bubbleClock{start: time.Now()}, log: filepath.Join(root, named)}
	if err := os.WriteFile(b.log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("test", fmt.Appendf(nil, `
stateFile: %s
logs: {files: [%s], journal: [], kmsg: false}
rules:
  - {kind: %s, pattern: 'fault in (?P<what>\S+)', subject: '{what}', quiet: 10m, message: a line}
  - {kind: %s, pattern: 'one of three', within: 5m, count: 3, quiet: 10m, message: three lines}
%s`, filepath.Join(dir, "state.json"), named, madeUp, madeUpThrice, more))
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	h.Clock = b.clock
	a := New(h, c, "test")
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	quiet := slog.New(slog.DiscardHandler)
	b.loop = &loop{agent: a, log: quiet, state: a.newState(false), notes: newNotes(ctx, quiet), done: make(chan struct{})}
	b.load(ctx)
	b.publish()
	b.beat.Store(int64(b.clock.Boot()))
	b.server = newServer(b.loop).Handler
	go b.run(ctx)
	return b
}

// pass lets time pass.
func (b *bubble) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (b *bubble) end() {
	b.cancel()
	<-b.done
	synctest.Wait()
}

// say writes a line into the log that the agent follows.
func (b *bubble) say(format string, args ...any) {
	b.t.Helper()
	f, err := os.OpenFile(b.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, "%s n app: %s\n", b.clock.Wall().Format(time.RFC3339Nano), fmt.Sprintf(format, args...))
	if err != nil {
		b.t.Fatal(err)
	}
	_ = f.Close()
}

// get asks the agent; the answer must be 200.
func (b *bubble) get(path string) string {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	b.server.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		b.t.Errorf("%s: %d %.200s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

func (b *bubble) snapshot() problem.Snapshot {
	b.t.Helper()
	var s problem.Snapshot
	if err := json.Unmarshal([]byte(b.get("/status")), &s); err != nil {
		b.t.Fatal(err)
	}
	return s
}

// usage is what the process has of what must not grow.
type usage struct {
	heap             uint64
	threads, fds     int
	goroutines       int
	series, problems int
	state            int64
}

func (b *bubble) usage() usage {
	b.t.Helper()
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what has finalizers goes at the second
	runtime.ReadMemStats(&m)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		b.t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		b.t.Fatal(err)
	}
	u := usage{
		heap: m.HeapAlloc, threads: len(threads), fds: len(fds), goroutines: runtime.NumGoroutine(),
		series: strings.Count(b.get("/metrics"), "\n"),
	}
	for _, p := range b.snapshot().Problems {
		if p.Kind == madeUp {
			u.problems++ // others come and go with what else this machine does
		}
	}
	if st, err := os.Stat(b.agent.config.StateFile); err == nil {
		u.state = st.Size()
	}
	return u
}

// TestDayWithoutGrowth: while problems come and go and the log is rotated, a day
// of the agent's work takes no more memory, threads or descriptors than an hour.
func TestDayWithoutGrowth(t *testing.T) {
	if testing.Short() {
		t.Skip("memory is that of the race detector; TestClockSteps shows it the same goroutines")
	}
	hours, warm := 1, 20*time.Minute
	if *long {
		hours, warm = 24, time.Hour
	}
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t, "/", "")
		defer b.end()
		var before usage
		end := time.Duration(hours) * time.Hour
		for at := time.Duration(0); at < end; at += 10 * time.Second {
			b.say("fault in pod-%d", at/time.Minute)
			if at%(10*time.Minute) == 0 {
				if err := os.Rename(b.log, b.log+".1"); err != nil {
					t.Fatal(err)
				}
			}
			if at%time.Minute == 0 {
				b.get("/metrics")
				b.get("/healthz")
			}
			if at == warm {
				before = b.usage()
			}
			b.pass(10 * time.Second)
		}
		after := b.usage()
		t.Logf("after %v: %+v", warm, before)
		t.Logf("after %d h: %+v", hours, after)
		if after.heap > before.heap*5/4+1<<20 {
			t.Errorf("the heap grew from %d to %d bytes", before.heap, after.heap)
		}
		if after.threads > before.threads+3 || after.fds > before.fds+3 || after.goroutines > before.goroutines+3 {
			t.Error("threads, descriptors or goroutines grew")
		}
		if after.series > before.series+50 || after.problems > before.problems+5 || after.state > before.state*5/4+4096 {
			t.Error("series, problems or the state grew")
		}
		if before.problems < 5 {
			t.Error("hardly anything happened")
		}
		for _, p := range b.snapshot().Probes {
			if p.Runs < uint64(hours) {
				t.Errorf("probe %s ran %d times", p.Probe, p.Runs)
			}
		}
	})
}
