package kube

// This file: where the API server is and as whom we come to it.

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
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
	_, err := a.config()
	var never *neverError
	if errors.Is(err, rest.ErrNotInCluster) {
		return ErrNoCluster
	}
	if errors.As(err, &never) {
		return err
	}
	return nil
}

// neverError is a way that the agent does not go.
type neverError struct{ what string }

func (e *neverError) Error() string { return e.what }

// config reads the credentials' files anew each time it is called, so that rotated
// tokens, certificates and authorities need no further care.
func (a Access) config() (*rest.Config, error) {
	c, err := a.read()
	if err != nil {
		return nil, err
	}
	if a.Impersonate {
		c.Impersonate = rest.ImpersonationConfig{UserName: "system:node:" + a.Node, Groups: []string{"system:nodes"}}
	}
	c.UserAgent = a.Agent
	return c, nil
}

func (a Access) read() (*rest.Config, error) {
	if a.Kubeconfig == "" {
		return rest.InClusterConfig()
	}
	file, err := clientcmd.LoadFromFile(a.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", a.Kubeconfig, err)
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", a.Kubeconfig, err)
	}
	c, err := clientcmd.NewDefaultClientConfig(*file, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", a.Kubeconfig, err)
	}
	if c.ExecProvider != nil {
		return nil, &neverError{fmt.Sprintf("kubeconfig %s runs a program (exec: %s) to get its credentials, which the agent never does, "+
			"since a node in trouble may not be able to start one: name a kubeconfig with a client certificate, a token or a tokenFile",
			a.Kubeconfig, c.ExecProvider.Command)}
	}
	if c.AuthProvider != nil {
		return nil, &neverError{fmt.Sprintf("kubeconfig %s uses the auth-provider %q, which the agent does not know: "+
			"name a kubeconfig with a client certificate, a token or a tokenFile", a.Kubeconfig, c.AuthProvider.Name)}
	}
	return c, nil
}

// idleFor is how long a connection that is not used is kept: a storm's writes
// share one, and between heartbeats 5,000 agents hold none.
const idleFor = 20 * time.Second

// open makes an HTTP client of a configuration. It is not rest.HTTPClientFor,
// which keeps its transports, and their connections, for ever.
func open(c *rest.Config) (*http.Client, *http.Transport, error) {
	tls, err := rest.TLSConfigFor(c)
	if err != nil {
		return nil, nil, err
	}
	t := &http.Transport{
		TLSClientConfig: tls, Proxy: http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: timeout}).DialContext,
		TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout, IdleConnTimeout: idleFor,
		MaxIdleConnsPerHost: 1, MaxConnsPerHost: 1, DisableCompression: true,
		WriteBufferSize: 4 << 10, ReadBufferSize: 4 << 10,
	}
	if c.Proxy != nil {
		t.Proxy = c.Proxy
	}
	// The innermost wrapper adds the credentials.
	rt, err := rest.HTTPWrappersForConfig(c, t)
	if err != nil {
		return nil, nil, err
	}
	return &http.Client{
		Transport:     rt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, t, nil
}
