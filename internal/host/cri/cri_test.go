package cri

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
)

// client is one whose connection is closed when the test ends.
func client(t *testing.T, socket string) *Client {
	t.Helper()
	c := NewClient(socket)
	t.Cleanup(c.Close)
	return c
}

func TestAnswers(t *testing.T) {
	f := &fake{
		status: &runtime.StatusResponse{
			Status: &runtime.RuntimeStatus{Conditions: []*runtime.RuntimeCondition{
				{Type: "RuntimeReady", Status: true},
				{Type: "NetworkReady", Reason: "NetworkPluginNotReady", Message: strings.Repeat("x", 10_000)},
				{Type: "Other"},
			}},
			Info: map[string]string{"config": `{"cni":{"binDirs":["/opt/cni/bin"],"confDir":"/etc/cni/net.d"},"containerd":{"defaultRuntimeName":"runc",
				"runtimes":{"runc":{"options":{"SystemdCgroup":true}}}},"containerdRootDir":"/var/lib/containerd"}`, "lastCNILoadStatus": "cni config load failed"},
		},
		sandboxes: []*runtime.PodSandbox{
			{Id: "s1", Metadata: &runtime.PodSandboxMetadata{Namespace: "kube-system", Name: "kube-proxy-x", Uid: "u1"}, CreatedAt: 1e9},
			{}, // nothing at all
		},
		containers: []*runtime.Container{
			{Id: "c1", PodSandboxId: "s1", Metadata: &runtime.ContainerMetadata{Name: "kube-proxy", Attempt: 7}, State: runtime.ContainerState_CONTAINER_RUNNING, CreatedAt: 2e9},
			{State: 77},
		},
	}
	c := client(t, f.serve(t))
	ctx := t.Context()
	if v, err := c.Version(ctx); err != nil || v.String() != "fake 1.0" {
		t.Errorf("version %s, %v", v, err)
	}
	st, err := c.Status(ctx)
	if err != nil || !st.Runtime.Known || !st.Runtime.True || !st.Network.Known || st.Network.True || len(st.Network.Message) > 512 {
		t.Errorf("status %+v, %v", st, err)
	}
	sandboxes, err := c.Sandboxes(ctx)
	want := Sandbox{ID: "s1", Namespace: "kube-system", Name: "kube-proxy-x", UID: "u1", Ready: true, Created: time.Unix(1, 0)}
	if err != nil || len(sandboxes) != 2 || sandboxes[0] != want {
		t.Errorf("sandboxes %+v, %v", sandboxes, err)
	}
	containers, err := c.Containers(ctx)
	if err != nil || len(containers) != 2 ||
		containers[0] != (Container{ID: "c1", Sandbox: "s1", Name: "kube-proxy", Attempt: 7, Running: true, Created: time.Unix(2, 0)}) {
		t.Errorf("containers %+v, %v", containers, err)
	}
	setup, err := c.Setup(ctx)
	told := Setup{
		CgroupDriver: "systemd", CNIConfDir: "/etc/cni/net.d", CNIBinDirs: []string{"/opt/cni/bin"},
		CNIError: "cni config load failed", Root: "/var/lib/containerd",
	}
	if err != nil || !reflect.DeepEqual(setup, told) {
		t.Errorf("setup %+v, %v", setup, err)
	}
	f.config = &runtime.RuntimeConfigResponse{Linux: &runtime.LinuxRuntimeConfiguration{CgroupDriver: runtime.CgroupDriver_CGROUPFS}}
	if setup, err = c.Setup(ctx); err != nil || setup.CgroupDriver != "cgroupfs" || !setup.Announced {
		t.Errorf("setup with RuntimeConfig %+v, %v", setup, err)
	}
	c.Release()
	if c.conn != nil {
		t.Error("the connection is kept, though the runtime answers")
	}
	if _, err := c.Version(ctx); err != nil {
		t.Errorf("after Release: %v", err)
	}
}

