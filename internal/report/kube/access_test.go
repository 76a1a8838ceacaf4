package kube

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// kubeconfig writes one with the given lines of its user, and its cluster's CA.
func kubeconfigOf(t *testing.T, server *httptest.Server, user string) string {
	t.Helper()
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	put(t, filepath.Join(dir, "ca.crt"), string(ca))
	path := filepath.Join(dir, "config")
	put(t, path, fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: %q, certificate-authority: ca.crt}}]
users: [{name: u, user: {%s}}]
`, server.URL, user))
	return path
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// seen serves a Node, and says as whom each request came.
func seen(t *testing.T) (*httptest.Server, chan string) {
	who := make(chan string, 10)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who <- strings.TrimSpace(r.Header.Get("Authorization") + " " + r.Header.Get("Impersonate-User"))
		_, _ = w.Write([]byte(emptyNode))
	}))
	t.Cleanup(s.Close)
	return s, who
}

func get(a Access) (ownNode, error) {
	c, err := dial(a)
	if err != nil {
		return ownNode{}, err
	}
	defer c.close()
	return c.get(context.Background())
}

func TestTokenFileIsReadAgain(t *testing.T) {
	server, who := seen(t)
	path := kubeconfigOf(t, server, "tokenFile: token")
	token := filepath.Join(filepath.Dir(path), "token")
	for _, want := range []string{"one", "two"} {
		put(t, token, want)
		n, err := get(Access{Kubeconfig: path, Node: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		if got := <-who; got != "Bearer "+want || n.Metadata.UID != "u1" || len(n.Status.Conditions) != 1 {
			t.Errorf("came as %q, want token %s; %+v", got, want, n)
		}
	}
	if _, err := get(Access{Kubeconfig: path, Node: "n1", Impersonate: true}); err != nil {
		t.Fatal(err)
	}
	if got := <-who; got != "Bearer two system:node:n1" {
		t.Errorf("came as %q", got)
	}
	put(t, path, "{")
	if _, err := get(Access{Kubeconfig: path}); asFailure(err).result != credentials {
		t.Errorf("a broken kubeconfig: %v", err)
	}
}

func TestCheck(t *testing.T) {
	server, _ := seen(t)
	for user, want := range map[string]string{
		"token: abc": "",
		"client-certificate: missing.crt, client-key: missing.key":                                  "", // they may come
		"exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, interactiveMode: Never}": "runs a program (exec: aws)",
		"auth-provider: {name: gcp}": `uses the auth-provider "gcp"`,
	} {
		err := Access{Kubeconfig: kubeconfigOf(t, server, user), Node: "n1"}.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", user, err, want)
		}
	}
	if err := (Access{Kubeconfig: "/does/not/exist"}).Check(); err != nil {
		t.Errorf("a kubeconfig that kubeadm has yet to write: %v", err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if err := (Access{}).Check(); !errors.Is(err, ErrNoCluster) {
		t.Errorf("no cluster: %v", err)
	}
}

// TestInCluster: a pod's way needs the address of the API server and the token.
func TestInCluster(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "token"), "abc")
	for _, x := range []struct{ host, port, dir, want string }{
		{"10.0.0.1", "443", dir, "https://10.0.0.1:443"},
		{"fd00::1", "6443", dir, "https://[fd00::1]:6443"},
		{"", "443", dir, ""},
		{"10.0.0.1", "", dir, ""},
		{"10.0.0.1", "443", t.TempDir(), ""},
	} {
		t.Setenv("KUBERNETES_SERVICE_HOST", x.host)
		t.Setenv("KUBERNETES_SERVICE_PORT", x.port)
		e, err := inCluster(x.dir)
		if x.want == "" && !errors.Is(err, ErrNoCluster) || x.want != "" && (err != nil || e.server.String() != x.want) {
			t.Errorf("%+v: %v, %v", x, e.server, err)
		}
	}
}

// TestRealFailures: what Go's own HTTP and TLS say becomes the right result.
func TestRealFailures(t *testing.T) {
	server, _ := seen(t)
	good := kubeconfigOf(t, server, "token: abc")
	other := httptest.NewUnstartedServer(http.NotFoundHandler())
	other.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t, time.Now().Add(-time.Hour))}}
	other.StartTLS()
	t.Cleanup(other.Close)
	redirect := httptest.NewTLSServer(http.RedirectHandler("https://example.com/", http.StatusFound))
	t.Cleanup(redirect.Close)
	page := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		http.Error(w, "<html>\x1b[31mproxy", http.StatusBadGateway)
	}))
	t.Cleanup(page.Close)
	garbage := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	t.Cleanup(garbage.Close)
	closed := httptest.NewTLSServer(http.NotFoundHandler())
	gone := kubeconfigOf(t, closed, "token: abc")
	closed.Close()
	unknown := strings.Replace(read(t, good), server.URL, redirect.URL, 1)
	put(t, good+"2", strings.Replace(unknown, "certificate-authority: ca.crt", "", 1))
	for name, x := range map[string]struct {
		path string
		want result
		text string
		late bool
	}{
		"redirection":      {kubeconfigOf(t, redirect, "token: abc"), rejected, "302", false},
		"a proxy's page":   {kubeconfigOf(t, page, "token: abc"), serverError, "502", false},
		"not JSON":         {kubeconfigOf(t, garbage, "token: abc"), unreachable, "answer", true},
		"connection":       {gone, unreachable, "refused", true},
		"expired":          {kubeconfigOf(t, other, "token: abc"), untrusted, "expired", false},
		"not our CA":       {good + "2", untrusted, "unknown authority", false},
		"missing CA":       {missingCA(t, server), credentials, "ca.crt", false},
		"missing key pair": {kubeconfigOf(t, server, "client-certificate: a.crt, client-key: a.key"), credentials, "a.crt", false},
	} {
		_, err := get(Access{Kubeconfig: x.path, Node: "n1"})
		f := asFailure(err)
		if f.result != x.want || !strings.Contains(f.text, x.text) || f.late != x.late || strings.Contains(f.text, "\x1b") {
			t.Errorf("%s: %s %q late %v, want %s %q late %v", name, f.result, f.text, f.late, x.want, x.text, x.late)
		}
	}
	_, err := get(Access{Kubeconfig: kubeconfigOf(t, page, "token: abc"), Node: "n1"})
	if f := asFailure(err); f.after != 7*time.Second {
		t.Errorf("Retry-After: %v", f.after)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 0, errors.New("no answer within 0"))
	defer cancel()
	c, err := dial(Access{Kubeconfig: good, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.get(ctx); asFailure(err).result != timedOut {
		t.Errorf("time-out: %v", err)
	}
}

func missingCA(t *testing.T, s *httptest.Server) string {
	path := kubeconfigOf(t, s, "token: abc")
	if err := os.Remove(filepath.Join(filepath.Dir(path), "ca.crt")); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "1": time.Second, "-3": 0, "soon": 0, "99999999999": 0, "9999999": time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:03:05 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {v}}, now); got != want && v != "99999999999" {
			t.Errorf("%q: %v, want %v", v, got, want)
		}
	}
}

// TestThrottledKeepsItsConnection: a crowded API server does not get a new handshake
// from each agent that it has turned away.
func TestThrottledKeepsItsConnection(t *testing.T) {
	const turnedAway = 5
	var requests, connections, expected atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "" {
			expected.Add(1)
		}
		if requests.Add(1) <= turnedAway {
			w.WriteHeader(http.StatusTooManyRequests) // without a look at the body
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	c, err := dial(Access{Kubeconfig: kubeconfigOf(t, s, "token: t"), Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for i := range turnedAway + 2 {
		err := c.patchStatus(t.Context(), func() ([]byte, error) { return []byte("{}"), nil })
		if (err != nil) != (i < turnedAway) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	// The last one comes after a yes: the API server may have frozen since.
	if connections.Load() != 1 || expected.Load() != 1 {
		t.Errorf("%d connections, %d times 100-continue; want one each", connections.Load(), expected.Load())
	}
}
