package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// fakeServer is an API server with one Node, in memory and on the test's clock.
type fakeServer struct {
	mu       sync.Mutex
	status   int      // answers with it; 0 for what is right
	after    string   // Retry-After
	away     bool     // refuses connections
	hangs    bool     // does not answer
	reads    bool     // takes in what it does not answer
	node     string   // what GET answers
	writes   []string // time and the conditions that were patched, in short
	requests int      // also those that fail
	dials    int      // sessions that were begun
	silent   bool     // Events are switched off
	events   int
}

func (f *fakeServer) set(change func(*fakeServer)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeServer) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests++
	if f.hangs {
		if f.reads {
			_ = short(r)
		}
		f.mu.Unlock()
		<-r.Context().Done()
		f.mu.Lock()
		return nil, r.Context().Err()
	}
	if f.away {
		return nil, errors.New("connect: connection refused")
	}
	code, body := http.StatusOK, "{}"
	switch {
	case f.status != 0:
		code, body = f.status, fmt.Sprintf(`{"kind":"Status","message":"says %d"}`, f.status)
	case r.Method == http.MethodGet:
		body = f.node
	case strings.HasSuffix(r.URL.Path, "/events"):
		f.events++
	case r.Method == http.MethodPatch && r.URL.Path == "/api/v1/nodes/n1/status":
		f.writes = append(f.writes, short(r))
	default:
		code = http.StatusTeapot
	}
	h := http.Header{}
	if f.after != "" {
		h.Set("Retry-After", f.after)
	}
	return &http.Response{StatusCode: code, Status: fmt.Sprint(code), Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// short prints a patch: A=True since 3 s, -B.
func short(r *http.Request) string {
	raw, _ := io.ReadAll(r.Body)
	var p struct {
		Status struct {
			Conditions []struct {
				Type, Status, Reason string
				LastTransitionTime   time.Time
				Patch                string `json:"$patch"`
			}
		}
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return err.Error()
	}
	var out []string
	for _, c := range p.Status.Conditions {
		if c.Patch == "delete" {
			out = append(out, "-"+c.Type)
		} else {
			out = append(out, c.Type+"="+c.Status)
		}
	}
	return strings.Join(out, " ")
}

func (f *fakeServer) take() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := strings.Join(f.writes, ", ")
	f.writes = nil
	return out
}

// run starts a reporter against f, and ends it with the test.
func (f *fakeServer) run(t *testing.T, m Memory) *Reporter {
	t.Helper()
	r := New(Options{
		Access: Access{Node: "n1"}, Events: !f.silent, Catalogue: problem.Builtin(), Log: slog.New(slog.DiscardHandler),
	}, m)
	r.dial = func(Access) (*client, error) {
		f.set(func(f *fakeServer) { f.dials++ })
		return &client{http: &http.Client{Transport: f}, close: func() {}, base: &url.URL{Scheme: "https", Host: "api"}, node: "n1"}, nil
	}
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	go r.Run(ctx)
	return r
}

func snapshot(conditions ...problem.Condition) *problem.Snapshot {
	return &problem.Snapshot{Time: time.Now(), Conditions: conditions}
}

func pass(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
}

const emptyNode = `{"metadata":{"uid":"u1"},"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady"}]}}`

func TestReporterPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeServer{node: emptyNode}
		r := f.run(t, Memory{})
		bad, fine := cond("A", statusTrue, "K", ""), cond("A", statusFalse, "Healthy", "")
		expect := func(name, want string) {
			t.Helper()
			if got := f.take(); got != want {
				t.Errorf("%s: wrote %q, want %q", name, got, want)
			}
		}
		r.Publish(snapshot(fine))
		pass(time.Second)
		expect("the first verdict", "A=False")
		pass(time.Minute)
		expect("nothing new", "")
		r.Publish(snapshot(bad))
		pass(settle)
		expect("a problem, at once", "A=True")
		for range 10 { // flaps
			r.Publish(snapshot(fine))
			pass(500 * time.Millisecond)
			r.Publish(snapshot(bad))
			pass(500 * time.Millisecond)
		}
		r.Publish(snapshot(fine))
		pass(between)
		expect("ten flaps in ten seconds", "A=False")
		pass(7 * time.Minute)
		if n := strings.Count(f.take(), "A=False"); n != 1 {
			t.Errorf("%d heartbeats in 7 minutes", n)
		}
		r.Publish(snapshot())
		pass(settle)
		expect("not applicable any more", "-A")
		pass(time.Hour)
		if n := len(strings.Split(f.take(), ",")); n < 9 || n > 16 {
			t.Errorf("%d heartbeats in an hour", n)
		}
	})
}

func TestReporterOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeServer{node: emptyNode}
		r := f.run(t, Memory{})
		states := []problem.Condition{cond("A", statusTrue, "K", ""), cond("A", statusFalse, "Healthy", ""), cond("A", statusUnknown, "CannotTell", "")}
		r.Publish(snapshot(states[1]))
		pass(time.Second)
		f.take()
		for name, x := range map[string]struct {
			begin  func(*fakeServer)
			within time.Duration
			late   bool
			kept   bool // one connection for all tries, of an API server that answers them
		}{
			"refuses connections": {func(f *fakeServer) { f.away = true }, 15 * time.Second, false, false},
			"takes nothing in":    {func(f *fakeServer) { f.hangs = true }, timeout + retryAway, false, false},
			"does not answer":     {func(f *fakeServer) { f.hangs, f.reads = true, true }, timeout + retryAway, true, false},
			"503":                 {func(f *fakeServer) { f.status = 503 }, 15 * time.Second, false, false},
			"429":                 {func(f *fakeServer) { f.status = 429 }, 15 * time.Second, false, true},
			"409":                 {func(f *fakeServer) { f.status = 409 }, 15 * time.Second, false, true},
			"401":                 {func(f *fakeServer) { f.status = 401 }, time.Minute, false, false},
			"403":                 {func(f *fakeServer) { f.status = 403 }, time.Minute, false, false},
			"404":                 {func(f *fakeServer) { f.status = 404 }, time.Minute, false, false},
			"410":                 {func(f *fakeServer) { f.status = 410 }, time.Minute, false, false},
			"422":                 {func(f *fakeServer) { f.status = 422 }, time.Minute, false, false},
			"asks for 100 s":      {func(f *fakeServer) { f.status, f.after = 429, "100" }, 100 * time.Second, false, false},
		} {
			f.set(x.begin)
			begun, dials := f.requests, f.dials
			for i := range 300 {
				r.Publish(snapshot(states[i%3]))
				pass(time.Second)
			}
			tries := f.requests - begun
			if tries < 3 || tries > 60 {
				t.Errorf("%s: %d tries in 5 minutes", name, tries)
			}
			if kept := f.dials-dials == 1; kept != x.kept {
				t.Errorf("%s: %d sessions for %d tries", name, f.dials-dials, tries)
			}
			if n := r.Notes(); len(n) != 1 || !strings.HasPrefix(n[0], "cannot write the conditions of Node n1: ") {
				t.Errorf("%s: %q", name, n)
			}
			f.set(func(f *fakeServer) { f.away, f.hangs, f.reads, f.status, f.after = false, false, false, 0, "" })
			r.Publish(snapshot(states[0]))
			pass(x.within)
			first := f.take()
			pass(between + settle)
			all := strings.TrimSuffix(first+", "+f.take(), ", ")
			want := "A=True"
			if x.late { // and once more, to outdo what may arrive late
				want = "A=True, A=True"
			}
			if !strings.HasPrefix(first, "A=True") || all != want {
				t.Errorf("%s: after its return %q was written, then in all %q", name, first, all)
			}
			if n := r.Notes(); len(n) != 0 {
				t.Errorf("%s: still says %q", name, n)
			}
			pass(time.Minute)
			f.take()
		}
	})
}

func TestReporterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeServer{node: emptyNode}
		r := f.run(t, Memory{})
		p := fork(problem.Critical)
		s := snapshot(cond("PIDExhaustion", statusTrue, "ForkRefused", "m"), cond("ClockFault", statusFalse, "Healthy", ""))
		s.Problems = []problem.Problem{p}
		r.Publish(s)
		pass(time.Minute)
		if f.take() == "" || f.events != 1 {
			t.Fatalf("%d Events", f.events)
		}
		raw, err := r.Remember()
		if err != nil {
			t.Fatal(err)
		}
		var m Memory
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		since := m.Conditions["PIDExhaustion"].Since
		beat := time.Now().Add(-30 * time.Second).UTC().Format(time.RFC3339)
		f.set(func(f *fakeServer) {
			f.node = fmt.Sprintf(`{"metadata":{"uid":"u1"},"status":{"conditions":[
				{"type":"PIDExhaustion","status":"True","reason":"ForkRefused","message":"m","lastHeartbeatTime":%q,"lastTransitionTime":%q},
				{"type":"ClockFault","status":"False","reason":"Healthy","lastHeartbeatTime":%q,"lastTransitionTime":%q}]}}`,
				beat, since.UTC().Format(time.RFC3339), beat, since.UTC().Format(time.RFC3339))
		})
		again := f.run(t, m)
		starting := snapshot(cond("PIDExhaustion", statusUnknown, "Starting", ""), cond("ClockFault", statusUnknown, "Starting", ""))
		starting.Kinds = []problem.KindStatus{{Kind: problem.ForkRefused, State: problem.Unknown, Starting: true}}
		again.Publish(starting)
		pass(time.Second)
		s2 := snapshot(s.Conditions...)
		s2.Problems = s.Problems
		again.Publish(s2)
		pass(30 * time.Second)
		if got := f.take(); got != "" || f.events != 1 {
			t.Errorf("the restart wrote %q, %d Events", got, f.events)
		}
		if got := again.board.stands["PIDExhaustion"].Since; !got.Equal(since) {
			t.Errorf("since %v, want %v", got, since)
		}
	})
}