func TestFailures(t *testing.T) {
	_, unanswered := listen(t) // nobody accepts
	gone := filepath.Join(t.TempDir(), "gone")
	refusing := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: refusing, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after SIGKILL
	_ = l.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	big := &fake{}
	for range 600 {
		big.sandboxes = append(big.sandboxes, &runtime.PodSandbox{Annotations: map[string]string{"a": strings.Repeat("x", 16<<10)}})
	}
	for _, tc := range []struct {
		name, socket string
		want         Failure
		says         string
	}{
		{"no socket", gone, Absent, "no such file"},
		{"nobody listens", refusing, Refused, "connection refused"},
		{"a file", file, Refused, "connection refused"},
		{"nobody accepts", unanswered, Silent, "Version"},
		{"silent", raw(t, silent), Silent, "Version"},
		{"hangs in a call", (&fake{hang: "ListPodSandbox"}).serve(t), Silent, "ListPodSandbox"},
		{"hangs up", raw(t, func(net.Conn) {}), Broken, "Version"},
		{"HTTP/1", raw(t, http1), Foreign, "HTTP/1.1"},
		{"noise", raw(t, noise), Foreign, "Version"},
		{"headers without end", raw(t, hello), Broken, "Version"},
		{"a web server", web(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "what", http.StatusTeapot) }), Foreign, ""},
		{"too much", big.serve(t), Broken, "larger than max"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			c := client(t, tc.socket)
			_, err := c.Version(ctx)
			if err == nil {
				_, err = c.Sandboxes(ctx)
			}
			if err == nil {
				t.Fatal("it answers")
			}
			if FailureOf(err) != tc.want || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("failure %d: %v; want %d that says %q", FailureOf(err), err, tc.want, tc.says)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// web is a web server, which speaks HTTP/2 without TLS as well.
func web(t *testing.T, handle http.HandlerFunc) (socket string) {
	t.Helper()
	l, socket := listen(t)
	s := &http.Server{Handler: handle, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return socket
}

// A runtime that does not take connections must not find hundreds of ours once it
// does, nor its queue be full for everyone else.
func TestOneConnectionWaits(t *testing.T) {
	l, socket := listen(t)
	c := client(t, socket)
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := c.Version(ctx); FailureOf(err) != Silent {
			t.Fatalf("nobody accepts, but %v", err)
		}
		cancel()
		c.Release()
	}
	if n := queued(t, l); n != 1 {
		t.Errorf("%d connections wait in the queue, want 1", n)
	}
	// It comes back: the same connection is served.
	f := &fake{stop: make(chan struct{})}
	stop := serveOn(t, f, l)
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.Version(ctx); err != nil {
		t.Errorf("it answers again, but %v", err)
	}
}

// A full queue is a runtime that does not answer, not one that is down.
func TestFullQueue(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: dir + "/s"})
	}
	if err == nil {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c, err := net.Dial("unix", dir+"/s")
		if err != nil {
			break
		}
		defer func() { _ = c.Close() }()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := client(t, dir+"/s").Version(ctx); FailureOf(err) != Silent {
		t.Errorf("failure %d: %v", FailureOf(err), err)
	}
}

// What comes without end takes no memory without end.
func TestMemoryIsBounded(t *testing.T) {
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	for _, handle := range []func(net.Conn){noise, hello, http1} {
		c := client(t, raw(t, handle))
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := c.Version(ctx); err == nil {
				t.Error("garbage is taken for an answer")
			}
			cancel()
			c.Release()
		}
	}
	goruntime.ReadMemStats(&after)
	if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 32<<20 {
		t.Errorf("%d MiB were allocated", grown>>20)
	}
}

func TestDocker(t *testing.T) {
	answer := func(path, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == path {
				_, _ = fmt.Fprint(w, body)
			}
		}
	}
	good := NewDocker(web(t, answer("/info", `{"ServerVersion":"24.0.7","CgroupDriver":"systemd","DockerRootDir":"/var/lib/docker"}`)))
	if err := good.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	v, s, err := good.Info(t.Context())
	if err != nil || v.String() != "docker 24.0.7" || s.CgroupDriver != "systemd" || s.Root != "/var/lib/docker" {
		t.Errorf("%s, %+v, %v", v, s, err)
	}
	for _, tc := range []struct {
		name, socket string
		want         Failure
	}{
		{"absent", filepath.Join(t.TempDir(), "gone"), Absent},
		{"silent", raw(t, silent), Silent},
		{"noise", raw(t, noise), Foreign},
		{"hangs up", raw(t, func(net.Conn) {}), Broken},
		{"no JSON", web(t, answer("/info", "many")), Foreign},
		{"too much", web(t, answer("/info", strings.Repeat("x", maxAnswer+1))), Foreign},
		{"an error", web(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }), Broken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, _, err := NewDocker(tc.socket).Info(ctx); FailureOf(err) != tc.want {
				t.Errorf("failure %d: %v, want %d", FailureOf(err), err, tc.want)
			}
		})
	}
}

