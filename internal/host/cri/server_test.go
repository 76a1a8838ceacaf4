package cri

// This file: what listens on a socket in these tests: a CRI server that says what
// the test wants, and servers that are none.

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// listen makes a socket in a folder whose path is short enough for one.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, socket
}

// fake is a runtime.
type fake struct {
	runtime.UnimplementedRuntimeServiceServer
	status     *runtime.StatusResponse
	config     *runtime.RuntimeConfigResponse // nil: it has no such call
	sandboxes  []*runtime.PodSandbox
	containers []*runtime.Container
	hang       string // the call that is never answered
	stop       chan struct{}
}

// wait is until the end of the test, also when the caller has long given up.
func (f *fake) wait(call string) {
	if f.hang == call {
		<-f.stop
	}
}

func (f *fake) Version(_ context.Context, _ *runtime.VersionRequest) (*runtime.VersionResponse, error) {
	f.wait("Version")
	return &runtime.VersionResponse{RuntimeName: "fake", RuntimeVersion: "1.0"}, nil
}

func (f *fake) Status(_ context.Context, _ *runtime.StatusRequest) (*runtime.StatusResponse, error) {
	f.wait("Status")
	return f.status, nil
}

func (f *fake) ListPodSandbox(_ context.Context, _ *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	f.wait("ListPodSandbox")
	return &runtime.ListPodSandboxResponse{Items: f.sandboxes}, nil
}

func (f *fake) ListContainers(_ context.Context, _ *runtime.ListContainersRequest) (*runtime.ListContainersResponse, error) {
	f.wait("ListContainers")
	return &runtime.ListContainersResponse{Containers: f.containers}, nil
}

func (f *fake) RuntimeConfig(ctx context.Context, r *runtime.RuntimeConfigRequest) (*runtime.RuntimeConfigResponse, error) {
	if f.config == nil {
		return f.UnimplementedRuntimeServiceServer.RuntimeConfig(ctx, r)
	}
	return f.config, nil
}

// serve starts the runtime.
func (f *fake) serve(t *testing.T) (socket string) {
	t.Helper()
	l, socket := listen(t)
	f.stop = make(chan struct{})
	s := grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(s, f)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { close(f.stop); s.Stop() })
	return socket
}

// raw starts a server that does as handle does with each connection.
func raw(t *testing.T, handle func(net.Conn)) (socket string) {
	t.Helper()
	l, socket := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { handle(c); _ = c.Close() }()
		}
	}()
	return socket
}

// silent takes what is sent and never says a word.
func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// http1 answers each request as a web server does.
func http1(c net.Conn) {
	_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nwhat")
	silent(c)
}

// noise is bytes without end.
func noise(c net.Conn) {
	buf := make([]byte, 32<<10)
	r := rand.New(rand.NewPCG(1, 2))
	for {
		for i := range buf {
			buf[i] = byte(r.Uint32())
		}
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

// hello is an HTTP/2 server's first words, after which come headers without end.
func hello(c net.Conn) {
	f := http2.NewFramer(c, c)
	if f.WriteSettings() != nil {
		return
	}
	go silent(c)
	block := make([]byte, 16<<10)
	for i := 0; ; i++ {
		var err error
		if i == 0 {
			err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
		} else {
			err = f.WriteContinuation(1, false, block)
		}
		if err != nil {
			return
		}
	}
}

// serveOn starts the runtime on a listener that is there.
func serveOn(t *testing.T, f *fake, l net.Listener) (stop func()) {
	t.Helper()
	s := grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(s, f)
	go func() { _ = s.Serve(l) }()
	return s.Stop
}

// queued is how many connections wait to be accepted; it accepts them, and leaves
// them open.
func queued(t *testing.T, l net.Listener) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	// Num RefCount Protocol Flags Type St Inode Path: state 02 is connecting to, 03 is
	// connected; a peer that was not accepted yet bears the listener's name too.
	n := 0
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) == 8 && f[7] == l.Addr().String() && f[5] == "02" {
			n++
		}
	}
	return n
}
