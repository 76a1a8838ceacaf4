package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/test/cluster"
)

// This file: the control plane and the nodes, as seen from outside the nodes.

const (
	// patience is the longest that anything here takes on a busy machine.
	patience = 2 * time.Minute
	planeIP  = "10.88.0.1"
)

func nodes() []string { return []string{"node-a", "node-b"} }

func nodeIP(name string) string {
	return map[string]string{"node-a": "10.88.0.11", "node-b": "10.88.0.12"}[name]
}

// world is the cluster.
type world struct {
	*cluster.Plane
	t          *testing.T // of the step that is under way
	whole      *testing.T // of all: what is started ends with it
	kubeconfig string
	began      time.Time
	inits      map[string]*exec.Cmd // each node's first process
}

// furnishPlane gives the cluster a /proc of its processes, and an empty /run.
func furnishPlane() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	return unix.Mount("run", "/run", "tmpfs", 0, "mode=755")
}

// begin starts the cluster and waits until its nodes are ready.
func begin(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, whole: t, began: time.Now(), inits: map[string]*exec.Cmd{}}
	dir, kubeall := os.Getenv(insideEnv), os.Getenv(kubeallEnv)
	w.must(network())
	var err error
	w.Plane, err = cluster.Start(dir, kubeall, "--advertise-address="+planeIP, "--allow-privileged", "--kubelet-preferred-address-types=InternalIP")
	w.must(err)
	t.Cleanup(w.Stop)
	w.must(w.serve())
	w.say("the API server is ready")
	for _, component := range [][]string{
		{
			"kube-controller-manager", "--use-service-account-credentials", "--service-account-private-key-file=" + dir + "/tokens.key",
			"--root-ca-file=" + dir + "/ca.crt", "--leader-elect=false", "--bind-address=127.0.0.1", "--cert-dir=" + dir + "/manager",
		},
		{"kube-scheduler", "--leader-elect=false", "--bind-address=127.0.0.1", "--cert-dir=" + dir + "/scheduler"},
	} {
		config, err := w.Kubeconfig(cluster.User{Name: "system:" + component[0]})
		w.must(err)
		w.start(component[0], kubeall, append(component, "--kubeconfig="+config, "--authentication-kubeconfig="+config, "--authorization-kubeconfig="+config)...)
	}
	w.kubeconfig, err = w.Kubeconfig(cluster.Admin())
	w.must(err)
	for _, n := range nodes() {
		w.startNode(n)
	}
	for _, n := range nodes() {
		for _, archive := range []string{"agent.tar", "pod.tar"} {
			w.await(n+" imports "+archive, func() error {
				_, err := w.in(n, "ctr", "--timeout=20s", "-n=k8s.io", "images", "import", filepath.Join(dir, archive))
				return err
			})
		}
	}
	for _, n := range nodes() {
		w.await(n+" is Ready", func() error { return w.has(n, "Ready", "True") })
		w.say(n + " is Ready")
	}
	return w
}

// network makes the bridge that the nodes' cables go to. The cluster's service has
// its address on lo: there is no kube-proxy.
func network() error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := up(lo, serviceIP+"/32"); err != nil {
		return err
	}
	if err := up(bridge, planeIP+"/24"); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

// up gives a link an address, if any, and switches it on.
func up(link netlink.Link, address string) error {
	if address != "" {
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

// route adds a route to a network, or with "" the default route.
func route(to, via string) error {
	r := &netlink.Route{Gw: net.ParseIP(via)}
	if to != "" {
		_, dst, err := net.ParseCIDR(to)
		if err != nil {
			return err
		}
		r.Dst = dst
	}
	return netlink.RouteAdd(r)
}

// serviceIP is that of the service "kubernetes".
const serviceIP = "10.96.0.1"

// serve hands connections to the service on to the API server.
func (w *world) serve() error {
	u, err := url.Parse(w.URL)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", serviceIP+":443")
	if err != nil {
		return err
	}
	w.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = from.Close() }()
				to, err := net.Dial("tcp", u.Host)
				if err != nil {
					return
				}
				defer func() { _ = to.Close() }()
				go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
				_, _ = io.Copy(from, to)
			}()
		}
	}()
	return nil
}

// start starts a program beside the nodes, which ends with the test.
func (w *world) start(name, path string, args ...string) *exec.Cmd {
	w.t.Helper()
	log, err := os.Create(filepath.Join(w.Dir, name+".log"))
	w.must(err)
	defer func() { _ = log.Close() }()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	w.run(cmd)
	return cmd
}