// TestReporterStartWithoutAnswer: once the Node could be read and needs no write, nothing
// is said of the failure before.
func TestReporterStartWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		beat := time.Now().Add(-30 * time.Second).UTC().Format(time.RFC3339)
		f := &fakeServer{away: true, node: fmt.Sprintf(`{"metadata":{"uid":"u1"},"status":{"conditions":[
			{"type":"ClockFault","status":"False","reason":"Healthy","lastHeartbeatTime":%q,"lastTransitionTime":%q}]}}`, beat, beat)}
		r := f.run(t, Memory{})
		r.Publish(snapshot(cond("ClockFault", statusFalse, "Healthy", "")))
		pass(10 * time.Second)
		if len(r.Notes()) != 1 {
			t.Fatalf("notes while it is away: %q", r.Notes())
		}
		f.set(func(f *fakeServer) { f.away = false })
		pass(30 * time.Second)
		if got := f.take(); got != "" || len(r.Notes()) != 0 {
			t.Errorf("wrote %q, still says %q", got, r.Notes())
		}
	})
}

// TestReporterStart: conditions are posted as Starting only where verdicts take long.
func TestReporterStart(t *testing.T) {
	for quick, want := range map[bool]string{true: "A=False", false: "A=Unknown"} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeServer{node: emptyNode}
			r := f.run(t, Memory{})
			s := snapshot(cond("A", statusUnknown, "Starting", ""))
			s.Kinds = []problem.KindStatus{{Kind: problem.ForkRefused, State: problem.Unknown, Starting: true}}
			r.Publish(s)
			pass(time.Second)
			if quick {
				r.Publish(snapshot(cond("A", statusFalse, "Healthy", "")))
			}
			pass(startWithin)
			if got := f.take(); got != want {
				t.Errorf("quick %v: wrote %q, want %q", quick, got, want)
			}
			r.Publish(snapshot(cond("A", statusFalse, "Healthy", "")))
			pass(between)
			if got := f.take(); !quick && got != "A=False" {
				t.Errorf("the first verdict: wrote %q", got)
			}
		})
	}
}

// TestEventsSwitchedOff: the conditions alone are told then.
func TestEventsSwitchedOff(t *testing.T) {
	for silent, want := range map[bool]int{false: 1, true: 0} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeServer{node: emptyNode, silent: silent}
			r := f.run(t, Memory{})
			s := snapshot(cond("A", statusTrue, "K", ""))
			s.Problems = []problem.Problem{fork(problem.Critical)}
			r.Publish(s)
			pass(time.Minute)
			if got := f.take(); got != "A=True" || f.events != want {
				t.Errorf("silent %v: wrote %q, %d Events", silent, got, f.events)
			}
		})
	}
}

// TestEventsForbidden: the conditions go on without Events.
func TestEventsForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := &fakeServer{node: emptyNode}
		r := New(Options{Access: Access{Node: "n1"}, Events: true, Catalogue: problem.Builtin(), Log: slog.New(slog.NewTextHandler(&log, nil))}, Memory{})
		var deny atomic.Bool
		deny.Store(true)
		r.dial = func(Access) (*client, error) {
			rt := roundTrip(func(q *http.Request) (*http.Response, error) {
				if deny.Load() && strings.HasSuffix(q.URL.Path, "/events") {
					return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"message":"events is forbidden"}`)), Request: q}, nil
				}
				return f.RoundTrip(q)
			})
			return &client{http: &http.Client{Transport: rt}, close: func() {}, base: &url.URL{Scheme: "https", Host: "api"}, node: "n1"}, nil
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go r.Run(ctx)
		s := snapshot(cond("A", statusTrue, "K", ""))
		s.Problems = []problem.Problem{fork(problem.Critical)}
		r.Publish(s)
		pass(10 * time.Minute)
		if got := f.take(); strings.Count(got, "A=True") < 2 {
			t.Errorf("wrote %q", got)
		}
		if n := r.Notes(); len(n) != 1 || !strings.Contains(n[0], "cannot write Events about Node n1: events is forbidden (the agent's role must allow") {
			t.Errorf("%q", n)
		}
		if n := strings.Count(log.String(), "cannot write Events"); n != 1 {
			t.Errorf("logged %d times: %s", n, log.String())
		}
		deny.Store(false)
		pass(time.Minute)
		if f.events != 1 || len(r.Notes()) != 0 {
			t.Errorf("%d Events, %q", f.events, r.Notes())
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
