package netfilter

// This file: the tables of the older iptables (iptables-legacy), which are read
// whole, by a socket option (include/uapi/linux/netfilter_ipv4/ip_tables.h,
// net/ipv4/netfilter/ip_tables.c).

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// maxTable is the largest table that is read, in bytes: some 15,000 rules.
const maxTable = 4 << 20

// layout is where a family's entries have what. An entry is the addresses and
// interfaces to match, counters, matches and a target.
type layout struct {
	names           string // the file that names the tables which exist
	level           int    // of the socket options
	domain          int
	addr            int // bytes of an address
	proto           int // offset of the protocol; that of flags and of inverted flags
	flags, inverted int
	offsets         int // of the offset of the target; that of the next entry follows
	counters        int
	size            int // of the entry without matches and target
}

func layoutOf(family int) layout {
	if family == unix.AF_INET6 {
		return layout{"/proc/net/ip6_tables_names", unix.SOL_IPV6, unix.AF_INET6, 16, 128, 131, 132, 140, 152, 168}
	}
	return layout{"/proc/net/ip_tables_names", unix.SOL_IP, unix.AF_INET, 4, 80, 82, 83, 88, 96, 112}
}

// Legacy is the chain FORWARD of iptables-legacy, or none where the namespace has
// no such table. To ask for one would make it.
func Legacy(h *host.Host, family int) ([]Forward, error) {
	l := layoutOf(family)
	names, err := h.ReadFile(l.names)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, ErrPermission
	case err != nil:
		return nil, err
	case !bytes.Contains(append([]byte("\n"), names...), []byte("\nfilter\n")):
		return nil, nil
	}
	info, entries, err := readTable(l)
	if errors.Is(err, unix.EPERM) {
		return nil, ErrPermission
	} else if err != nil {
		return nil, fmt.Errorf("iptables-legacy filter: %w", err)
	}
	f, err := parseTable(l, info, entries)
	if err != nil {
		return nil, fmt.Errorf("iptables-legacy filter: %w", err)
	}
	return []Forward{f}, nil
}

// Socket options of ip_tables.h, the same for IPv6, and the sizes of
// struct ipt_getinfo and of the head of struct ipt_get_entries.
const (
	optInfo, optEntries = 64, 65
	infoSize, headSize  = 84, 40
	nameSize            = 32
)

