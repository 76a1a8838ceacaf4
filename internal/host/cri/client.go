package cri

// This file: the calls of the Container Runtime Interface.

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// maxAnswer is the most that one answer may have. A container takes the list
	// about 1.5 KiB, most of it annotations; a node has 110 pods, and a few
	// thousand dead containers at worst.
	maxAnswer = 8 << 20
	// maxHeaders bounds the headers of an answer, which hold a few hundred bytes.
	maxHeaders = 64 << 10
	// buffers are grpc's for each connection: 32 KiB each by default.
	buffers = 4 << 10
	// patience is how long a connection on which nothing has come is kept.
	patience = time.Hour
)

// Client asks the runtime behind one socket. It is for one goroutine, and holds
// nothing between Release and the next call.
type Client struct {
	path string // as we find it
	conn *grpc.ClientConn

	mu   sync.Mutex
	dial error // how the last attempt to connect ended
}

// NewClient is a client of the socket at path, which is ours, not the host's. It
// does not connect yet.
func NewClient(path string) *Client { return &Client{path: path} }

// Release closes the connection; a call makes a new one. A connection that was
// accepted by nobody, or on which the runtime has yet to say its first word, is
// kept for the next call: else each look at a hung runtime would leave one more
// in the queue of its socket, until nobody can connect any more.
func (c *Client) Release() {
	if c.conn == nil || c.conn.GetState() == connectivity.Connecting {
		return
	}
	c.Close()
}

// Close closes the connection, whatever its state.
func (c *Client) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// connect prepares the connection; the first call makes it.
func (c *Client) connect() (runtime.RuntimeServiceClient, error) {
	if c.conn != nil {
		return runtime.NewRuntimeServiceClient(c.conn), nil
	}
	conn, err := grpc.NewClient("passthrough:///localhost",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(c.dialSocket),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: patience}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithReadBufferSize(buffers), grpc.WithWriteBufferSize(buffers),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithNoProxy(),
	)
	if err != nil {
		return nil, err
	}
	c.conn = conn
	return runtime.NewRuntimeServiceClient(conn), nil
}

// dialSocket connects, and keeps the error: grpc makes a text of it.
func (c *Client) dialSocket(ctx context.Context, _ string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	c.mu.Lock()
	c.dial = err
	c.mu.Unlock()
	return conn, err
}

// Version asks who it is: the cheapest call, and the first that kubelet makes.
func (c *Client) Version(ctx context.Context) (Version, error) {
	s, err := c.connect()
	if err != nil {
		return Version{}, err
	}
	r, err := s.Version(ctx, &runtime.VersionRequest{})
	if err != nil {
		return Version{}, c.failed(ctx, "Version", err)
	}
	return Version{Runtime: bounded(r.GetRuntimeName()), Version: bounded(r.GetRuntimeVersion())}, nil
}

// Status asks how it is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	s, err := c.connect()
	if err != nil {
		return Status{}, err
	}
	r, err := s.Status(ctx, &runtime.StatusRequest{})
	if err != nil {
		return Status{}, c.failed(ctx, "Status", err)
	}
	var st Status
	for _, rc := range r.GetStatus().GetConditions() {
		condition := Condition{Known: true, True: rc.GetStatus(), Reason: bounded(rc.GetReason()), Message: bounded(rc.GetMessage())}
		switch rc.GetType() {
		case runtime.RuntimeReady:
			st.Runtime = condition
		case runtime.NetworkReady:
			st.Network = condition
		}
	}
	return st, nil
}

// Setup asks how it is set up: by RuntimeConfig (containerd 2.0, CRI-O 1.28), and
// by what it tells people who debug it, which has no fixed form.
func (c *Client) Setup(ctx context.Context) (Setup, error) {
	s, err := c.connect()
	if err != nil {
		return Setup{}, err
	}
	r, err := s.Status(ctx, &runtime.StatusRequest{Verbose: true})
	if err != nil {
		return Setup{}, c.failed(ctx, "Status", err)
	}
	setup := parseInfo(r.GetInfo())
	config, err := s.RuntimeConfig(ctx, &runtime.RuntimeConfigRequest{})
	if err != nil {
		if err = c.failed(ctx, "RuntimeConfig", err); FailureOf(err) == Unsupported {
			err = nil
		}
		return setup, err
	}
	if linux := config.GetLinux(); linux != nil {
		setup.Announced, setup.CgroupDriver = true, "systemd"
		if linux.GetCgroupDriver() == runtime.CgroupDriver_CGROUPFS {
			setup.CgroupDriver = "cgroupfs"
		}
	}
	return setup, nil
}

// Sandboxes lists all sandboxes.
func (c *Client) Sandboxes(ctx context.Context) ([]Sandbox, error) {
	sandboxes := []Sandbox{}
	err := c.list(ctx, "ListPodSandbox", &runtime.ListPodSandboxRequest{}, func(entry []byte) error {
		s, err := parseSandbox(entry)
		sandboxes = append(sandboxes, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	return sandboxes, nil
}

// Containers lists all containers, the ended ones too.
func (c *Client) Containers(ctx context.Context) ([]Container, error) {
	containers := []Container{}
	err := c.list(ctx, "ListContainers", &runtime.ListContainersRequest{}, func(entry []byte) error {
		k, err := parseContainer(entry)
		containers = append(containers, k)
		return err
	})
	if err != nil {
		return nil, err
	}
	return containers, nil
}

// list makes a call whose answer is a list.
func (c *Client) list(ctx context.Context, call string, request any, visit visitor) error {
	if _, err := c.connect(); err != nil {
		return err
	}
	err := c.conn.Invoke(ctx, "/"+runtime.RuntimeService_ServiceDesc.ServiceName+"/"+call, request, &visit, grpc.ForceCodecV2(newListCodec()))
	if err != nil {
		return c.failed(ctx, call, err)
	}
	return nil
}

// bounded cuts a text of the runtime's: what is longer is no name and no sentence.
func bounded(s string) string {
	const most = 512
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "")
	}
	return s
}
