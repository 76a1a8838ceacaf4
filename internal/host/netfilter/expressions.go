package netfilter

// This file: from the expressions of nftables' virtual machine to rules. They
// load what they look at into registers, and compare those.

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// field is what a register holds.
type field uint8

const (
	otherField field = iota
	inField
	outField
	inIndexField
	outIndexField
	srcField
	dstField
	protocolField
	familyField
	portField
	stateField
	markField
)

// register is a field, and the bits of it that were kept.
type register struct {
	field
	mask []byte
}

// maxElements is how many elements of a set are made a rule each.
const maxElements = 256

// translate makes a rule's expressions rules: several where a set gives the
// conditions. elements hands out those of a set. What is not understood is left
// out: the rule then seems to match more packets than it does.
func translate(family int, exprs []expr.Any, elements func(set string) ([]nftables.SetElement, error)) []Rule {
	rules := []Rule{{}}
	registers := map[uint32]register{}
	add := func(change func(r *Rule)) {
		for i := range rules {
			change(&rules[i])
		}
	}
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Meta:
			if !e.SourceRegister {
				registers[e.Register] = register{field: metaField(e.Key)}
			}
		case *expr.Ct:
			f := otherField
			if e.Key == expr.CtKeySTATE {
				f = stateField
			}
			registers[e.Register] = register{field: f}
		case *expr.Payload:
			registers[e.DestRegister] = register{field: payloadField(family, e)}
		case *expr.Bitwise:
			r := registers[e.SourceRegister]
			if strings.Trim(string(e.Xor), "\x00") != "" {
				r.field = otherField
			}
			r.mask = e.Mask
			registers[e.DestRegister] = r
		case *expr.Cmp:
			reg := registers[e.Register]
			add(func(r *Rule) { r.compare(family, reg, e.Op, e.Data) })
		case *expr.Lookup:
			rules = lookUp(family, rules, registers[e.SourceRegister], e, elements)
		case *expr.Match:
			if info, err := xt.Marshal(xt.TableFamily(family), e.Rev, e.Info); err == nil {
				add(func(r *Rule) { r.addMatch(e.Name, e.Rev, info) })
			}
		case *expr.Target:
			add(func(r *Rule) { r.Action = targetAction(e.Name) })
		case *expr.Reject:
			add(func(r *Rule) { r.Action = Drop })
		case *expr.Queue: // who reads the queue decides
			add(func(r *Rule) { r.Action = Accept })
		case *expr.Verdict:
			add(func(r *Rule) { r.setVerdict(e) })
		}
	}
	return rules
}

func metaField(k expr.MetaKey) field {
	switch k {
	case expr.MetaKeyIIFNAME:
		return inField
	case expr.MetaKeyOIFNAME:
		return outField
	case expr.MetaKeyIIF:
		return inIndexField
	case expr.MetaKeyOIF:
		return outIndexField
	case expr.MetaKeyL4PROTO:
		return protocolField
	case expr.MetaKeyNFPROTO:
		return familyField
	case expr.MetaKeyMARK:
		return markField
	}
	return otherField
}

// payloadField tells what is loaded by its place in the header. Of an address
// there may be only the beginning.
func payloadField(family int, e *expr.Payload) field {
	if e.Base == expr.PayloadBaseTransportHeader {
		return portField
	}
	if e.Base != expr.PayloadBaseNetworkHeader {
		return otherField
	}
	src, dst, proto, size := uint32(12), uint32(16), uint32(9), uint32(4)
	if family == unix.AF_INET6 {
		src, dst, proto, size = 8, 24, 6, 16
	}
	switch {
	case e.Offset == src && e.Len <= size:
		return srcField
	case e.Offset == dst && e.Len <= size:
		return dstField
	case e.Offset == proto && e.Len == 1:
		return protocolField
	}
	return otherField
}

// compare adds the condition that a register equals data, or does not. Other
// comparisons are left out.
func (r *Rule) compare(family int, reg register, op expr.CmpOp, data []byte) {
	not := op == expr.CmpOpNeq
	if op != expr.CmpOpEq && !not {
		return
	}
	switch reg.field {
	case inField:
		r.In = namedInterface(data, not)
	case outField:
		r.Out = namedInterface(data, not)
	case inIndexField, outIndexField:
		if len(data) >= 4 {
			i := Interface{Index: binary.NativeEndian.Uint32(data), Not: not}
			if reg.field == inIndexField {
				r.In = i
			} else {
				r.Out = i
			}
		}
	case srcField:
		r.Src = comparedAddresses(family, data, reg.mask, not)
	case dstField:
		r.Dst = comparedAddresses(family, data, reg.mask, not)
	case protocolField:
		if len(data) > 0 && !not {
			r.Protocol = data[0]
		}
	case familyField:
		if len(data) > 0 {
			r.Never = r.Never || (int(data[0]) == family) == not
		}
	case portField:
		r.Ports = true
	case stateField:
		r.compareState(reg.mask, data, not)
	case markField:
		if len(data) >= 4 {
			r.Mark = Mark{Value: binary.NativeEndian.Uint32(data), Mask: ^uint32(0), Not: not}
			if len(reg.mask) >= 4 {
				r.Mark.Mask = binary.NativeEndian.Uint32(reg.mask)
			}
		}
	}
}

