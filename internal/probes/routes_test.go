package probes

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	ipv6Default  = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth0\n"
	ipv6Rejected = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
	ipv6Subnet   = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n"
)

func TestDefaultRoutes(t *testing.T) {
	type look struct{ v4, v6 string }
	for _, tc := range []struct {
		name   string
		looks  []look
		v4, v6 problem.Severity
	}{
		{"healthy", []look{{viaEth0, ipv6Rejected}, {viaEth0, ipv6Rejected}}, 0, 0},
		{"lost", []look{{viaEth0, ""}, {noRoutes + subnetOnly, ""}}, problem.Critical, 0},
		{"both lost", []look{{viaEth0, ipv6Default}, {noRoutes, ipv6Rejected + ipv6Subnet}}, problem.Critical, problem.Critical},
		{"only that of IPv6 lost", []look{{viaEth0, ipv6Default}, {viaEth0, ipv6Subnet}}, 0, problem.Warning},
		{"the only one, of IPv6, lost", []look{{noRoutes, ipv6Subnet + ipv6Default}, {noRoutes, ipv6Rejected}}, 0, problem.Critical},
		{"never had one", []look{{noRoutes + subnetOnly, ipv6Subnet}, {noRoutes + subnetOnly, ipv6Subnet}}, 0, 0},
		{"lost and back", []look{{viaEth0, ""}, {noRoutes, ""}, {viaEth0, ""}}, 0, 0},
		{"one that rejects is none", []look{{viaEth0, ""}, {noRoutes + "*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0\n", ""}}, problem.Critical, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, n := NewRoutes(), tree(t, nil)
			var r problem.Result
			for _, l := range tc.looks {
				writeFile(t, n.Host.Root(), "/proc/net/route", l.v4)
				writeFile(t, n.Host.Root(), "/proc/net/ipv6_route", l.v6)
				var err error
				if r, err = p.Run(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			checkSeverity(t, r, problem.DefaultRouteMissing, ipv4, tc.v4)
			checkSeverity(t, r, problem.DefaultRouteMissing, ipv6, tc.v6)
		})
	}
}

// The API server's route is looked up only where no default route leads there.
func TestAPIServerRoute(t *testing.T) {
	kubelet := func(server string) map[string]string {
		return map[string]string{
			"/var/lib/kubelet/config.yaml":       "kind: KubeletConfiguration\n",
			"/var/lib/kubelet/kubeadm-flags.env": "KUBELET_KUBEADM_ARGS=\"--kubeconfig=/etc/kubernetes/kubelet.conf\"\n",
			"/etc/kubernetes/kubelet.conf":       "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: \"" + server + "\"}}]\n",
		}
	}
	for _, tc := range []struct {
		name, server string
		routes       map[string]string
		answer       error
		want         problem.Severity
	}{
		{"no way", "https://192.0.2.9:6443", nil, unix.ENETUNREACH, problem.Critical},
		{"blackhole", "https://192.0.2.9:6443", nil, unix.EINVAL, problem.Critical},
		{"a route of its own", "https://192.0.2.9:6443", nil, nil, 0},
		{"the default route leads there", "https://192.0.2.9:6443", map[string]string{ipv4: "eth0"}, unix.ENETUNREACH, 0},
		{"that of the other family does not", "https://[2001:db8::9]:6443", map[string]string{ipv4: "eth0"}, unix.ENETUNREACH, problem.Critical},
		{"a name", "https://api.example:6443", nil, unix.ENETUNREACH, 0},
		{"another error says nothing", "https://192.0.2.9:6443", nil, unix.ENOBUFS, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := NewRoutes()
			p.lookUp = func(netip.Addr) error { return tc.answer }
			r := problem.Result{Verdicts: p.apiServer(tree(t, kubelet(tc.server)).Host, tc.routes)}
			checkSeverity(t, r, problem.DefaultRouteMissing, "API server", tc.want)
		})
	}
	if v := NewRoutes().apiServer(tree(t, nil).Host, nil); v != nil {
		t.Errorf("without a kubelet: %+v", v)
	}
}

func FuzzDefaultRoute(f *testing.F) {
	f.Add("eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
	f.Add(ipv6Default)
	f.Add(ipv6Rejected)
	f.Fuzz(func(t *testing.T, line string) {
		for _, parse := range []func(string) (string, bool){parseIPv4Default, parseIPv6Default} {
			if link, ok := parse(line); ok && link == "" {
				t.Fatalf("%q: a route through nothing", line)
			}
		}
	})
}
