package probes

import (
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestEvaluateHealth(t *testing.T) {
	const na, unknown = problem.NotApplicable, problem.Unknown
	for _, tc := range []struct {
		name         string
		answer       healthAnswer
		kubelet      problem.State // 0: silence
		pleg         problem.State
		kubeletSays  string
		plegSeverity problem.Severity
	}{
		{"healthy", healthAnswer{status: 200}, 0, 0, "", 0},
		{"down", healthAnswer{refused: true, err: errors.New("refused")}, na, na, "does not run", 0},
		{"just started", healthAnswer{refused: true, running: true, age: 5 * time.Second}, na, na, "just now", 0},
		{"nobody listens", healthAnswer{refused: true, running: true, age: time.Hour}, problem.Wrong, unknown, "nobody listens", 0},
		{"silent", healthAnswer{err: errors.New("no answer within 4s")}, problem.Wrong, unknown, "no answer within 4s", 0},
		{"sync loop", healthAnswer{status: 500, failed: []string{"syncloop"}}, problem.Wrong, unknown, "syncloop failed", 0},
		{"pleg", healthAnswer{status: 500, failed: []string{"pleg"}}, 0, problem.Wrong, "", problem.Critical},
		{"both", healthAnswer{status: 500, failed: []string{"syncloop", "pleg"}}, problem.Wrong, problem.Wrong, "syncloop failed", problem.Critical},
		{"something else", healthAnswer{status: 404}, problem.Wrong, unknown, "404", 0},
	} {
		r := evaluateHealth(tc.answer, NewKubeletHealth().Thresholds)
		for kind, want := range map[problem.Kind]problem.State{problem.KubeletNotAnswering: tc.kubelet, problem.PLEGUnhealthy: tc.pleg} {
			if want != 0 {
				v := checkState(t, r, kind, "", want)
				if kind == problem.KubeletNotAnswering && !strings.Contains(v.Message, tc.kubeletSays) {
					t.Errorf("%s: %q", tc.name, v.Message)
				}
			} else {
				checkSeverity(t, r, kind, "", 0)
			}
		}
		checkSeverity(t, r, problem.PLEGUnhealthy, "", tc.plegSeverity)
	}
}

func TestHealthzAddress(t *testing.T) {
	for _, tc := range []struct {
		s    kubelet.Settings
		err  error
		want string
	}{
		{kubelet.Settings{HealthzAddress: "127.0.0.1", HealthzPort: 10248}, nil, "127.0.0.1:10248"},
		{kubelet.Settings{HealthzAddress: "0.0.0.0", HealthzPort: 1}, nil, "127.0.0.1:1"},
		{kubelet.Settings{HealthzAddress: "::", HealthzPort: 2}, nil, "[::1]:2"},
		{kubelet.Settings{HealthzAddress: "fd00::1", HealthzPort: 3}, nil, "[fd00::1]:3"},
		{kubelet.Settings{}, errors.New("unreadable"), "127.0.0.1:10248"},
	} {
		if got := healthzAddress(tc.s, tc.err); got != tc.want {
			t.Errorf("%+v: %s", tc.s, got)
		}
	}
}

// serveRaw listens on loopback and treats each connection so.
func serveRaw(t *testing.T, treat func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer func() { _ = c.Close() }(); treat(c) }()
		}
	}()
	return l.Addr().String()
}

// TestAskHealthz: every kind of server, and none leaves anything behind.
func TestAskHealthz(t *testing.T) {
	request := make([]byte, 4096)
	endless := func(c net.Conn, s string) {
		for {
			if _, err := io.WriteString(c, s); err != nil {
				return
			}
		}
	}
	for name, tc := range map[string]struct {
		treat  func(net.Conn)
		status int
		failed string
		err    string
	}{
		"ok": {func(c net.Conn) { _, _ = c.Read(request); _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nok") }, 200, "", ""},
		"failed checks": {func(c net.Conn) {
			_, _ = c.Read(request)
			_, _ = io.WriteString(c, "HTTP/1.1 500 Internal Server Error\r\n\r\n[+]ping ok\n[-]pleg failed: reason withheld\n[-]syncloop failed: x\nhealthz check failed\n")
		}, 500, "pleg syncloop", ""},
		"silent":  {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, 0, "", "no answer within"},
		"closes":  {func(net.Conn) {}, 0, "", " "},
		"garbage": {func(c net.Conn) { _, _ = c.Read(request); endless(c, "\x00\x1b[31m") }, 0, "", " "},
		"headers": {func(c net.Conn) { _, _ = c.Read(request); endless(c, "HTTP/1.1 200 OK\r\nA: b\r\n") }, 0, "", " "},
		"endless": {func(c net.Conn) { _, _ = c.Read(request); endless(c, "HTTP/1.1 500 X\r\n\r\n[-]x\n") }, 500, "x x x x x x x x x x", ""},
		"redirect": {func(c net.Conn) {
			_, _ = c.Read(request)
			endless(c, "HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\n\r\n")
		}, 302, "", ""},
		"trickles": {func(c net.Conn) {
			_, _ = c.Read(request)
			_, _ = io.WriteString(c, "HTTP/1.1 500 X\r\nContent-Length: 1000\r\n\r\n[-]pleg f\n")
			_, _ = io.Copy(io.Discard, c)
		}, 500, "pleg", "no answer within"},
	} {
		t.Run(name, func(t *testing.T) {
			address := serveRaw(t, tc.treat)
			before := runtime.NumGoroutine()
			a := askHealthz(t.Context(), address, 500*time.Millisecond)
			if a.status != tc.status || strings.Join(a.failed, " ") != tc.failed || a.refused ||
				(tc.err == "") != (a.err == nil) || a.err != nil && !strings.Contains(a.err.Error(), tc.err) {
				t.Errorf("%+v", a)
			}
			deadline := time.Now().Add(20 * time.Second)
			for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
				runtime.Gosched()
			}
			if n := runtime.NumGoroutine(); n > before {
				t.Errorf("%d goroutines, %d before", n, before)
			}
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if a := askHealthz(t.Context(), l.Addr().String(), time.Second); !a.refused {
		t.Errorf("nobody listens: %+v", a)
	}
}

func TestKubeletHealthNotApplicable(t *testing.T) {
	for says, files := range map[string]map[string]string{
		"no kubelet is set up": nil,
		"recording":            {"/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n"},
	} {
		var na *problem.NotApplicableError
		if _, err := NewKubeletHealth().Run(t.Context(), tree(t, files)); !errors.As(err, &na) || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}

func FuzzParseHealthz(f *testing.F) {
	f.Add([]byte("[+]ping ok\n[-]pleg failed: reason withheld\nhealthz check failed\n"))
	f.Add([]byte("[-]\n[-] x\n[-]\x1b[2J\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range parseHealthz(b) {
			if name == "" || len(name) > 100 || strings.ContainsAny(name, " \x1b\n") {
				t.Errorf("%q", name)
			}
		}
	})
}
