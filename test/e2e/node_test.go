package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/test/cluster"
)

// This file runs inside a node: its mounts, containerd and kubelet.

const (
	pluginDir  = "/usr/lib/cni" // of the Debian package
	image      = "ghcr.io/nodevitals/nodevitals"
	kubeletLog = "/var/log/kubelet.log"
	// kubeletConfig is where kubeadm puts it.
	kubeletConfig = "/var/lib/kubelet/config.yaml"

	containerdSocket = "/run/containerd/containerd.sock"
	journald         = "/lib/systemd/systemd-journald"
)

// nodeDir is where the cluster keeps what is for a node, or comes of it.
func nodeDir(name string) string { return filepath.Join(os.Getenv(insideEnv), name) }

// runNode is a node's first process: it starts containerd, kubelet and a journald, and
// reaps whatever is orphaned. It ends with the node.
func runNode(name string) error {
	if err := furnishNode(name); err != nil {
		return err
	}
	kubeall := os.Getenv(kubeallEnv)
	for _, program := range [][]string{
		{"containerd", "-c", "/etc/containerd.toml"},
		{journald},
		{kubeall, "kubelet", "--config=" + kubeletConfig, "--kubeconfig=" + nodeDir(name) + ".kubeconfig", "--hostname-override=" + name, "--node-ip=" + nodeIP(name)},
	} {
		path, err := exec.LookPath(program[0])
		if err != nil {
			return err
		}
		at := kubeletLog
		if path != kubeall {
			at = "/var/log/" + filepath.Base(path) + ".log"
		}
		log, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		if path == kubeall { // its process is to be called kubelet
			if err := os.Symlink(kubeall, "/run/kubelet"); err != nil {
				return err
			}
			path, program = "/run/kubelet", append([]string{"kubelet"}, program[2:]...)
			if err := cluster.Await(patience, func() error { _, err := os.Stat(containerdSocket); return err }); err != nil {
				return err // without it kubelet would end, and nobody would start it again
			}
		}
		_, err = syscall.ForkExec(path, program, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, log.Fd(), log.Fd()}})
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); errors.Is(err, syscall.ECHILD) {
			return errors.New("containerd and kubelet have ended")
		}
	}
}

// furnishNode makes the inside of the namespaces look like a machine of its own.
func furnishNode(name string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return err
	}
	mounts := []struct {
		at, kind, data string
	}{
		{"/proc", "proc", ""},
		{"/sys", "sysfs", ""},
		{"/run", "tmpfs", "mode=755"},
		{"/etc", "overlay", ""},
		{"/opt", "overlay", ""},
		{"/var", "overlay", ""},
		{"/mnt", "tmpfs", ""},
		{"/var/log", "tmpfs", "size=256m"},
		{"/var/lib/nodevitals", "tmpfs", ""},
		{"/var/lib/kubelet", "tmpfs", "size=1g"},
		{"/var/lib/containerd", "tmpfs", "size=1g"},
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, m := range mounts {
		if m.kind == "overlay" {
			over := "/run/over" + m.at
			for _, d := range []string{"upper", "work"} {
				if err := os.MkdirAll(filepath.Join(over, d), 0o755); err != nil {
					return err
				}
			}
			m.data = fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", m.at, over, over)
		}
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, m.data); err != nil {
			return fmt.Errorf("%s on %s: %w", m.kind, m.at, err)
		}
	}
	if err := mountCgroups(all); err != nil {
		return err
	}
	if err := unix.Mount("fusectl", "/sys/fs/fuse/connections", "fusectl", 0, ""); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	// As systemd does: mounts that come later are seen in pods.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return err
	}
	if err := connect(name); err != nil {
		return err
	}
	for _, dir := range []string{"/run/systemd/journal", "/var/log/journal"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for file, text := range map[string]string{
		"/etc/containerd.toml": `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + image + `:pod"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "` + pluginDir + `"
`,
		"/etc/cni/net.d/10-pods.conflist": fmt.Sprintf(`{"cniVersion":"0.4.0","name":"pods","plugins":[
	{"type":"bridge","bridge":"cni0","isGateway":true,"ipam":{"type":"host-local","ranges":[[{"subnet":%q}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`, podNet(name)),
		// No line is too many for it, and the machine's kernel log is not the node's.
		"/etc/systemd/journald.conf": "[Journal]\nStorage=persistent\nRateLimitBurst=0\nRateLimitIntervalSec=0\nReadKMsg=no\n",
		"/etc/resolv.conf":           "nameserver " + planeIP + "\n",
		kubeletConfig: `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
failSwapOn: false
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
runtimeRequestTimeout: 10s
containerRuntimeEndpoint: unix://` + containerdSocket + `
enforceNodeAllocatable: []
evictionHard: {memory.available: 10Mi, nodefs.available: 1%, imagefs.available: 1%}
nodeStatusUpdateFrequency: 2s
podPidsLimit: ` + fmt.Sprint(podPIDs) + `
`,
	} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		_ = os.Remove(file) // a link, perhaps
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// podPIDs is how many tasks a pod may have.
const podPIDs = 100

// connect waits for the node's cable (cluster_test.go) and gives it its address.
func connect(name string) error {
	deadline := time.Now().Add(patience)
	var cable netlink.Link
	for {
		var err error
		if cable, err = netlink.LinkByName("eth0"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no eth0: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := up(cable, nodeIP(name)+"/24"); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := up(lo, ""); err != nil {
		return err
	}
	if err := route("", planeIP); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

func podNet(node string) string {
	return "10.89." + strings.TrimPrefix(nodeIP(node), "10.88.0.") + ".0/24"
}
