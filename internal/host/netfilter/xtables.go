package netfilter

// This file: the matches of iptables, which also nftables' rules hold where
// iptables-nft made them (include/uapi/linux/netfilter/xt_*.h).

import "encoding/binary"

// addMatch adds the condition of a match. Those that are not known here are left
// out: the rule then seems to match more packets than it does.
func (r *Rule) addMatch(name string, revision uint32, info []byte) {
	switch name {
	case "conntrack":
		r.addConntrack(revision, info)
	case "state": // struct xt_state_info
		if len(info) >= 4 {
			r.States = State(binary.NativeEndian.Uint32(info))
		}
	case "mark": // struct xt_mark_mtinfo1
		if len(info) >= 9 && revision == 1 {
			r.Mark = Mark{
				Value: binary.NativeEndian.Uint32(info), Mask: binary.NativeEndian.Uint32(info[4:]), Not: info[8] != 0,
			}
		}
	case "tcp", "udp": // struct xt_tcp, struct xt_udp: the ranges of source and destination ports
		if len(info) >= 8 {
			src, dst := info[:4], info[4:8]
			r.Ports = r.Ports || !allPorts(src) || !allPorts(dst)
		}
	case "multiport":
		r.Ports = true
	}
}

func allPorts(r []byte) bool {
	return binary.NativeEndian.Uint16(r) == 0 && binary.NativeEndian.Uint16(r[2:]) == 0xffff
}

// addConntrack reads struct xt_conntrack_mtinfo1 to 3: eight addresses of 16
// bytes, two times of 4, five numbers of 2; then the flags, and the states.
func (r *Rule) addConntrack(revision uint32, info []byte) {
	const flags, states, onStates = 146, 150, 1 << 0
	if len(info) < states+2 || revision < 1 || revision > 3 {
		return
	}
	set, inverted := binary.NativeEndian.Uint16(info[flags:]), binary.NativeEndian.Uint16(info[flags+2:])
	if set&onStates == 0 {
		return
	}
	mask := State(info[states])
	if revision > 1 {
		mask = State(binary.NativeEndian.Uint16(info[states:]))
	}
	if inverted&onStates != 0 {
		mask = ^mask
	}
	r.States = mask
}

// targetAction is what a target other than the standard ones does.
func targetAction(name string) Action {
	switch name {
	case "REJECT", "DROP":
		return Drop
	case "ACCEPT", "NFQUEUE": // who reads the queue decides
		return Accept
	}
	return GoOn
}
