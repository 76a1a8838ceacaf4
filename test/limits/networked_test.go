package limits

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
)

// This file makes a small network out of three network namespaces: a node, a pod
// behind it, and the world outside.
//
//	pod 10.244.1.7 ── cni0 10.244.1.1 [node] eth0 192.0.2.1 ── 192.0.2.2 outside

// rootEnv names the folder with the node's files.
const rootEnv = "NODEVITALS_TEST_ROOT"

const (
	podAddress, podGateway    = "10.244.1.7/24", "10.244.1.1/24"
	nodeAddress, worldOutside = "192.0.2.1/24", "192.0.2.2/24"
	dockerAddress             = "172.17.0.1/16"
)

// networked is a helper that is the node of such a network. Orders:
//
//	build             makes the network: it needs the new /proc
//	look PROBE        runs it
//	run WORDS         runs a program, such as iptables
//	send N            sends N datagrams from the pod to the world; how many arrive
//	sysctl FILE V     writes below /proc/sys/net
//	route add|del     the default route
//	outside up|down   the far end of eth0
//	flap N            sets it down and up N times
//	firewall accept|drop|none  makes a chain of nftables' own with that policy
func networked() {
	n := &network{probes: map[string]probes.Probe{}}
	for _, s := range probes.All() {
		n.probes[s.Name()] = s.Probe
	}
	insideRoot(os.Getenv(rootEnv), func(name string) probes.Probe { return n.probes[name] }, map[string]func(string) (string, error){
		"build":  func(string) (string, error) { return "", n.build() },
		"run":    run,
		"send":   func(arg string) (string, error) { return n.send(number(arg)) },
		"sysctl": sysctl,
		"route":  route,
		"outside": func(arg string) (string, error) {
			return "", within(n.outside, func() error { return setLink("far0", arg == "up") })
		},
		"flap":     func(arg string) (string, error) { return "", n.flap(number(arg)) },
		"firewall": firewall,
	})
}

// network is the helper's network: descriptors of the other two namespaces.
type network struct {
	pod, outside int
	probes       map[string]probes.Probe
}

func (n *network) build() (err error) {
	if n.pod, err = newNamespace(); err != nil {
		return err
	}
	if n.outside, err = newNamespace(); err != nil {
		return err
	}
	bridges := []struct{ name, address string }{{"cni0", podGateway}, {"docker0", dockerAddress}}
	for _, b := range bridges {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = b.name
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("bridge %s: %w", b.name, err)
		}
		if err := configure(b.name, b.address, ""); err != nil {
			return err
		}
	}
	if err := addVeth("vethpod", "pod0", n.pod); err != nil {
		return err
	}
	if err := addVeth("eth0", "far0", n.outside); err != nil {
		return err
	}
	bridge, err := netlink.LinkByName("cni0")
	if err != nil {
		return err
	}
	port, err := netlink.LinkByName("vethpod")
	if err != nil {
		return err
	}
	return errors.Join(
		setLink("lo", true),
		netlink.LinkSetMaster(port, bridge),
		setLink("vethpod", true),
		configure("eth0", nodeAddress, worldOutside),
		within(n.pod, func() error { return configure("pod0", podAddress, podGateway) }),
		within(n.outside, func() error { return configure("far0", worldOutside, nodeAddress) }),
	)
}

// newNamespace makes a network namespace and returns a descriptor of it.
func newNamespace() (fd int, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		fd, err = unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// within calls do in a network namespace.
func within(namespace int, do func() error) error {
	return onThread(func() error {
		if err := unix.Setns(namespace, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return do()
	})
}

// onThread calls do on a thread of its own, which ends with it. The process's
// first thread is left as it is: /proc/PID/net is that one's.
func onThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onThread(do)
			runtime.UnlockOSThread()
			return
		}
		done <- do()
	}()
	return <-done
}

// addVeth makes a pair of links and moves the far one to a namespace.
func addVeth(near, far string, namespace int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = near
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: far}); err != nil {
		return fmt.Errorf("veth %s: %w", near, err)
	}
	peer, err := netlink.LinkByName(far)
	if err != nil {
		return err
	}
	return netlink.LinkSetNsFd(peer, namespace)
}

// configure sets a link up, with an address, and a default route if a gateway is given.
func configure(link, address, gateway string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.AddrAdd(l, addr), netlink.LinkSetUp(l)); err != nil || gateway == "" {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: ipOf(gateway)})
}

