package cni

// This file: ranges of addresses as the plugin host-local understands them
// (plugins/ipam/host-local/backend/allocator/range.go).

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strings"
)

// HostLocal is the plugin that keeps its addresses in files on the node.
const HostLocal = "host-local"

// Range is a range of addresses, both ends included.
type Range struct {
	Subnet     netip.Prefix
	First      netip.Addr
	Last       netip.Addr
	Gateway    netip.Addr // given to nobody, if it is in the range
	HasGateway bool
}

type rawRange struct {
	Subnet     string `json:"subnet"`
	RangeStart string `json:"rangeStart"`
	RangeEnd   string `json:"rangeEnd"`
	Gateway    string `json:"gateway"`
}

// elsewhere tells whether the range is the one that the API server has for this node,
// which Calico's plugin puts in before it calls host-local (canal, GKE, AKS).
func (r rawRange) elsewhere() bool {
	return strings.EqualFold(r.Subnet, "usePodCidr") || strings.EqualFold(r.Subnet, "usePodCidrIPv6")
}

// parse fills in what is absent, as host-local does: all addresses of the subnet but
// its own and, in IPv4, that for broadcasts; the first one is the gateway's.
func (r rawRange) parse() (Range, error) {
	subnet, err := netip.ParsePrefix(r.Subnet)
	if err != nil {
		return Range{}, fmt.Errorf("subnet %.60q", r.Subnet)
	}
	subnet = subnet.Masked()
	if subnet.Addr().Is4In6() || subnet.Bits() > subnet.Addr().BitLen()-2 {
		return Range{}, fmt.Errorf("subnet %s has no room for addresses", subnet)
	}
	out := Range{Subnet: subnet, First: subnet.Addr().Next(), Last: lastOf(subnet), Gateway: subnet.Addr().Next(), HasGateway: true}
	for _, set := range []struct {
		text string
		to   *netip.Addr
	}{{r.RangeStart, &out.First}, {r.RangeEnd, &out.Last}, {r.Gateway, &out.Gateway}} {
		if set.text == "" {
			continue
		}
		if *set.to, err = netip.ParseAddr(set.text); err != nil {
			return Range{}, fmt.Errorf("address %.60q", set.text)
		}
	}
	if !subnet.Contains(out.First) || !subnet.Contains(out.Last) || out.Last.Less(out.First) {
		return Range{}, errors.New("a range that is not within its subnet")
	}
	return out, nil
}

// lastOf is the last address that may be given away.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	if p.Addr().Is4() {
		return last.Prev() // the last one is for broadcasts
	}
	return last
}

// Contains tells whether the range holds the address.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && !a.Less(r.First) && !r.Last.Less(a)
}

// Size is how many addresses the range has to give, at most MaxInt32: ranges of
// IPv6 have no end.
func (r Range) Size() int {
	first, last := new(big.Int).SetBytes(r.First.AsSlice()), new(big.Int).SetBytes(r.Last.AsSlice())
	n := last.Sub(last, first)
	if !n.IsInt64() || n.Int64() >= math.MaxInt32 {
		return math.MaxInt32
	}
	size := int(n.Int64()) + 1
	if r.HasGateway && r.Contains(r.Gateway) {
		size--
	}
	return size
}

func (r Range) String() string {
	if r.First == r.Subnet.Addr().Next() && r.Last == lastOf(r.Subnet) {
		return r.Subnet.String()
	}
	return r.First.String() + "-" + r.Last.String()
}
