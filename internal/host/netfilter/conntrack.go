package netfilter

// This file: tracked connections, by ctnetlink.

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// EachFlow hands on the address that opened each tracked connection, in the order
// of the kernel's hash table, until it returns false.
func EachFlow(h *host.Host, each func(src netip.Addr) bool) error {
	if err := needConntrack(h); err != nil {
		return err
	}
	const get = 1 // IPCTNL_MSG_CT_GET
	return dump(unix.NFNL_SUBSYS_CTNETLINK, get, unix.AF_UNSPEC, func(message []byte) bool {
		src, ok := flowSource(message)
		return !ok || each(src)
	})
}

func needConntrack(h *host.Host) error {
	const module = "nf_conntrack_netlink"
	there, err := loaded(h, module)
	if err == nil && !there {
		err = fmt.Errorf("the module %s is not loaded", module)
	}
	return err
}

// flowSource decodes one message of a dump.
func flowSource(message []byte) (netip.Addr, bool) {
	var m netlink.Message
	if m.UnmarshalBinary(message) != nil {
		return netip.Addr{}, false
	}
	var e conntrack.Event
	if e.Unmarshal(m) != nil || e.Flow == nil {
		return netip.Addr{}, false
	}
	src := e.Flow.TupleOrig.IP.SourceAddress
	return src, src.IsValid()
}

// Drops is how many packets each CPU has dropped for want of an entry in the
// table, or for losing a race to insert one, for kernels that have no
// /proc/net/stat/nf_conntrack. Each number wraps around.
func Drops(h *host.Host) ([]uint32, error) {
	if err := needConntrack(h); err != nil {
		return nil, err
	}
	const getStats = 4 // IPCTNL_MSG_CT_GET_STATS_CPU
	var drops []uint32
	err := dump(unix.NFNL_SUBSYS_CTNETLINK, getStats, unix.AF_UNSPEC, func(message []byte) bool {
		drops = append(drops, statsDrop(message))
		return true
	})
	return drops, err
}

// statsDrop is the number in one message of a dump of counters, which come in the
// order of the CPUs.
func statsDrop(message []byte) (n uint32) {
	const drop = 10 // CTA_STATS_DROP
	ad, err := netlink.NewAttributeDecoder(message[headerSize+familySize:])
	if err != nil {
		return 0
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		if ad.Type() == drop {
			n = ad.Uint32()
		}
	}
	return n
}