// readTable gets what the kernel says of the table filter, and its entries. The
// table may be replaced in between; then the size differs, and it is tried again.
func readTable(l layout) (info, entries []byte, err error) {
	fd, err := unix.Socket(l.domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	for range 3 {
		info = make([]byte, infoSize)
		copy(info, "filter")
		if err := getsockopt(fd, l.level, optInfo, info); err != nil {
			return nil, nil, err
		}
		size := binary.NativeEndian.Uint32(info[infoSize-4:])
		if size > maxTable {
			return nil, nil, fmt.Errorf("larger than %d MiB", maxTable>>20)
		}
		buf := make([]byte, headSize+int(size))
		copy(buf, "filter")
		binary.NativeEndian.PutUint32(buf[nameSize:], size)
		err = getsockopt(fd, l.level, optEntries, buf)
		if err == nil {
			return info, buf[headSize:], nil
		}
		if !errors.Is(err, unix.EAGAIN) {
			return nil, nil, err
		}
	}
	return nil, nil, err
}

// getsockopt fills buf, whose beginning is the question. The unix package has no
// call for options that are both.
func getsockopt(fd, level, option int, buf []byte) error {
	size := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
	runtime.KeepAlive(buf)
	if errno != 0 {
		return errno
	}
	return nil
}

var errGarbled = errors.New("its entries make no sense")

// parseTable finds the chain FORWARD in a table: its policy is the last entry,
// at the offset called underflow. The rules are looked at only when they are
// asked for.
func parseTable(l layout, info, entries []byte) (Forward, error) {
	const forward = 2 // NF_INET_FORWARD
	if len(info) < infoSize {
		return Forward{}, errGarbled
	}
	hook := func(base int) int {
		return int(binary.NativeEndian.Uint32(info[base+4*forward:]))
	}
	begin, end := hook(nameSize+4), hook(nameSize+4+5*4)
	policy, err := l.entry(entries, end)
	if err != nil {
		return Forward{}, err
	}
	action, _ := policy.verdict()
	dropped := binary.NativeEndian.Uint64(policy.raw[l.counters:])
	f := Forward{Table: "iptables-legacy filter", Chain: "FORWARD", Drop: action == Drop, Dropped: &dropped}
	var chains map[string][]Rule
	f.rules = func(chain string) ([]Rule, error) {
		if chains == nil {
			if chains, err = l.chains(entries, begin, end); err != nil {
				return nil, err
			}
		}
		return chains[chain], nil
	}
	return f, nil
}

// entry is one entry of a table.
type entry struct {
	layout
	raw    []byte
	target int // offset of the target
}

// entry is the one at an offset.
func (l layout) entry(entries []byte, at int) (entry, error) {
	if at < 0 || at > len(entries)-l.size {
		return entry{}, errGarbled
	}
	e := entry{layout: l, raw: entries[at:]}
	e.target = int(binary.NativeEndian.Uint16(e.raw[l.offsets:]))
	size := int(binary.NativeEndian.Uint16(e.raw[l.offsets+2:]))
	if e.target < l.size || size < e.target+blockHead || size > len(e.raw) {
		return entry{}, errGarbled
	}
	e.raw = e.raw[:size]
	return e, nil
}

// A match and a target are blocks: 2 bytes of size, 29 of name, 1 of revision,
// and what the name makes of the rest (struct xt_entry_match).
const blockHead = 32

func blockName(b []byte) string { return text(b[2:31]) }

func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// verdict is what the entry's target does; for a jump, the offset to which.
func (e entry) verdict() (Action, int) {
	t := e.raw[e.target:]
	if name := blockName(t); name != "" {
		return targetAction(name), 0
	}
	if len(t) < blockHead+4 {
		return GoOn, 0
	}
	switch v := int32(binary.NativeEndian.Uint32(t[blockHead:])); {
	case v >= 0:
		return Jump, int(v)
	case v == -1: // -NF_DROP - 1
		return Drop, 0
	case v == -2: // -NF_ACCEPT - 1
		return Accept, 0
	}
	return GoOn, 0 // return, which ends the chain
}

// chains are the rules of FORWARD, whose policy is at end, and of the chains that
// users have made. Each of those begins with an entry whose target ERROR names it.
func (l layout) chains(entries []byte, begin, end int) (map[string][]Rule, error) {
	type jump struct {
		chain string
		rule  int
		to    int
	}
	var jumps []jump
	chains, starts, current := map[string][]Rule{}, map[int]string{}, ""
	for at := 0; at < len(entries); {
		e, err := l.entry(entries, at)
		if err != nil {
			return nil, err
		}
		next := at + len(e.raw)
		if at == begin {
			current = "FORWARD"
		}
		if t := e.raw[e.target:]; blockName(t) == "ERROR" && len(t) > blockHead {
			current = text(t[blockHead:])
			starts[next] = current
		} else if current != "" && at != end {
			r := e.rule()
			if action, to := e.verdict(); action == Jump && to == next {
				r.Action = GoOn // a rule without a target
			} else if action == Jump {
				jumps = append(jumps, jump{current, len(chains[current]), to})
			}
			chains[current] = append(chains[current], r)
		}
		if at == end {
			current = "" // the next built-in chain
		}
		at = next
	}
	for _, j := range jumps {
		name, ok := starts[j.to]
		if !ok {
			return nil, errGarbled
		}
		chains[j.chain][j.rule].Chain = name
	}
	return chains, nil
}

// Inverted conditions (IPT_INV_* and IP6T_INV_*, which are the same).
const (
	notIn, notOut, notSrc, notDst, notProto = 0x01, 0x02, 0x08, 0x10, 0x40
)

// rule is what the entry matches and does.
func (e entry) rule() Rule {
	not := e.raw[e.inverted]
	r := Rule{Protocol: uint8(binary.NativeEndian.Uint16(e.raw[e.proto:]))}
	if not&notProto != 0 {
		r.Protocol = 0 // all but one are nearly all
	}
	r.Action, _ = e.verdict()
	a := e.addr
	r.Src = e.addresses(0, 2*a, not&notSrc != 0)
	r.Dst = e.addresses(a, 3*a, not&notDst != 0)
	r.In = e.iface(4*a, not&notIn != 0)
	r.Out = e.iface(4*a+16, not&notOut != 0)
	for at := e.size; at < e.target; {
		m := e.raw[at:e.target]
		if len(m) < blockHead {
			break
		}
		size := int(binary.NativeEndian.Uint16(m))
		if size < blockHead || size > len(m) {
			break
		}
		r.addMatch(blockName(m), uint32(m[31]), m[blockHead:size])
		at += size
	}
	return r
}

// addresses are those of an address and a mask. A mask that is no prefix is taken
// for any address: nobody makes such.
func (e entry) addresses(at, mask int, not bool) Addresses {
	addr, _ := netip.AddrFromSlice(e.raw[at : at+e.addr])
	p, ok := maskedPrefix(addr, e.raw[mask:mask+e.addr])
	if !ok {
		return Addresses{}
	}
	return prefixAddresses(p, not)
}

// maskedPrefix is the prefix of an address and a mask; it is false for a mask
// that is not ones and then zeros.
func maskedPrefix(addr netip.Addr, mask []byte) (netip.Prefix, bool) {
	bits := 0
	for bits < len(mask)*8 && mask[bits/8]&(0x80>>(bits%8)) != 0 {
		bits++
	}
	for i := bits; i < len(mask)*8; i++ {
		if mask[i/8]&(0x80>>(i%8)) != 0 {
			return netip.Prefix{}, false
		}
	}
	return netip.PrefixFrom(addr, bits), true
}

// iface is a name of 16 bytes; 32 bytes on are the bytes that count: with its final
// zero for a whole name, without for the beginning of one.
func (e entry) iface(at int, not bool) Interface {
	name, mask := text(e.raw[at:at+16]), e.raw[at+32:at+48]
	if name == "" || mask[0] == 0 {
		return Interface{}
	}
	name = strings.TrimSuffix(name, "+")
	prefix := len(name) >= len(mask) || mask[len(name)] == 0
	return Interface{Name: name, Prefix: prefix, Not: not}
}
