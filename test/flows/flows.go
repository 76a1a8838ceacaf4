// Package flows has the kernel track connections of a network namespace, and fills
// its table with tracked flows by the hundred thousand. It speaks just as much
// netlink as that takes (include/uapi/linux/netfilter/nfnetlink.h,
// nfnetlink_conntrack.h, nf_tables.h). Nothing outside tests imports it.
package flows

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Netfilter is a netlink socket of the network namespace that it was made in.
type Netfilter int

// Dial makes one.
func Dial() (Netfilter, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	return Netfilter(fd), err
}

// call sends messages at once, and waits for the answer to each of those that
// ask for one.
func (c Netfilter) call(messages ...[]byte) error {
	if err := c.send(messages...); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for _, m := range messages {
		if binary.NativeEndian.Uint16(m[6:])&unix.NLM_F_ACK == 0 {
			continue
		}
		n, err := unix.Read(int(c), buf)
		if err != nil {
			return err
		}
		if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR {
			return fmt.Errorf("netfilter: unexpected answer of %d bytes", n)
		}
		if errno := -int32(binary.NativeEndian.Uint32(buf[unix.SizeofNlMsghdr:])); errno != 0 {
			return fmt.Errorf("netfilter: %w", unix.Errno(errno))
		}
	}
	return nil
}

func (c Netfilter) send(messages ...[]byte) error {
	return unix.Sendto(int(c), slices.Concat(messages...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// message is a netlink message with the header of netfilter's subsystems.
func message(typ, flags int, family byte, resource uint16, attributes ...[]byte) []byte {
	body := slices.Concat(attributes...)
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+4+len(body)))
	m = binary.NativeEndian.AppendUint16(m, uint16(typ))
	m = binary.NativeEndian.AppendUint16(m, uint16(flags|unix.NLM_F_REQUEST))
	m = append(m, make([]byte, 8)...) // sequence number and port: none
	m = binary.BigEndian.AppendUint16(append(m, family, 0), resource)
	return append(m, body...)
}

// attr is an attribute, padded to four bytes; nest is one that holds others.
func attr(typ int, value ...byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	a = binary.NativeEndian.AppendUint16(a, uint16(typ))
	return append(append(a, value...), make([]byte, -len(value)&3)...)
}

func nest(typ int, attributes ...[]byte) []byte {
	return attr(typ|unix.NLA_F_NESTED, slices.Concat(attributes...)...)
}

func text(typ int, s string) []byte { return attr(typ, append([]byte(s), 0)...) }

func be16(typ int, v uint16) []byte { return attr(typ, binary.BigEndian.AppendUint16(nil, v)...) }

func be32(typ int, v uint32) []byte { return attr(typ, binary.BigEndian.AppendUint32(nil, v)...) }

// Arm makes the kernel track this namespace's connections, which it does from
// the first rule on that asks for a connection's state: here one that does
// nothing with the answer.
func (c Netfilter) Arm() error {
	const (
		nftables     = unix.NFNL_SUBSYS_NFTABLES << 8
		create       = unix.NLM_F_CREATE | unix.NLM_F_ACK
		table, chain = "nodevitals-test", "out"
	)
	return c.call(
		message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES),
		message(nftables|unix.NFT_MSG_NEWTABLE, create, unix.AF_INET, 0, text(unix.NFTA_TABLE_NAME, table)),
		message(nftables|unix.NFT_MSG_NEWCHAIN, create, unix.AF_INET, 0,
			text(unix.NFTA_CHAIN_TABLE, table),
			text(unix.NFTA_CHAIN_NAME, chain),
			text(unix.NFTA_CHAIN_TYPE, "filter"),
			nest(unix.NFTA_CHAIN_HOOK,
				be32(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_LOCAL_OUT),
				be32(unix.NFTA_HOOK_PRIORITY, 0))),
		message(nftables|unix.NFT_MSG_NEWRULE, create, unix.AF_INET, 0,
			text(unix.NFTA_RULE_TABLE, table),
			text(unix.NFTA_RULE_CHAIN, chain),
			nest(unix.NFTA_RULE_EXPRESSIONS, nest(unix.NFTA_LIST_ELEM,
				text(unix.NFTA_EXPR_NAME, "ct"),
				nest(unix.NFTA_EXPR_DATA,
					be32(unix.NFTA_CT_DREG, unix.NFT_REG_1),
					be32(unix.NFTA_CT_KEY, unix.NFT_CT_STATE))))),
		message(unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES),
	)
}

