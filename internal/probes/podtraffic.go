package probes

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/netfilter"
)

// This file decides whether a packet filter accepts what pods send. It errs on
// the side of yes: what a rule asks for and is not known here is taken for met.

// podTraffic is what is known of the packets by which pods open connections.
type podTraffic struct {
	ranges  []netip.Prefix // of the senders; empty: not known
	uplinks map[string]bool
	// others are links that have addresses, none of them a pod's: pods' packets do
	// not come from there.
	others map[string]bool
	names  map[uint32]string // of links, by index
}

// findPodTraffic looks at the links of our network namespace and their addresses
// (RTM_GETLINK, RTM_GETADDR), which needs no privilege.
func findPodTraffic(pods podNetwork, routes []defaultRoute) (*podTraffic, error) {
	t := &podTraffic{ranges: pods.ranges, uplinks: map[string]bool{}, others: map[string]bool{}, names: map[uint32]string{}}
	for _, r := range routes {
		t.uplinks[r.link] = true
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		t.names[uint32(l.Attrs().Index)] = l.Attrs().Name
	}
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	pod := map[string]bool{}
	for _, a := range list {
		name := t.names[uint32(a.LinkIndex)]
		addr, ok := netip.AddrFromSlice(a.IP)
		if !ok || addr.IsLinkLocalUnicast() {
			continue // every link has one
		}
		t.others[name] = true
		pod[name] = pod[name] || t.overlaps(addr.Unmap(), addr.Unmap())
	}
	for name := range t.others {
		// Where the pods' range is not known only the uplink and what docker and
		// libvirt name their bridges are known not to be theirs.
		if len(t.ranges) == 0 && !t.uplinks[name] && !strings.HasPrefix(name, "docker") && !strings.HasPrefix(name, "br-") && !strings.HasPrefix(name, "virbr") {
			delete(t.others, name)
		}
		if pod[name] {
			delete(t.others, name)
		}
	}
	return t, nil
}

// accepted reports whether a rule of the chain, or of one that it leads to, may
// accept a connection that a pod opens.
func (t *podTraffic) accepted(f netfilter.Forward) (bool, error) {
	seen := map[string]bool{f.Chain: true}
	for todo := []string{f.Chain}; len(todo) > 0; todo = todo[1:] {
		rules, err := f.Rules(todo[0])
		if err != nil {
			return false, err
		}
		for _, r := range rules {
			switch {
			case r.Action != netfilter.Accept && r.Action != netfilter.Jump || !t.meets(r):
			case r.Action == netfilter.Accept:
				return true, nil
			case !seen[r.Chain]:
				seen[r.Chain] = true
				todo = append(todo, r.Chain)
			}
		}
	}
	return false, nil
}

// kubeProxyMark is what kube-proxy marks packets with that it will masquerade:
// those of services, from outside (its masqueradeBit, 14). Its rule that accepts
// them accepts no pod's own.
const kubeProxyMark = 1 << 14

// meets reports whether a pod's new connection may meet a rule's conditions.
func (t *podTraffic) meets(r netfilter.Rule) bool {
	named := !r.Src.Any() || !r.Dst.Any() || r.In != (netfilter.Interface{}) || r.Out != (netfilter.Interface{})
	switch {
	case r.Never,
		r.States != 0 && r.States&netfilter.StateNew == 0,
		r.Protocol != 0 && r.Protocol != unix.IPPROTO_TCP && r.Protocol != unix.IPPROTO_UDP,
		!r.Mark.Not && r.Mark.Mask == kubeProxyMark && r.Mark.Value == kubeProxyMark,
		// Some ports are not all, unless someone thought of pods.
		r.Ports && !named:
		return false
	}
	return t.address(r.Src) && t.address(r.Dst) && t.from(r.In) && t.to(r.Out)
}

// address: the sender's is a pod's. The receiver's may be any; but a rule for one
// that is no pod's is for somebody else's sake.
func (t *podTraffic) address(a netfilter.Addresses) bool {
	return a.Any() || a.Not || len(t.ranges) == 0 || t.overlaps(a.From, a.To)
}

func (t *podTraffic) overlaps(from, to netip.Addr) bool {
	return slices.ContainsFunc(t.ranges, func(p netip.Prefix) bool {
		return p.Contains(from) || p.Contains(to) || from.Compare(p.Addr()) <= 0 && p.Addr().Compare(to) <= 0 && from.BitLen() == p.Addr().BitLen()
	})
}

func (t *podTraffic) from(i netfilter.Interface) bool {
	return i.Not || i.Prefix || !t.others[t.name(i)]
}

func (t *podTraffic) to(i netfilter.Interface) bool {
	return i.Not || i.Prefix || !t.others[t.name(i)] || t.uplinks[t.name(i)]
}

func (t *podTraffic) name(i netfilter.Interface) string {
	if i.Index != 0 {
		return t.names[i.Index]
	}
	return i.Name
}
