package probes

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/netfilter"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func among(from, to string) netfilter.Addresses {
	return netfilter.Addresses{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to)}
}

// TestPodTrafficMeets: which rules a connection that a pod opens may meet. Pods
// are behind the bridge cni0, and docker has one of its own.
func TestPodTrafficMeets(t *testing.T) {
	type (
		rule  = netfilter.Rule
		iface = netfilter.Interface
	)
	var (
		pods   = among("10.244.0.0", "10.244.255.255")
		docker = among("172.17.0.2", "172.17.0.2")
	)
	known := &podTraffic{
		ranges:  []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:10::/64")},
		uplinks: map[string]bool{"eth0": true},
		others:  map[string]bool{"eth0": true, "docker0": true, "lo": true},
		names:   map[uint32]string{3: "docker0", 4: "cni0"},
	}
	unknown := &podTraffic{uplinks: known.uplinks, others: known.others}
	for _, c := range []struct {
		name           string
		rule           rule
		known, unknown bool
	}{
		{"anything", rule{}, true, true},
		{"from pods' range", rule{Src: pods}, true, true},
		{"from one pod", rule{Src: among("10.244.1.7", "10.244.1.7")}, true, true},
		{"from pods' range of IPv6", rule{Src: among("fd00:10::", "fd00:10::ffff")}, true, true},
		{"to pods' range", rule{Dst: pods}, true, true},
		{"from another node's pods", rule{Src: among("10.244.2.0", "10.244.2.255")}, false, true},
		{"not from there", rule{Src: netfilter.Addresses{From: docker.From, To: docker.To, Not: true}}, true, true},
		{"to a container of docker's", rule{Dst: docker}, false, true},
		{"from docker's bridge", rule{In: iface{Name: "docker0"}}, false, false},
		{"from docker's bridge, by index", rule{In: iface{Index: 3}}, false, true},
		{"from the pods' bridge, by index", rule{In: iface{Index: 4}}, true, true},
		{"to docker's bridge", rule{Out: iface{Name: "docker0"}}, false, false},
		{"to the uplink", rule{Out: iface{Name: "eth0"}}, true, true},
		{"from the uplink", rule{In: iface{Name: "eth0"}}, false, false},
		{"from anywhere else", rule{In: iface{Name: "docker0", Not: true}}, true, true},
		{"from the pods' bridge", rule{In: iface{Name: "cni0"}}, true, true},
		{"from what is not there yet", rule{In: iface{Name: "cali", Prefix: true}}, true, true},
		{"established connections", rule{States: 1<<1 | 1<<2}, false, false},
		{"new ones", rule{States: netfilter.StateNew}, true, true},
		{"kube-proxy's mark", rule{Mark: netfilter.Mark{Value: 0x4000, Mask: 0x4000}}, false, false},
		{"another mark", rule{Mark: netfilter.Mark{Value: 0x10000, Mask: 0x10000}}, true, true},
		{"ping", rule{Protocol: unix.IPPROTO_ICMP}, false, false},
		{"TCP", rule{Protocol: unix.IPPROTO_TCP}, true, true},
		{"a port of whoever", rule{Protocol: unix.IPPROTO_TCP, Ports: true}, false, false},
		{"a port of a pod", rule{Protocol: unix.IPPROTO_TCP, Ports: true, Dst: pods}, true, true},
		{"the other family", rule{Never: true}, false, false},
	} {
		if got := known.meets(c.rule); got != c.known {
			t.Errorf("%s: %t, want %t", c.name, got, c.known)
		}
		if got := unknown.meets(c.rule); got != c.unknown {
			t.Errorf("%s, range not known: %t, want %t", c.name, got, c.unknown)
		}
	}
}

func TestEvaluateForward(t *testing.T) {
	count := func(n uint64) *uint64 { return &n }
	th := NewForwardPolicy().Thresholds
	type look struct {
		at      time.Duration
		packets *uint64
	}
	for _, tc := range []struct {
		name    string
		covered bool
		looks   []look
		want    problem.Severity
	}{
		{"drops", false, []look{{0, count(5)}, {30 * time.Second, count(6)}}, problem.Critical},
		{"look-alike: drops, but what pods send is accepted", true, []look{{0, count(5)}, {30 * time.Second, count(600)}}, 0},
		{"look-alike: nothing comes by", false, []look{{0, count(0)}, {30 * time.Second, count(0)}}, 0},
		{"it dropped before the first look", false, []look{{0, count(5)}}, problem.Warning},
		{"and no more since", false, []look{{0, count(5)}, {th.Hold + 2*time.Second, count(5)}}, 0},
		{"it dropped a while ago", false, []look{{0, count(5)}, {30 * time.Second, count(6)}, {th.Hold, count(6)}}, problem.Critical},
		{"it dropped long ago", false, []look{{0, count(5)}, {30 * time.Second, count(6)}, {th.Hold + time.Minute, count(6)}}, 0},
		{"the table was made anew", false, []look{{0, count(0)}, {30 * time.Second, count(60)}, {th.Hold + time.Minute, count(2)}}, 0},
		{"it does not count", false, []look{{0, nil}}, problem.Warning},
		{"it does not count, and pods are accepted", true, []look{{0, nil}}, 0},
	} {
		var d policyDrops
		var v []problem.Verdict
		for i, l := range tc.looks {
			now := time.Hour + l.at
			d = nextDrops(d, i > 0, l.packets, now)
			f := netfilter.Forward{Table: "nftables ip filter", Chain: "FORWARD", Drop: true, Dropped: l.packets}
			v = evaluateForward(ipv4, f, tc.covered, d, now, podNetwork{}, th)
		}
		got := checkSeverity(t, problem.Result{Verdicts: v}, problem.ForwardPolicyDrop, ipv4, tc.want)
		if got.Refused != (tc.want == problem.Critical) {
			t.Errorf("%s: refused %t", tc.name, got.Refused)
		}
	}
}

func TestForwardPolicyNotApplicable(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no kubelet": nil, "a recording": {kubeletFile: kubeletYAML},
	} {
		var na *problem.NotApplicableError
		if r, err := NewForwardPolicy().Run(t.Context(), tree(t, files)); !errors.As(err, &na) {
			t.Errorf("%s: %+v, %v, want not applicable", name, r, err)
		}
	}
}
