package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// probe is a probe of the test's own.
type probe struct {
	name string
	kind problem.Kind
	run  func(ctx context.Context) (problem.Result, error)
}

func (p *probe) Name() string          { return p.name }
func (p *probe) Kinds() []problem.Kind { return []problem.Kind{p.kind} }
func (p *probe) Run(ctx context.Context, _ *probes.Node) (problem.Result, error) {
	return p.run(ctx)
}

func spec(name string, kind problem.Kind, run func(context.Context) (problem.Result, error)) probes.Spec {
	return probes.Spec{
		Probe: &probe{name, kind, run}, Period: 20 * time.Millisecond, Timeout: 20 * time.Millisecond, Enabled: true,
	}
}

func fine(context.Context) (problem.Result, error) { return problem.Result{}, nil }

func newAgent(t *testing.T, logs []string, specs ...probes.Spec) *Agent {
	t.Helper()
	h, err := host.New("/")
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Probes, c.LogFiles, c.JournalDirs, c.Kmsg, c.StateFile = specs, logs, nil, false, ""
	return New(h, c, "test")
}

// running is a running daemon.
type running struct {
	t      *testing.T
	url    string
	cancel context.CancelFunc
	ended  chan error
}

func startDaemon(t *testing.T, a *Agent) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &running{t: t, url: "http://" + l.Addr().String(), cancel: cancel, ended: make(chan error, 1)}
	go func() { d.ended <- a.serve(ctx, slog.New(slog.DiscardHandler), l) }()
	t.Cleanup(cancel)
	return d
}

