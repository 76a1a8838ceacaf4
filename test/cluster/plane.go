// Package cluster starts a real Kubernetes control plane for tests, on loopback:
// etcd and kube-apiserver, of the binary that test/cluster/kubeall builds.
package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Plane is a running control plane.
type Plane struct {
	// Dir holds its data, keys and logs.
	Dir string
	// URL is the API server's.
	URL string
	// Etcd and API are its processes.
	Etcd, API *Process

	binary      string
	keys        *keys
	admin       *http.Client
	adminConfig string // kubectl's, made once: the tests run it at the same time
}

// Binary builds kubeall, or finds it built. Its error says what is missing.
func Binary() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.Command(filepath.Join(filepath.Dir(here), "kubeall", "build"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubeall cannot be built: %w: %s", err, tail(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// startWithin bounds how long the API server may take to be ready.
const startWithin = 2 * time.Minute

// Start starts a control plane that keeps all it has in dir. Flags are further
// ones of kube-apiserver's.
func Start(dir, binary string, flags ...string) (*Plane, error) {
	p := &Plane{Dir: dir, binary: binary}
	var err error
	if p.keys, err = newKeys(dir); err != nil {
		return nil, err
	}
	if p.admin, err = p.Client(Admin()); err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	local := func(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }
	p.URL = fmt.Sprintf("https://127.0.0.1:%d", ports[2])
	if p.adminConfig, err = p.Kubeconfig(User{Name: "kubectl", Group: Admin().Group}); err != nil {
		return nil, err
	}
	p.Etcd, err = startProcess(dir, binary, "etcd",
		"--data-dir="+filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level=error",
		"--listen-client-urls="+local(ports[0]), "--advertise-client-urls="+local(ports[0]),
		"--listen-peer-urls="+local(ports[1]), "--initial-advertise-peer-urls="+local(ports[1]),
		"--initial-cluster=default="+local(ports[1]))
	if err != nil {
		return nil, err
	}
	p.API, err = startProcess(dir, binary, append([]string{
		"kube-apiserver",
		"--etcd-servers=" + local(ports[0]), "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[2]),
		"--tls-cert-file=" + p.keys.path("server.crt"), "--tls-private-key-file=" + p.keys.path("server.key"),
		"--client-ca-file=" + p.keys.path("ca.crt"), "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + p.keys.path("tokens.key"),
		"--service-account-signing-key-file=" + p.keys.path("tokens.key"), "--service-cluster-ip-range=10.96.0.0/24",
	}, flags...)...)
	if err != nil {
		p.Stop()
		return nil, err
	}
	if err := p.Ready(startWithin); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// Ready waits until the API server is ready.
func (p *Plane) Ready(within time.Duration) error {
	err := Await(within, func() error {
		for _, x := range []*Process{p.Etcd, p.API} {
			if x.Ended() {
				return fmt.Errorf("%w: %s", errGivenUp, x.Log())
			}
		}
		_, err := p.Do(http.MethodGet, "/readyz", "", nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("the API server is not ready: %w", err)
	}
	return nil
}

// Stop ends all processes and waits for them. The folder stays.
func (p *Plane) Stop() {
	for _, x := range []*Process{p.API, p.Etcd} {
		if x != nil {
			x.Kill()
		}
	}
}

// Do makes a request as the administrator and returns the answer's body. Body may
// be a string or anything that becomes JSON.
func (p *Plane) Do(method, path, contentType string, body any) ([]byte, error) {
	return p.DoAs(p.admin, method, path, contentType, body)
}

// DoAs is Do as someone else.
func (p *Plane) DoAs(who *http.Client, method, path, contentType string, body any) ([]byte, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(raw)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.URL+path, in)
	if err != nil {
		return nil, err
	}
	if contentType == "" {
		contentType = "application/json"
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := who.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, out)
	}
	return out, err
}

// Get reads an object as the administrator.
func (p *Plane) Get(path string, into any) error {
	raw, err := p.Do(http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// Kubectl runs kubectl as the administrator; input is what it reads from -f -.
func (p *Plane) Kubectl(input string, args ...string) (string, error) {
	cmd := exec.Command(p.binary, append([]string{"kubectl", "--kubeconfig", p.adminConfig, "--cache-dir", filepath.Join(p.Dir, "kubectl")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// errGivenUp ends an Await at once.
var errGivenUp = errors.New("given up")

// Await calls check until it has no error, and returns its last one when the time
// is up.
func Await(within time.Duration, check func() error) error {
	return AwaitEvery(50*time.Millisecond, within, check)
}

// AwaitEvery is Await for a check that is dear.
func AwaitEvery(pause, within time.Duration, check func() error) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	again := time.NewTicker(pause)
	defer again.Stop()
	for {
		err := check()
		if err == nil || errors.Is(err, errGivenUp) {
			return err
		}
		select {
		case <-deadline.C:
			return fmt.Errorf("after %v: %w", within, err)
		case <-again.C:
		}
	}
}

// freePorts are ports of loopback on which nobody listens now. They are below those that
// the kernel gives out by itself (ip_local_port_range, ip(7)): else another test's
// connection might have one before it is listened on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.N(10_000)))
		if err != nil {
			continue // it is taken
		}
		defer func() { _ = l.Close() }()
		if ports = append(ports, l.Addr().(*net.TCPAddr).Port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free port between 20000 and 30000")
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

func write(path string, raw []byte) error { return os.WriteFile(path, raw, 0o600) }
