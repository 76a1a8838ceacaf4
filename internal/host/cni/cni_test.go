package cni

import (
	"errors"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host"
)

// tree makes a host root that holds the given files (path → content).
func tree(t *testing.T, files map[string]string) *host.Host {
	t.Helper()
	root := t.TempDir()
	write := func(p, content string) {
		full := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("/proc/loadavg", "")
	for p, content := range files {
		write(p, content)
	}
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

const (
	bridge = `{"cniVersion":"1.0.0","name":"pods","plugins":[
		{"type":"bridge","bridge":"cni0","ipam":{"type":"host-local","ranges":[[{"subnet":"10.89.1.0/24"}],[{"subnet":"fd00:1::/64"}]]}},
		{"type":"portmap","capabilities":{"portMappings":true}}]}`
	flannel = `{"name":"cbr0","plugins":[{"type":"flannel","delegate":{"hairpinMode":true}},{"type":"portmap"}]}`
	single  = `{"name":"old","type":"bridge","ipam":{"type":"host-local","subnet":"10.1.0.0/16","rangeStart":"10.1.2.10","rangeEnd":"10.1.2.19","gateway":"10.1.2.15"}}`
	calico  = `{"name":"k8s-pod-network","plugins":[{"type":"calico","ipam":{"type":"calico-ipam"}}]}`
	// Calico's plugin asks the API server for the node's range, and hands it to host-local.
	podCIDR = `{"name":"k8s-pod-network","plugins":[{"type":"calico","ipam":{"type":"host-local","subnet":"usePodCidr"}}]}`
	dual    = `{"name":"k8s-pod-network","plugins":[{"type":"calico","ipam":{"type":"host-local","ranges":[[{"subnet":"2001:db8::/96"}],[{"subnet":"usePodCidrIPv6"}]]}}]}`
	runtime = `{"name":"caps","plugins":[{"type":"bridge","ipam":{"type":"host-local"},"capabilities":{"ipRanges":true}}]}`
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, conf string
		plugins    []string
		fault      string
	}{
		{"list", bridge, []string{"bridge/host-local", "portmap"}, ""},
		{"flannel", flannel, []string{"flannel", "portmap"}, ""},
		{"single", single, []string{"bridge/host-local"}, ""},
		{"calico", calico, []string{"calico/calico-ipam"}, ""},
		{"canal", podCIDR, []string{"calico/host-local"}, ""},
		{"empty", "", nil, "it is empty"},
		{"text", "{\n\"name\":\"x\",\n  plugins: []}", nil, "line 3"},
		{"cut", bridge[:60], nil, "no JSON"},
		{"template", "name: __CNI_NETWORK__", nil, "no JSON"},
		{"array", `[]`, nil, "array"},
		{"wrong type", `{"plugins":"bridge"}`, nil, `"plugins"`},
		{"no plugins", `{"name":"x","plugins":[]}`, nil, "names 0 plugins"},
		{"path", `{"plugins":[{"type":"../../bin/sh"}]}`, nil, "plugin 1"},
		{"ipam path", `{"plugins":[{"type":"bridge","ipam":{"type":"/bin/sh"}}]}`, nil, "plugin 1"},
		{"subnet", `{"plugins":[{"type":"bridge","ipam":{"type":"host-local","subnet":"10.0.0.0"}}]}`, nil, `subnet "10.0.0.0"`},
		{"range", `{"plugins":[{"type":"bridge","ipam":{"type":"host-local","subnet":"10.0.0.0/24","rangeStart":"10.0.1.1"}}]}`, nil, "not within"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n, err := Parse([]byte(tc.conf))
			if tc.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fault) {
					t.Fatalf("error %v, want one that says %q", err, tc.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range n.Plugins {
				name := p.Type
				if p.IPAM != nil {
					name += "/" + p.IPAM.Type
				}
				got = append(got, name)
			}
			if !reflect.DeepEqual(got, tc.plugins) {
				t.Errorf("plugins %v, want %v", got, tc.plugins)
			}
		})
	}
}

func TestRanges(t *testing.T) {
	for _, tc := range []struct {
		raw  rawRange
		size int
		text string
	}{
		// .1 to .254, less the gateway's.
		{rawRange{Subnet: "10.89.1.0/24"}, 253, "10.89.1.0/24"},
		{rawRange{Subnet: "10.244.1.1/24"}, 253, "10.244.1.0/24"}, // as flannel writes it
		{rawRange{Subnet: "10.1.0.0/16", RangeStart: "10.1.2.10", RangeEnd: "10.1.2.19", Gateway: "10.1.2.15"}, 9, "10.1.2.10-10.1.2.19"},
		{rawRange{Subnet: "10.0.0.0/30"}, 1, "10.0.0.0/30"},
		{rawRange{Subnet: "fd00::/120"}, 254, "fd00::/120"}, // ::1 to ::ff
		{rawRange{Subnet: "fd00::/64"}, math.MaxInt32, "fd00::/64"},
	} {
		r, err := tc.raw.parse()
		if err != nil || r.Size() != tc.size || r.String() != tc.text {
			t.Errorf("%+v: %s with %d addresses, %v; want %s with %d", tc.raw, r, r.Size(), err, tc.text, tc.size)
		}
	}
	for _, bad := range []rawRange{{}, {Subnet: "10.0.0.0/31"}, {Subnet: "::ffff:10.0.0.0/120"}, {Subnet: "10.0.0.0/24", Gateway: "x"}, {Subnet: "10.0.0.0/24", RangeEnd: "fd00::1"}} {
		if r, err := bad.parse(); err == nil {
			t.Errorf("%+v is taken for %s", bad, r)
		}
	}
}

func TestLoad(t *testing.T) {
	folders := Folders{Conf: "/etc/cni/net.d", Bin: []string{"/opt/cni/bin", "/usr/libexec/cni"}}
	// The first by name counts; other files are none.
	h := tree(t, map[string]string{
		"/etc/cni/net.d/20-other.conflist": calico, "/etc/cni/net.d/10-pods.conflist": bridge,
		"/etc/cni/net.d/00-README": "x", "/etc/cni/net.d/05-old.conflist.bak": "x",
		"/opt/cni/bin/bridge": "", "/usr/libexec/cni/portmap": "",
	})
	c, err := Load(h, folders)
	if err != nil || c.File != "/etc/cni/net.d/10-pods.conflist" || c.Network.Name != "pods" {
		t.Errorf("%+v, %v", c, err)
	}
	if !reflect.DeepEqual(c.Missing, []string{"host-local"}) || !reflect.DeepEqual(c.Present, []string{"bridge", "portmap"}) {
		t.Errorf("missing %v, present %v", c.Missing, c.Present)
	}

	h = tree(t, map[string]string{"/etc/cni/net.d/10-pods.conflist": "pods"})
	if _, err := Load(h, folders); err == nil || !strings.Contains(err.Error(), "/etc/cni/net.d/10-pods.conflist: it is no JSON: line 1") {
		t.Errorf("no JSON: %v", err)
	}
	for name, h := range map[string]*host.Host{"no folder": tree(t, nil), "no file": tree(t, map[string]string{"/etc/cni/net.d/README": ""})} {
		if _, err := Load(h, folders); !errors.Is(err, ErrNoConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUsualFolders(t *testing.T) {
	for _, tc := range []struct{ file, distribution, data, want string }{
		{"/etc/cni/net.d/a.conf", "kubelet", "", "/etc/cni/net.d"},
		{"/etc/kubernetes/cni/net.d/a.conf", "kubelet", "", "/etc/kubernetes/cni/net.d"}, // OpenShift
		{"/var/lib/rancher/k3s/agent/etc/cni/net.d/a.conflist", "k3s", "/var/lib/rancher/k3s", "/var/lib/rancher/k3s/agent/etc/cni/net.d"},
		{"/etc/cni/net.d/a.conflist", "rke2", "/var/lib/rancher/rke2", "/etc/cni/net.d"},
		{"/var/snap/microk8s/current/args/cni-network/a.conflist", "microk8s", "", "/var/snap/microk8s/current/args/cni-network"},
		{"/other", "", "", "/etc/cni/net.d"},
	} {
		if got := Usual(tree(t, map[string]string{tc.file: "{}"}), tc.distribution, tc.data); got.Conf != tc.want || len(got.Bin) == 0 {
			t.Errorf("%s with %s: %+v, want %s", tc.distribution, tc.file, got, tc.want)
		}
	}
}

func TestPools(t *testing.T) {
	for _, tc := range []struct {
		name, conf, env string
		dir             string
		sets            int
		other           bool
		fault           string
	}{
		{name: "host-local", conf: bridge, dir: "/var/lib/cni/networks/pods", sets: 2},
		{name: "old form", conf: single, dir: "/var/lib/cni/networks/old", sets: 1},
		{name: "flannel", conf: flannel, env: "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\n", dir: "/var/lib/cni/networks/cbr0", sets: 1},
		{name: "flannel without a subnet", conf: flannel, env: "FLANNEL_MTU=1450\n", fault: "names no subnet"},
		{name: "flannel with garbage", conf: flannel, env: "FLANNEL_SUBNET=many\n", fault: `subnet "many"`},
		{name: "calico", conf: calico, other: true},
		{name: "range by the runtime", conf: runtime, other: true},
		{name: "range by the API server", conf: podCIDR, other: true},
		{name: "one of two ranges by the API server", conf: dual, other: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := map[string]string{}
			if tc.env != "" {
				files["/run/flannel/subnet.env"] = tc.env
			}
			n, err := Parse([]byte(tc.conf))
			if err != nil {
				t.Fatal(err)
			}
			p, err := PoolOf(tree(t, files), n)
			switch {
			case tc.other:
				if !errors.Is(err, ErrOtherIPAM) {
					t.Errorf("%+v, %v", p, err)
				}
			case tc.fault != "":
				if err == nil || !strings.Contains(err.Error(), tc.fault) {
					t.Errorf("%+v, %v", p, err)
				}
			case err != nil || p.Dir != tc.dir || len(p.Sets) != tc.sets:
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

func TestReservations(t *testing.T) {
	dir := "/var/lib/cni/networks/pods/"
	h := tree(t, map[string]string{
		dir + "10.89.1.2": "0123abcd\r\neth0", dir + "10.89.1.3": "4567", dir + "fd00:1::2": "0123abcd\r\neth0",
		dir + "10.89.1.4": "\x1b[31mred\n", dir + "last_reserved_ip.0": "10.89.1.3", dir + "lock": "",
	})
	got, err := Pool{Dir: "/var/lib/cni/networks/pods"}.Reservations(h)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[netip.Addr]string{}
	for _, r := range got {
		ids[r.Address] = r.Sandbox
		if r.Since.IsZero() {
			t.Errorf("%s has no age", r.Address)
		}
	}
	want := map[netip.Addr]string{
		netip.MustParseAddr("10.89.1.2"): "0123abcd", netip.MustParseAddr("10.89.1.3"): "4567",
		netip.MustParseAddr("10.89.1.4"): "", netip.MustParseAddr("fd00:1::2"): "0123abcd",
	}
	if !reflect.DeepEqual(ids, want) {
		t.Errorf("%v, want %v", ids, want)
	}
	if got, err := (Pool{Dir: "/nowhere"}).Reservations(h); err != nil || got != nil {
		t.Errorf("no folder: %v, %v", got, err)
	}
}

// What is parsed is fit to be used: names of programs, ranges with ends, sizes.
func FuzzParse(f *testing.F) {
	for _, s := range []string{bridge, flannel, single, calico, runtime, `{"plugins":[{"type":"a","ipam":{"type":"host-local","subnet":"::/0"}}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Parse(b)
		if err != nil {
			return
		}
		for _, p := range n.Plugins {
			if p.Type != filepath.Base(p.Type) {
				t.Errorf("plugin %q", p.Type)
			}
			if p.IPAM == nil {
				continue
			}
			for _, set := range p.IPAM.Sets {
				for _, r := range set {
					if r.Size() < 0 || !r.Contains(r.First) || !r.Contains(r.Last) || r.String() == "" {
						t.Errorf("range %s has %d addresses", r, r.Size())
					}
				}
			}
		}
	})
}

func FuzzReservation(f *testing.F) {
	f.Add([]byte("0123abcd\r\neth0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id := parseReservation(b); len(id) > 256 || strings.ContainsAny(id, "\n\r\x1b/ ") {
			t.Errorf("%q got through", id)
		}
	})
}