func (w *world) run(cmd *exec.Cmd) {
	w.t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	w.must(cmd.Start())
	w.whole.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// startNode starts a node and plugs its cable in.
func (w *world) startNode(name string) {
	w.t.Helper()
	config, err := w.Kubeconfig(cluster.Kubelet(name))
	w.must(err)
	raw, err := os.ReadFile(config)
	w.must(err)
	w.must(os.WriteFile(nodeDir(name)+".kubeconfig", []byte(strings.Replace(string(raw), w.URL, "https://"+serviceIP, 1)), 0o600))
	log, err := os.Create(nodeDir(name) + ".log")
	w.must(err)
	defer func() { _ = log.Close() }()
	cmd := exec.Command("/proc/self/exe")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), nodeEnv+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS}
	w.run(cmd)
	w.inits[name] = cmd
	plug := "to-" + name
	w.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: plug}, PeerName: "eth0", PeerNamespace: netlink.NsPid(cmd.Process.Pid)}))
	link, err := netlink.LinkByName(plug)
	w.must(err)
	bridge, err := netlink.LinkByName("br0")
	w.must(err)
	w.must(netlink.LinkSetMaster(link, bridge))
	w.must(up(link, ""))
	w.must(route(podNet(name), nodeIP(name)))
}

// in runs a command on a node.
func (w *world) in(node string, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return output(w.enter(ctx, node, command...))
}

func (w *world) enter(ctx context.Context, node string, command ...string) *exec.Cmd {
	pid := fmt.Sprint(w.inits[node].Process.Pid)
	return exec.CommandContext(ctx, "nsenter", append([]string{"-t", pid, "-m", "-n", "-u", "-p", "-C", "--"}, command...)...)
}

// kubectl runs it as the administrator.
func (w *world) kubectl(args ...string) string {
	w.t.Helper()
	out, err := w.Kubectl("", args...)
	w.must(err)
	return out
}

// helm runs helm as the administrator.
func (w *world) helm(args ...string) string {
	w.t.Helper()
	cmd := exec.Command(os.Getenv(helmEnv), append(args, "--namespace=kube-system", "--kubeconfig="+w.kubeconfig)...)
	for _, kind := range []string{"CACHE", "CONFIG", "DATA"} {
		cmd.Env = append(cmd.Env, "HELM_"+kind+"_HOME="+filepath.Join(w.Dir, "helm"))
	}
	cmd.Env = append(cmd.Env, os.Environ()...)
	out, err := output(cmd)
	w.must(err)
	return out
}

func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out), err
}

// condition is one of a Node's.
type condition struct {
	Type, Status, Reason, Message string
}

// conditions are a Node's, by type.
func (w *world) conditions(node string) (map[string]condition, error) {
	var n struct {
		Status struct{ Conditions []condition }
	}
	if err := w.Get("/api/v1/nodes/"+node, &n); err != nil {
		return nil, err
	}
	out := map[string]condition{}
	for _, c := range n.Status.Conditions {
		out[c.Type] = c
	}
	return out, nil
}

// has checks that a Node's condition has a status.
func (w *world) has(node, typ, status string) error {
	all, err := w.conditions(node)
	if err != nil {
		return err
	}
	c := all[typ]
	if c.Status != status {
		return fmt.Errorf("%s of %s is %+v, want %s", typ, node, c, status)
	}
	return nil
}

// await waits until check is content.
func (w *world) await(what string, check func() error) {
	w.t.Helper()
	if err := cluster.Await(patience, check); err != nil {
		w.logs()
		w.t.Fatalf("%s: %v", what, err)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.logs()
		w.t.Fatal(err)
	}
}

// say tells how far the test has come.
func (w *world) say(what string) {
	fmt.Printf("[%5.1f s] %s\n", time.Since(w.began).Seconds(), what)
}

// logs shows the ends of all logs.
func (w *world) logs() {
	for _, n := range nodes() {
		if w.inits[n] != nil {
			out, err := w.in(n, "tail", "-n", "15", kubeletLog, "/var/log/containerd.log")
			w.t.Logf("%s: %s %v", n, out, err)
		}
	}
	if out, err := w.Kubectl("", "logs", "-n=kube-system", "-l=app.kubernetes.io/name=nodevitals", "--tail=30", "--prefix"); err == nil {
		w.t.Log(out)
	}
	files, err := filepath.Glob(filepath.Join(os.Getenv(insideEnv), "*.log"))
	for _, f := range files {
		raw, e := os.ReadFile(f)
		err = errors.Join(err, e)
		w.t.Logf("%s: %s", f, raw[max(0, len(raw)-1500):])
	}
	if err != nil {
		w.t.Log(err)
	}
}