// compareState: "ct state new,established" is (state & mask) != 0; a single one may
// also be state == one.
func (r *Rule) compareState(mask, data []byte, not bool) {
	if len(data) < 4 {
		return
	}
	value := State(binary.NativeEndian.Uint32(data))
	if len(mask) >= 4 {
		set := State(binary.NativeEndian.Uint32(mask))
		switch {
		case value == 0 && not:
			r.States = set
		case value == 0:
			r.States = ^set
		}
		return
	}
	if not {
		value = ^value
	}
	r.States = value
}

// namedInterface: a whole name comes with its final zero, the beginning of one without.
func namedInterface(data []byte, not bool) Interface {
	name := text(data)
	return Interface{Name: name, Prefix: len(name) == len(data), Not: not}
}

// comparedAddresses are those whose beginning, as far as data goes and mask has it, is data.
func comparedAddresses(family int, data, mask []byte, not bool) Addresses {
	size := 4
	if family == unix.AF_INET6 {
		size = 16
	}
	if len(data) > size || len(mask) > size {
		return Addresses{}
	}
	whole, ones := make([]byte, size), make([]byte, size)
	copy(whole, data)
	for i := range data {
		ones[i] = 0xff
	}
	if mask != nil {
		clear(ones)
		copy(ones, mask)
	}
	addr, _ := netip.AddrFromSlice(whole)
	p, ok := maskedPrefix(addr, ones)
	if !ok {
		return Addresses{}
	}
	return prefixAddresses(p, not)
}

// setVerdict is what an nftables verdict does.
func (r *Rule) setVerdict(v *expr.Verdict) {
	switch v.Kind {
	case expr.VerdictAccept:
		r.Action = Accept
	case expr.VerdictDrop:
		r.Action = Drop
	case expr.VerdictJump, expr.VerdictGoto:
		r.Action, r.Chain = Jump, v.Chain
	}
}

// lookUp makes each rule one for each element of the set in which the register
// is looked up; those of a map of verdicts bring their own. Sets that are large,
// or hold what is not understood, are left out.
func lookUp(family int, rules []Rule, reg register, e *expr.Lookup, elements func(string) ([]nftables.SetElement, error)) []Rule {
	verdicts := e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT
	list, err := elements(e.SetName)
	if err != nil || len(list) == 0 || len(list)*len(rules) > maxElements || e.Invert {
		if verdicts {
			// It may accept anything.
			for i := range rules {
				rules[i].Action = Accept
			}
		}
		return rules
	}
	var out []Rule
	for _, rule := range rules {
		for i, el := range list {
			if el.IntervalEnd {
				continue
			}
			r := rule
			if end, ok := intervalEnd(list, i); ok {
				r.within(family, reg, el.Key, end)
			} else {
				r.compare(family, reg, expr.CmpOpEq, el.Key)
			}
			if verdicts {
				r.setVerdict(elementVerdict(el.Val))
			}
			out = append(out, r)
		}
	}
	return out
}

// elementVerdict reads the verdict of a map's element, which the library hands out
// as it is (NFTA_VERDICT_*). One that cannot be read may accept.
func elementVerdict(raw []byte) *expr.Verdict {
	v := &expr.Verdict{Kind: expr.VerdictAccept}
	ad, err := netlink.NewAttributeDecoder(raw)
	if err != nil {
		return v
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			v.Kind = expr.VerdictKind(int32(ad.Uint32()))
		case unix.NFTA_VERDICT_CHAIN:
			v.Chain = ad.String()
		}
	}
	return v
}

// intervalEnd is the first key behind the interval that begins with element i; it
// is false in a set without intervals. The kernel hands elements out in no order.
func intervalEnd(list []nftables.SetElement, i int) (end []byte, ok bool) {
	for _, el := range list {
		if !el.IntervalEnd {
			continue
		}
		if k := string(el.Key); k > string(list[i].Key) && (!ok || k < string(end)) {
			end = el.Key
		}
		ok = true
	}
	return end, ok
}

// within adds the condition that an address lies from one key up to before
// another; nil: up to the last.
func (r *Rule) within(family int, reg register, from, end []byte) {
	first, ok := netip.AddrFromSlice(from)
	if !ok || reg.field != srcField && reg.field != dstField || reg.mask != nil {
		return
	}
	a := Addresses{From: first, To: prefixAddresses(netip.PrefixFrom(first, 0), true).To}
	if last, ok := netip.AddrFromSlice(end); ok {
		a.To = last.Prev()
	}
	if (family == unix.AF_INET6) == first.Is4() {
		return
	}
	if reg.field == srcField {
		r.Src = a
	} else {
		r.Dst = a
	}
}