func TestFind(t *testing.T) {
	const containerd, crio = "unix:///run/containerd/containerd.sock", "unix:///var/run/crio/crio.sock"
	for _, tc := range []struct {
		name    string
		files   []string
		kubelet string // its endpoint; empty: there is none
		want    Endpoint
	}{
		{"nothing", nil, "", Endpoint{}},
		{"configured", []string{"/run/crio/crio.sock"}, crio, Endpoint{Socket: "/run/crio/crio.sock", Configured: true, Exists: true}},
		{"configured and gone", []string{"/run/docker.sock"}, crio, Endpoint{Socket: "/run/crio/crio.sock", Configured: true}},
		{"default", []string{"/run/containerd/containerd.sock"}, containerd, Endpoint{Socket: "/run/containerd/containerd.sock", Configured: true, Exists: true}},
		{"default and gone", nil, containerd, Endpoint{Socket: "/run/containerd/containerd.sock", Configured: true}},
		{"old default", []string{"/run/docker.sock"}, containerd, Endpoint{Socket: DockerSocket, Docker: true, Configured: true, Exists: true}},
		{"dockershim", []string{"/run/docker.sock"}, "unix:///var/run/dockershim.sock", Endpoint{Socket: DockerSocket, Docker: true, Configured: true, Exists: true}},
		{"no unix socket", []string{"/run/crio/crio.sock"}, "tcp://localhost:1", Endpoint{Socket: "/run/crio/crio.sock", Configured: true, Exists: true}},
		{"no kubelet", []string{"/run/docker.sock", "/run/k3s/containerd/containerd.sock"}, "", Endpoint{Socket: "/run/k3s/containerd/containerd.sock", Exists: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			for _, f := range append(tc.files, "/proc/loadavg") {
				if err := os.MkdirAll(filepath.Join(root, filepath.Dir(f)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(root, f), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			h, err := host.New(root)
			if err != nil {
				t.Fatal(err)
			}
			got := Find(h, kubelet.Settings{Found: tc.kubelet != "", ContainerRuntimeEndpoint: tc.kubelet})
			if got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

// The info has no fixed form: whatever it is, what is made of it is bounded.
func FuzzInfo(f *testing.F) {
	f.Add(`{"cni":{"binDir":"/opt/cni/bin","confDir":"/etc/cni/net.d"},"containerd":{"defaultRuntimeName":"runc","runtimes":{"runc":{"options":null}}}}`, `"OK"`)
	f.Add("{", "cni config load failed: no network config found")
	f.Fuzz(func(t *testing.T, config, load string) {
		s := parseInfo(map[string]string{"config": config, "lastCNILoadStatus": load})
		if len(s.CNIBinDirs) > maxBinDirs || len(s.CNIConfDir) > 512 || len(s.CNIError) > 512 || len(s.Root) > 512 {
			b, _ := json.Marshal(s)
			t.Errorf("%s", b)
		}
	})
}

// The wire is read as the generated types read it.
func FuzzLists(f *testing.F) {
	add := func(m proto.Message) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	add(&runtime.ListContainersResponse{Containers: []*runtime.Container{{
		Id: "c", PodSandboxId: "s", Metadata: &runtime.ContainerMetadata{Name: "n", Attempt: 3}, State: runtime.ContainerState_CONTAINER_RUNNING,
		CreatedAt: -5, Labels: map[string]string{"a": "b"}, Image: &runtime.ImageSpec{Image: "i"},
	}, {}}})
	add(&runtime.ListPodSandboxResponse{Items: []*runtime.PodSandbox{{
		Id: "s", Metadata: &runtime.PodSandboxMetadata{Name: "n", Namespace: "ns", Uid: "u", Attempt: 1}, State: runtime.PodSandboxState_SANDBOX_NOTREADY,
		CreatedAt: 1e18, Annotations: map[string]string{"a": "b"},
	}}})
	f.Add([]byte{0x18, 1, 0x12, 1, 'x', 0x0a, 0}) // fields of a later version
	f.Fuzz(func(t *testing.T, b []byte) {
		containers, sandboxes := []Container{}, []Sandbox{}
		errC := eachEntry(bytes.NewReader(b), func(e []byte) error {
			c, err := parseContainer(e)
			containers = append(containers, c)
			return err
		})
		errS := eachEntry(bytes.NewReader(b), func(e []byte) error {
			s, err := parseSandbox(e)
			sandboxes = append(sandboxes, s)
			return err
		})
		var (
			cs runtime.ListContainersResponse
			ss runtime.ListPodSandboxResponse
		)
		if errC == nil && proto.Unmarshal(b, &cs) == nil {
			if len(cs.Containers) != len(containers) {
				t.Fatalf("%d containers, want %d", len(containers), len(cs.Containers))
			}
			for i, k := range cs.Containers {
				want := Container{
					ID: bounded(k.GetId()), Sandbox: bounded(k.GetPodSandboxId()), Name: bounded(k.GetMetadata().GetName()), Attempt: k.GetMetadata().GetAttempt(),
					Running: k.GetState() == runtime.ContainerState_CONTAINER_RUNNING, Created: time.Unix(0, k.GetCreatedAt()),
				}
				if containers[i] != want {
					t.Errorf("%+v, want %+v", containers[i], want)
				}
			}
		}
		if errS == nil && proto.Unmarshal(b, &ss) == nil {
			if len(ss.Items) != len(sandboxes) {
				t.Fatalf("%d sandboxes, want %d", len(sandboxes), len(ss.Items))
			}
			for i, p := range ss.Items {
				m := p.GetMetadata()
				want := Sandbox{
					ID: bounded(p.GetId()), Namespace: bounded(m.GetNamespace()), Name: bounded(m.GetName()), UID: bounded(m.GetUid()),
					Ready: p.GetState() == runtime.PodSandboxState_SANDBOX_READY, Created: time.Unix(0, p.GetCreatedAt()),
				}
				if sandboxes[i] != want {
					t.Errorf("%+v, want %+v", sandboxes[i], want)
				}
			}
		}
	})
}
