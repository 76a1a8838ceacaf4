package probes

import (
	"errors"
	"maps"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	kubeletFile = "/var/lib/kubelet/config.yaml"
	kubeletYAML = "kind: KubeletConfiguration\n"
	conflist    = "/etc/cni/net.d/10-net.conflist"
	bridgeJSON  = `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.1.0/24"}]]}}]}`
	dualJSON    = `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge","bridge":"cni0","ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.1.0/24"}],[{"subnet":"fd00:10:244:1::/64"}]]}}]}`
	calicoJSON  = `{"cniVersion":"0.3.1","name":"k8s-pod-network","plugins":[{"type":"calico","ipam":{"type":"calico-ipam"}},{"type":"portmap"}]}`

	v4Forward = "/proc/sys/net/ipv4/ip_forward"
	v6Forward = "/proc/sys/net/ipv6/conf/all/forwarding"
	v4Bridge  = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	v6Bridge  = "/proc/sys/net/bridge/bridge-nf-call-ip6tables"
)

func TestForwarding(t *testing.T) {
	const on, off = "1\n", "0\n"
	for _, tc := range []struct {
		name                   string
		conflist, v4, v6       string
		bridge4, bridge6       string // empty: the module is not loaded
		route4, route6         string
		off4, off6, nf4, nf6   problem.Severity
		bridgeDoesNotConcernUs bool
	}{
		{name: "healthy", conflist: bridgeJSON, v4: on, v6: off, bridge4: on, bridge6: on, route4: viaEth0, route6: ipv6Default},
		{name: "off", conflist: bridgeJSON, v4: off, v6: off, bridge4: on, bridge6: on, off4: problem.Critical},
		{name: "dual stack, IPv6 off", conflist: dualJSON, v4: on, v6: off, bridge4: on, bridge6: on, off6: problem.Critical},
		{name: "dual stack, no IPv6 in the kernel", conflist: dualJSON, v4: on, bridge4: on, bridge6: on},
		{name: "bridge, switched off", conflist: bridgeJSON, v4: on, v6: off, bridge4: off, bridge6: off, nf4: problem.Warning},
		{name: "bridge, no module", conflist: bridgeJSON, v4: on, v6: off, nf4: problem.Warning},
		{name: "dual stack bridge", conflist: dualJSON, v4: on, v6: on, bridge4: on, bridge6: off, nf6: problem.Warning},
		{name: "look-alike: no bridge", conflist: calicoJSON, v4: on, v6: off, route4: viaEth0, bridgeDoesNotConcernUs: true},
		{name: "unknown ranges, IPv4", conflist: calicoJSON, v4: off, v6: off, route4: viaEth0, route6: ipv6Default, off4: problem.Critical, bridgeDoesNotConcernUs: true},
		{name: "unknown ranges, IPv6 only", conflist: calicoJSON, v4: off, v6: off, route6: ipv6Default, off6: problem.Critical, bridgeDoesNotConcernUs: true},
		{name: "no configuration yet", v4: off, v6: off, route4: viaEth0, off4: problem.Critical, bridgeDoesNotConcernUs: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := map[string]string{kubeletFile: kubeletYAML, "/proc/net/route": noRoutes + tc.route4, "/proc/net/ipv6_route": tc.route6}
			for p, content := range map[string]string{conflist: tc.conflist, v4Forward: tc.v4, v6Forward: tc.v6, v4Bridge: tc.bridge4, v6Bridge: tc.bridge6} {
				if content != "" {
					files[p] = content
				}
			}
			r, err := NewForwarding().Run(t.Context(), tree(t, files))
			if err != nil {
				t.Fatal(err)
			}
			checkSeverity(t, r, problem.IPForwardingOff, ipv4, tc.off4)
			checkSeverity(t, r, problem.IPForwardingOff, ipv6, tc.off6)
			checkSeverity(t, r, problem.BridgeNetfilterOff, ipv4, tc.nf4)
			checkSeverity(t, r, problem.BridgeNetfilterOff, ipv6, tc.nf6)
			if tc.bridgeDoesNotConcernUs {
				checkState(t, r, problem.BridgeNetfilterOff, "", problem.NotApplicable)
			}
		})
	}
	var na *problem.NotApplicableError
	if r, err := NewForwarding().Run(t.Context(), tree(t, map[string]string{v4Forward: "0\n"})); !errors.As(err, &na) {
		t.Errorf("no kubelet: %+v, %v, want not applicable", r, err)
	}
	left := map[string]string{v4Forward: "0\n", "/proc/net/route": noRoutes + viaEth0}
	for name, cgroups := range map[string]map[string]string{
		"an empty cgroup of pods":                      {"kubepods/cgroup.procs": "", "kubepods/cgroup.events": "populated 0\n"},
		"somebody in it, and no network's config file": {"kubepods/cgroup.procs": "", "kubepods/cgroup.events": "populated 1\n"},
	} {
		files := cgroup2(cgroups)
		maps.Copy(files, left)
		if r, err := NewForwarding().Run(t.Context(), tree(t, files)); !errors.As(err, &na) {
			t.Errorf("no kubelet, %s: %+v, %v, want not applicable", name, r, err)
		}
	}
	r, err := NewForwarding().Run(t.Context(), tree(t, map[string]string{kubeletFile: kubeletYAML, conflist: bridgeJSON, v4Forward: "x\n"}))
	if err == nil {
		t.Errorf("garbage: %+v", r)
	}
}
