package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: a containerd, and pods in it.

const (
	pluginDir = "/usr/lib/cni" // of the Debian package
	socket    = "/run/containerd/containerd.sock"
	confDir   = "/etc/cni/net.d"
	binDir    = "/opt/cni/bin"
	conflist  = confDir + "/10-pods.conflist"
	// cgroupParent is where the pods have their cgroups, in the machine's hierarchy.
	cgroupParent = "/nodevitals-runtime-test"
	image        = "ghcr.io/nodevitals/nodevitals:test"
)

// containerd is a running runtime.
type containerd struct {
	t    *testing.T
	exe  string
	root string
	cmd  *exec.Cmd
	gone chan struct{}
	conn *grpc.ClientConn
	cri.RuntimeServiceClient
}

// network is a conflist whose addresses are in a subnet.
func network(subnet string) string {
	return fmt.Sprintf(`{"cniVersion":"0.4.0","name":"pods","plugins":[
	{"type":"bridge","bridge":"cni0","isGateway":true,"ipam":{"type":"host-local","ranges":[[{"subnet":%q}]]}},
	{"type":"portmap","capabilities":{"portMappings":true}}]}`, subnet)
}

// start starts a containerd that is all its own, with a network for pods, and waits
// until it answers. It ends with the test.
func start(t *testing.T) *containerd {
	t.Helper()
	c := &containerd{t: t, exe: "/run/bin/containerd", root: "/run/containerd-root"}
	for _, dir := range []string{"/run/containerd", "/run/bin", confDir, binDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	found, err := exec.LookPath("containerd")
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, found, c.exe)
	for _, plugin := range []string{"bridge", "host-local", "portmap", "loopback"} {
		copyFile(t, pluginDir+"/"+plugin, binDir+"/"+plugin)
	}
	write(t, conflist, network("10.89.1.0/24"))
	write(t, "/run/containerd.toml", fmt.Sprintf(`version = 2
root = %q
state = "/run/containerd/state"
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
`, c.root, socket, image))
	c.run()
	t.Cleanup(func() {
		c.removePods()
		c.kill(syscall.SIGKILL)
		_ = c.conn.Close()
		_ = os.Remove(socket)
		_ = os.RemoveAll("/var/lib/cni/networks")
		_ = os.RemoveAll("/var/lib/kubelet")
	})
	c.conn, err = grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	c.RuntimeServiceClient = cri.NewRuntimeServiceClient(c.conn)
	if out, err := exec.Command("ctr", "-n", "k8s.io", "images", "import", os.Getenv(insideEnv)+"/image.tar").CombinedOutput(); err != nil {
		t.Fatalf("import of the image: %v: %s", err, out)
	}
	return c
}

// run starts the daemon and waits until it answers.
func (c *containerd) run() {
	c.t.Helper()
	log, err := os.Create("/run/containerd.log")
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	c.cmd = exec.Command(c.exe, "-c", "/run/containerd.toml")
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	gone := make(chan struct{})
	c.gone = gone
	cmd := c.cmd
	go func() { _ = cmd.Wait(); close(gone) }()
	await(c.t, "containerd's answer", func() bool {
		return exec.Command("ctr", "--timeout", "2s", "version").Run() == nil
	})
}

// kill ends the daemon.
func (c *containerd) kill(sig syscall.Signal) {
	c.t.Helper()
	_ = c.cmd.Process.Signal(sig)
	select {
	case <-c.gone:
	case <-time.After(20 * time.Second):
		c.t.Fatal("containerd does not end")
	}
}

// pod runs a pod and, if container is not empty, a container in it with these arguments.
func (c *containerd) pod(namespace, name, container string, args ...string) (sandbox, id string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	config := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Namespace: namespace, Uid: "uid-" + name},
		Hostname: name, LogDirectory: "/run/logs", Linux: &cri.LinuxPodSandboxConfig{CgroupParent: cgroupParent},
	}
	s, err := c.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	if err != nil {
		c.t.Fatalf("sandbox of %s: %v", name, err)
	}
	if container != "" {
		c.container(s.PodSandboxId, config, container, 0, args...)
	}
	return s.PodSandboxId, id
}

// container runs a container in a pod.
func (c *containerd) container(sandbox string, pod *cri.PodSandboxConfig, name string, attempt uint32, args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	k, err := c.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: sandbox, SandboxConfig: pod,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: name, Attempt: attempt}, Image: &cri.ImageSpec{Image: image}, Args: args,
			Linux: &cri.LinuxContainerConfig{}, LogPath: fmt.Sprintf("%s-%d.log", name, attempt),
		},
	})
	if err != nil {
		c.t.Fatalf("container %s: %v", name, err)
	}
	if _, err := c.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: k.ContainerId}); err != nil {
		c.t.Fatalf("container %s: %v", name, err)
	}
	return k.ContainerId
}

// removePods ends all pods, so that no cgroup of theirs stays.
func (c *containerd) removePods() {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	list, err := c.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return // it was killed by its test, which had no pods
	}
	for _, s := range list.Items {
		_, _ = c.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: s.Id})
		if _, err := c.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: s.Id}); err != nil {
			c.t.Errorf("sandbox %s: %v", s.Id, err)
		}
	}
	tops, _ := filepath.Glob("/sys/fs/cgroup/*" + cgroupParent)
	await(c.t, "the end of the pods' cgroups", func() bool {
		gone := true
		for _, top := range append(tops, "/sys/fs/cgroup"+cgroupParent) {
			gone = removeCgroups(top) && gone
		}
		return gone
	})
}

// removeCgroups removes a cgroup and those below it, and reports whether they are gone.
func removeCgroups(dir string) bool {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeCgroups(filepath.Join(dir, e.Name()))
		}
	}
	err := os.Remove(dir)
	return err == nil || errors.Is(err, os.ErrNotExist)
}

// node is this machine, as the probes look at it.
func node(t *testing.T) *probes.Node {
	t.Helper()
	h, err := host.New("/")
	if err != nil {
		t.Fatal(err)
	}
	return probes.NewNode(h)
}

// look runs a probe once, within the time that it has in `agent --once`.
func look(t *testing.T, p probes.Probe, n *probes.Node) problem.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := p.Run(ctx, n)
	if err != nil {
		t.Fatalf("probe %s: %v", p.Name(), err)
	}
	return r
}

// wrong is the one verdict on a kind that says that something is wrong.
func wrong(t *testing.T, r problem.Result, kind problem.Kind) problem.Verdict {
	t.Helper()
	i := slices.IndexFunc(r.Verdicts, func(v problem.Verdict) bool { return v.Kind == kind && v.State == problem.Wrong })
	if i < 0 {
		t.Fatalf("%s is not reported: %+v", kind, r.Verdicts)
	}
	return r.Verdicts[i]
}

// quiet fails the test if the probe says of any kind that it is wrong or unknown.
func quiet(t *testing.T, r problem.Result) {
	t.Helper()
	for _, v := range r.Verdicts {
		if v.State == problem.Wrong || v.State == problem.Unknown {
			t.Errorf("%s %q is %s: %s", v.Kind, v.Subject, v.State, v.Message)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline.C:
			log, _ := os.ReadFile("/run/containerd.log")
			t.Fatalf("%s does not come; containerd's log ends: %s", what, log[max(0, len(log)-2000):])
		}
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	// Renamed into place, as an installer does: containerd reads it at once.
	if err := os.WriteFile(file+".new", []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(to)
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// listen puts another server in the runtime's place.
func listen(t *testing.T) net.Listener {
	t.Helper()
	_ = os.Remove(socket)
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