func ipOf(prefix string) net.IP { return netip.MustParsePrefix(prefix).Addr().AsSlice() }

func setLink(name string, up bool) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if up {
		return netlink.LinkSetUp(l)
	}
	return netlink.LinkSetDown(l)
}

func run(words string) (string, error) {
	f := strings.Fields(words)
	if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
		return fmt.Sprintf("%v: %s", err, strings.ReplaceAll(string(out), "\n", " ")), nil
	}
	return "", nil
}

func sysctl(arg string) (string, error) {
	file, value, _ := strings.Cut(arg, " ")
	return "", os.WriteFile(filepath.Join("/proc/sys/net", file), []byte(value), 0)
}

func route(verb string) (string, error) {
	l, err := netlink.LinkByName("eth0")
	if err != nil {
		return "", err
	}
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Gw: ipOf(worldOutside)}
	if verb == "add" {
		return "", netlink.RouteAdd(r)
	}
	r.Dst = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	return "", netlink.RouteDel(r)
}

func (n *network) flap(times int) error {
	for range times {
		err := within(n.outside, func() error { return errors.Join(setLink("far0", false), setLink("far0", true)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// send sends datagrams from the pod, and counts those that arrive outside.
func (n *network) send(count int) (string, error) {
	sink, from := -1, -1
	err := within(n.outside, func() (err error) {
		if sink, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(sink, &unix.SockaddrInet4{Port: 9})
	})
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(sink) }()
	err = within(n.pod, func() (err error) {
		from, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(from) }()
	to := &unix.SockaddrInet4{Port: 9, Addr: [4]byte(ipOf(worldOutside))}
	for range count {
		// "Unreachable" is how a node that does not forward answers.
		if err := unix.Sendto(from, []byte{0}, 0, to); err != nil && !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
			return "", err
		}
	}
	// What is dropped never comes: that is waited for in vain.
	arrived := 0
	for arrived < count {
		wait := []unix.PollFd{{Fd: int32(sink), Events: unix.POLLIN}}
		if ready, err := unix.Poll(wait, 500); ready == 0 && err == nil {
			break
		} else if err != nil {
			continue // interrupted
		}
		if _, _, err := unix.Recvfrom(sink, make([]byte, 1), 0); err != nil {
			return "", err
		}
		arrived++
	}
	return fmt.Sprint(arrived), nil
}

// firewall makes a chain as hand-written firewalls have it, which does not count.
func firewall(policy string) (string, error) {
	c, err := nftables.New()
	if err != nil {
		return "", err
	}
	table := &nftables.Table{Name: "firewall", Family: nftables.TableFamilyINet}
	if policy == "none" {
		c.DelTable(table)
		return "", c.Flush()
	}
	p := nftables.ChainPolicyAccept
	if policy == "drop" {
		p = nftables.ChainPolicyDrop
	}
	c.AddChain(&nftables.Chain{
		Name: "routed", Table: c.AddTable(table), Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &p,
	})
	return "", c.Flush()
}

// startNetworked starts the helper, on a node with a kubelet and the bridge plugin.
func startNetworked(t *testing.T) *helper {
	t.Helper()
	h, _ := startNetworkedAt(t)
	return h
}

// startNetworkedAt also says where the node's root is.
func startNetworkedAt(t *testing.T) (h *helper, root string) {
	t.Helper()
	root = t.TempDir()
	for p, content := range map[string]string{
		"var/lib/kubelet/config.yaml":       "kind: KubeletConfiguration\n",
		"var/lib/kubelet/kubeadm-flags.env": "KUBELET_KUBEADM_ARGS=\"--kubeconfig=/etc/kubernetes/kubelet.conf\"\n",
		"etc/kubernetes/kubelet.conf": "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n" +
			"clusters: [{name: c, cluster: {server: \"https://198.51.100.5:6443\"}}]\n",
		"etc/resolv.conf": "nameserver 192.0.2.53\n",
		"etc/cni/net.d/10-net.conflist": `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge","bridge":"cni0",` +
			`"ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.1.0/24"}]]}}]}`,
	} {
		full := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h = startInside(t, "networked", unix.CLONE_NEWNET, rootEnv+"="+root)
	h.say("build")
	return h, root
}