func (d *running) get(path string) (int, string) {
	d.t.Helper()
	resp, err := http.Get(d.url + path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// await asks for path until its answer is as wanted.
func (d *running) await(path string, wanted func(code int, body string) bool) string {
	d.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		code, body := d.get(path)
		if wanted(code, body) {
			return body
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("%s: the last answer was %d\n%s", path, code, body)
		}
		<-time.After(2 * time.Millisecond) // a question is no busy loop
	}
}

func (d *running) stop() {
	d.t.Helper()
	d.cancel()
	select {
	case err := <-d.ended:
		if err != nil {
			d.t.Errorf("ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		d.t.Fatal("does not end")
	}
}

func contains(part string) func(int, string) bool {
	return func(_ int, body string) bool { return strings.Contains(body, part) }
}

// TestProbeThatDoesNotReturn costs itself alone: it is unknown, the others go
// on, every request is answered, and the agent ends.
func TestProbeThatDoesNotReturn(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	started := make(chan struct{}, 100)
	a := newAgent(t, nil,
		spec("stuck", problem.MountNotAnswering, func(context.Context) (problem.Result, error) {
			started <- struct{}{}
			<-release // as a system call on a hung mount: no context ends it
			return problem.Result{}, nil
		}),
		spec("good", problem.ClockJumped, fine),
	)
	d := startDaemon(t, a)
	d.await("/readyz", func(code int, _ string) bool { return code == http.StatusOK })
	d.await("/metrics", contains(`nodevitals_probe_success{probe="stuck"} 0`))
	d.await("/metrics", func(_ int, body string) bool {
		return strings.Contains(body, `nodevitals_probe_success{probe="good"} 1`) && !strings.Contains(body, `nodevitals_probe_runs_total{probe="good"} 1`+"\n")
	})
	d.await("/metrics", contains(`nodevitals_condition{status="Unknown",type="MountHung"} 1`))
	if code, _ := d.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	d.stop()
	if n := len(started); n != 1 {
		t.Errorf("the stuck probe was started %d times, want one outstanding run", n)
	}
}

func TestProbeThatPanics(t *testing.T) {
	d := startDaemon(t, newAgent(t, nil,
		spec("bad", problem.MountNotAnswering, func(context.Context) (problem.Result, error) { panic("oh") }),
		spec("good", problem.ClockJumped, fine),
	))
	d.await("/status", contains("probe bad panicked, which is a bug: oh"))
	d.await("/metrics", contains(`nodevitals_probe_success{probe="good"} 1`))
	d.stop()
}

func TestStatusIsForLoopbackOnly(t *testing.T) {
	a := newAgent(t, nil, spec("good", problem.ClockJumped, fine))
	l := &loop{agent: a, log: slog.New(slog.DiscardHandler), state: a.newState(false)}
	l.publish()
	handler := newServer(l).Handler
	for addr, want := range map[string]int{
		"127.0.0.1:1": 200, "[::1]:1": 200, "10.0.0.7:1": 403, "[2001:db8::1]:1": 403, "garbage": 403,
	} {
		req := httptest.NewRequest(http.MethodGet, "/status", nil)
		req.RemoteAddr = addr
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		if rec.Code != want {
			t.Errorf("from %s: %d, want %d", addr, rec.Code, want)
		}
	}
	// A browser gets a page in which text from outside is text.
	req := httptest.NewRequest(http.MethodGet, "/status", nil)
	req.RemoteAddr = "127.0.0.1:1"
	req.Header.Set("Accept", "text/html,*/*")
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, req)
	if !strings.Contains(rec.Header().Get("Content-Type"), "text/html") || !strings.Contains(rec.Body.String(), "<pre>nodevitals test") {
		t.Errorf("page: %s", rec.Body)
	}
}

func TestHealthzSaysWhenTheLoopIsDead(t *testing.T) {
	a := newAgent(t, nil)
	l := &loop{agent: a}
	rec := httptest.NewRecorder()
	l.beat.Store(int64(a.node.Host.Clock.Boot()))
	l.healthz(rec, nil)
	if rec.Code != http.StatusOK {
		t.Errorf("a loop that turns: %d", rec.Code)
	}
	rec = httptest.NewRecorder()
	l.beat.Store(int64(a.node.Host.Clock.Boot() - 2*deadAfter))
	l.healthz(rec, nil)
	if rec.Code != http.StatusServiceUnavailable {
		t.Errorf("a loop that does not: %d", rec.Code)
	}
}

// TestLogLineBecomesAProblem: a line that is written while the daemon runs.
func TestLogLineBecomesAProblem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "syslog")
	if err := os.WriteFile(path, []byte("an old line: fork of unprivileged child failed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, newAgent(t, []string{path}, spec("good", problem.ClockJumped, fine)))
	d.await("/metrics", contains(fmt.Sprintf("nodevitals_log_records_total{source=%q", path)))
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(f, `level=error msg="fork/exec /usr/bin/runc: resource temporarily unavailable"`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	body := d.await("/status", contains("ForkRefused"))
	if strings.Contains(body, "an old line") {
		t.Error("a line from before the start was counted")
	}
	d.stop()
}

func TestOnceLooksBackInLogs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "syslog")
	now := time.Now()
	lines := fmt.Sprintf("%s n kernel: cgroup: fork rejected by pids controller in /long-ago\n%s n kernel: cgroup: fork rejected by pids controller in /just-now\n",
		now.Add(-2*time.Hour).Format(time.RFC3339), now.Add(-time.Minute).Format(time.RFC3339))
	if err := os.WriteFile(path, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newAgent(t, []string{path}).Once(context.Background(), 10*time.Minute)
	if len(s.Problems) != 1 || s.Problems[0].Subject != "cgroup /just-now" {
		t.Fatalf("%+v", s.Problems)
	}
	if age := now.Sub(s.Problems[0].Since); age < 50*time.Second || age > 70*time.Second {
		t.Errorf("since %v ago, want the line's own time", age)
	}
	if got := ExitCode(s); got != 2 {
		t.Errorf("exit code %d", got)
	}
}

func TestOnceSamplesCountersTwice(t *testing.T) {
	runs := 0
	counting := spec("counting", problem.ConntrackDropping, func(context.Context) (problem.Result, error) {
		runs++
		if runs == 1 {
			return problem.Result{}, nil
		}
		return problem.Result{Verdicts: []problem.Verdict{{
			Kind: problem.ConntrackDropping, State: problem.Wrong, Severity: problem.Critical, Message: "rose",
		}}}, nil
	})
	counting.Counters = true
	s := newAgent(t, nil, counting).Once(context.Background(), 0)
	if runs != 2 || len(s.Problems) != 1 {
		t.Errorf("%d runs, problems %+v", runs, s.Problems)
	}
}

// TestOnceWithinItsDeadline: probes that hang do not keep the report back.
func TestOnceWithinItsDeadline(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	var specs []probes.Spec
	for i := range 3 * maxRunning {
		s := spec(fmt.Sprint("stuck", i), problem.MountNotAnswering, func(context.Context) (problem.Result, error) {
			<-release
			return problem.Result{}, nil
		})
		s.Timeout = time.Hour
		specs = append(specs, s)
	}
	good := spec("good", problem.ClockJumped, fine)
	ctx, cancel := context.WithTimeoutCause(context.Background(), 50*time.Millisecond, fmt.Errorf("the whole report's deadline"))
	defer cancel()
	s := newAgent(t, nil, append(specs, good)...).Once(ctx, 0)
	if got := ExitCode(s); got != 3 {
		t.Errorf("exit code %d, want 3: %+v", got, s.Problems)
	}
	i := slices.IndexFunc(s.Probes, func(p problem.ProbeStatus) bool { return p.Probe == "stuck0" })
	if !strings.Contains(s.Probes[i].Reason, "the whole report's deadline") {
		t.Errorf("reason %q", s.Probes[i].Reason)
	}
}

func TestStatusIsJSON(t *testing.T) {
	d := startDaemon(t, newAgent(t, nil, spec("good", problem.ClockJumped, fine)))
	var s struct {
		APIVersion string `json:"apiVersion"`
		problem.Snapshot
	}
	if err := json.Unmarshal([]byte(d.await("/status", contains("good"))), &s); err != nil || s.APIVersion != "nodevitals.io/v1" {
		t.Errorf("%v %q", err, s.APIVersion)
	}
	d.stop()
}
