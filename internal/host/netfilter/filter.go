// Package netfilter reads what the kernel's packet filter does with forwarded
// packets, by nftables and by the older iptables, and which connections it
// tracks. All of it needs CAP_NET_ADMIN, and concerns the network namespace that
// the process is in.
//
// This file: what is read, in the same words whichever of the two it came from.
package netfilter

import (
	"errors"
	"net/netip"
)

// ErrPermission says that the process may not read the packet filter.
var ErrPermission = errors.New("it needs CAP_NET_ADMIN")

// Forward is a chain through which forwarded packets of a family must pass: all
// such chains have to accept a packet.
type Forward struct {
	Table string // for people: "iptables-legacy filter", "nftables ip filter"
	Chain string
	Drop  bool // its policy
	// Dropped is how many packets the policy has dropped; nil where the chain does not count.
	Dropped *uint64

	rules func(chain string) ([]Rule, error)
}

// Rules are those of a chain of the same table, in order.
func (f Forward) Rules(chain string) ([]Rule, error) { return f.rules(chain) }

// Action is what a rule does with a packet that it matches.
type Action uint8

// The actions. A rule that only counts, logs or marks goes on.
const (
	GoOn Action = iota
	Accept
	Drop // or reject
	Jump // to another chain, and back from there or not
)

// Rule is a rule, as far as it can be understood. Its conditions all have to be met.
type Rule struct {
	Action   Action
	Chain    string // to which it jumps
	In, Out  Interface
	Src, Dst Addresses
	Protocol uint8 // 0: any (include/uapi/linux/in.h)
	Ports    bool  // only certain ports
	States   State // 0: any
	Mark     Mark
	// Never: it is for packets of another family.
	Never bool
}

// Interface is a condition on a network interface; the zero value is any.
type Interface struct {
	Name   string
	Index  uint32 // in place of the name
	Prefix bool   // Name is the beginning of the name
	Not    bool
}

// Addresses is a condition on an address; the zero value is any.
type Addresses struct {
	From, To netip.Addr // both included
	Not      bool
}

// Any reports whether there is no condition.
func (a Addresses) Any() bool { return !a.From.IsValid() }

// prefixAddresses are those of a prefix; one of no bits is any.
func prefixAddresses(p netip.Prefix, not bool) Addresses {
	if p.Bits() == 0 && !not {
		return Addresses{}
	}
	p = p.Masked()
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	to, _ := netip.AddrFromSlice(last)
	return Addresses{From: p.Addr(), To: to, Not: not}
}

// State is a set of states of connections, as both iptables and nftables number
// them (NF_CT_STATE_BIT in include/uapi/linux/netfilter/nf_conntrack_common.h).
type State uint32

// StateNew is the state of a connection's first packet.
const StateNew State = 1 << 3

// Mark is a condition on a packet's mark; a Mask of 0 is any.
type Mark struct {
	Value, Mask uint32
	Not         bool
}