// Numbers of connection tracking that the unix package does not have.
const (
	ctNew, ctDelete = unix.NFNL_SUBSYS_CTNETLINK << 8, unix.NFNL_SUBSYS_CTNETLINK<<8 | 2

	ctaTupleOrig, ctaTupleReply, ctaStatus, ctaTimeout = 1, 2, 3, 7
	ctaTupleIP, ctaTupleProto                          = 1, 2
	ctaIPv4Src, ctaIPv4Dst                             = 1, 2
	ctaProtoNum, ctaProtoSrcPort, ctaProtoDstPort      = 1, 2, 3

	// IPS_SEEN_REPLY and IPS_ASSURED keep a flow from being evicted; the kernel
	// refuses one that is not IPS_CONFIRMED.
	ipsAssured = 1<<1 | 1<<2 | 1<<3
)

// Greedy is the address whose flows Add adds.
const Greedy = "10.9.8.7"

// Add adds count answered UDP flows of the greedy address, which the kernel does
// not evict to make room. What the table has no room for is refused, and the
// refusals are left unread.
func (c Netfilter) Add(count int) error {
	greedy := netip.MustParseAddr(Greedy).As4()
	tuple := func(typ int, src, dst [4]byte, srcPort, dstPort uint16) []byte {
		return nest(typ,
			nest(ctaTupleIP, attr(ctaIPv4Src, src[:]...), attr(ctaIPv4Dst, dst[:]...)),
			nest(ctaTupleProto, attr(ctaProtoNum, unix.IPPROTO_UDP), be16(ctaProtoSrcPort, srcPort), be16(ctaProtoDstPort, dstPort)))
	}
	var batch [][]byte
	for i := range count {
		var dst [4]byte
		binary.BigEndian.PutUint32(dst[:], uint32(10<<24|1<<20+i))
		batch = append(batch, message(ctNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL, unix.AF_INET, 0,
			tuple(ctaTupleOrig, greedy, dst, 40000, 53),
			tuple(ctaTupleReply, dst, greedy, 53, 40000),
			be32(ctaStatus, ipsAssured), be32(ctaTimeout, 600)))
		if len(batch) == 500 || i == count-1 {
			if err := c.send(batch...); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return nil
}

// Flush empties the namespace's table. It has a socket of its own, since the
// other may hold unread refusals.
func (Netfilter) Flush() error {
	c, err := Dial()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(int(c)) }()
	return c.call(message(ctDelete, unix.NLM_F_ACK, unix.AF_UNSPEC, 0))
}

// Send sends count datagrams to as many addresses of the loopback interface, the
// first of which is after *last. Each is a flow, and no reply ever comes. It says how
// many the kernel has refused.
func Send(last *uint32, count int) (refused int, err error) {
	sink, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(sink) }()
	if err := unix.Bind(sink, &unix.SockaddrInet4{Port: 9}); err != nil { // so that nothing is "unreachable"
		return 0, err
	}
	from, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(from) }()
	to := unix.SockaddrInet4{Port: 9}
	for range count {
		*last++
		binary.BigEndian.PutUint32(to.Addr[:], 127<<24|*last)
		err := unix.Sendto(from, []byte{0}, 0, &to)
		if errors.Is(err, unix.EPERM) { // what a sender sees of a dropped packet
			refused++
		} else if err != nil {
			return refused, err
		}
	}
	return refused, nil
}
