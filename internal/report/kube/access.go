package kube

// This file: where the API server is and as whom we come to it.

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/transport"
)

// ErrNoCluster says that nothing leads to an API server: no kubeconfig was named
// and this is no pod of a cluster.
var ErrNoCluster = errors.New("no kubeconfig was given and this is no pod with a service account")

// Access says how to reach the API server.
type Access struct {
	// Kubeconfig is a file's path; empty for the pod's service account.
	Kubeconfig string
	// Node is the name of our own Node.
	Node string
	// Impersonate: come as the node itself ("system:node:NAME"), which a cluster can
	// restrict to the node that the agent's pod is on (constrained impersonation).
	Impersonate bool
	// Agent is the User-Agent.
	Agent string
}

// Check says whether there is a way to the API server at all: nil, ErrNoCluster,
// or why the given way will never do. What can mend itself, such as a file that
// is not there yet, is no reason to refuse.
func (a Access) Check() error {
	_, err := a.endpoint()
	var never *neverError
	if errors.Is(err, ErrNoCluster) || errors.As(err, &never) {
		return err
	}
	return nil
}

// neverError is a way that the agent does not go.
type neverError struct{ what string }

func (e *neverError) Error() string { return e.what }

// endpoint is an API server, and how to come to it.
type endpoint struct {
	server *url.URL
	proxy  func(*http.Request) (*url.URL, error)
	config transport.Config
}

// endpoint reads the credentials' files anew each time, so that rotated tokens,
// certificates and authorities need no further care.
func (a Access) endpoint() (endpoint, error) {
	e, err := a.read()
	if err != nil {
		return e, err
	}
	if a.Impersonate {
		// Without groups, which the API server would have to allow one by one.
		e.config.Impersonate = transport.ImpersonationConfig{UserName: "system:node:" + a.Node}
	}
	e.config.UserAgent = a.Agent
	return e, nil
}

func (a Access) read() (endpoint, error) {
	if a.Kubeconfig == "" {
		return inCluster("/var/run/secrets/kubernetes.io/serviceaccount")
	}
	raw, err := os.ReadFile(a.Kubeconfig)
	if err != nil {
		return endpoint{}, fmt.Errorf("kubeconfig: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(a.Kubeconfig))
	if err != nil {
		return endpoint{}, err
	}
	e, err := parseKubeconfig(raw, dir)
	if err != nil {
		err = fmt.Errorf("kubeconfig %s: %w", a.Kubeconfig, err)
	}
	return e, err
}

// inCluster is the way of a pod (kubernetes.io/docs/tasks/run-application/access-api-from-pod),
// dir the folder in which kubelet keeps its token fresh.
func inCluster(dir string) (endpoint, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	token := filepath.Join(dir, "token")
	if _, err := os.Stat(token); host == "" || port == "" || errors.Is(err, fs.ErrNotExist) {
		return endpoint{}, ErrNoCluster
	}
	return endpoint{
		server: &url.URL{Scheme: "https", Host: net.JoinHostPort(host, port)},
		config: transport.Config{BearerTokenFile: token, TLS: transport.TLSConfig{CAFile: filepath.Join(dir, "ca.crt")}},
	}, nil
}

// idleFor is how long a connection that is not used is kept: a storm's writes
// share one, and between heartbeats 5,000 agents hold none.
const idleFor = 20 * time.Second

// dial prepares a session. It is not transport.New, which keeps its transports, and
// their connections, for ever.
func dial(a Access) (*client, error) {
	e, err := a.endpoint()
	if err != nil {
		return nil, err
	}
	tls, err := transport.TLSConfigFor(&e.config)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		TLSClientConfig: tls, Proxy: e.proxy,
		DialContext:         (&net.Dialer{Timeout: connectWithin}).DialContext,
		TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout, ExpectContinueTimeout: timeout, IdleConnTimeout: idleFor,
		MaxIdleConnsPerHost: 1, MaxConnsPerHost: 1, DisableCompression: true,
		WriteBufferSize: 4 << 10, ReadBufferSize: 4 << 10,
	}
	// The innermost wrapper adds the credentials.
	rt, err := transport.HTTPWrappersForConfig(&e.config, t)
	if err != nil {
		return nil, err
	}
	return &client{
		http: &http.Client{
			Transport:     rt,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		close: t.CloseIdleConnections, base: e.server, node: a.Node,
	}, nil
}
