package probes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/host/cni"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/host/netfilter"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file tells who fills the connection tracking table: the addresses that
// opened the connections, and whose they are. It is asked only when the table is
// nearly full.

// conntrackSample is how much of the list of entries is read, in bytes: some 3,000
// entries. They come in the order of a hash of their addresses, so the first ones are a
// fair sample: a tenth of the table is seen as 9 to 11 %. The kernel takes 2 µs to print
// one, and whatever a look costs the probe rests a thousand times as long: so it may cost
// no more than 10 ms, or the end of a problem is seen a minute late. conntrackFlows is as
// many, where they come one by one.
const (
	conntrackSample = 512 << 10
	conntrackFlows  = 3000
)

// conntrackHolders are the addresses that opened the most connections of count,
// estimated from a sample.
func conntrackHolders(ctx context.Context, n *Node, count uint64) ([]problem.Holder, error) {
	var s sources
	size := 0
	err := streamLines(n.Host, conntrackList, func(line []byte) bool {
		size += len(line)
		if src, ok := conntrackSource(line); ok {
			s.add(src)
		}
		return size < conntrackSample
	})
	if errors.Is(err, fs.ErrNotExist) && liveProc(n.Host) {
		// A kernel without CONFIG_NF_CONNTRACK_PROCFS.
		err = netfilter.EachFlow(n.Host, func(src netip.Addr) bool {
			s.add(src)
			return s.seen < conntrackFlows
		})
	}
	if err != nil {
		return nil, fmt.Errorf("who holds the entries cannot be seen: %w", err)
	}
	holders := s.top(count)
	whose := addressOwners(ctx, n)
	for i, h := range holders {
		if owner, ok := whose[h.Owner]; ok {
			h.Owner = owner + " (" + h.Owner + ")"
		} else {
			h.Owner = "source " + h.Owner
		}
		holders[i] = h
	}
	return holders, nil
}

// conntrackSource is the address that opened the connection of one line of
// /proc/net/nf_conntrack. The first src= is the original direction's; the
// second is the reply's.
func conntrackSource(line []byte) (netip.Addr, bool) {
	_, after, ok := bytes.Cut(line, []byte(" src="))
	if !ok {
		return netip.Addr{}, false
	}
	addr, _, _ := bytes.Cut(after, []byte(" "))
	src, err := netip.ParseAddr(string(addr))
	return src, err == nil
}

// sources counts addresses. The zero value is empty.
type sources struct {
	counts map[netip.Addr]int
	seen   int
}

func (s *sources) add(src netip.Addr) {
	if s.counts == nil {
		s.counts = map[netip.Addr]int{}
	}
	s.seen++
	s.counts[src]++
}

// top scales what was seen up to count, to two digits: more would be made up. The
// owners are addresses.
func (s *sources) top(count uint64) []problem.Holder {
	holders := make([]problem.Holder, 0, len(s.counts))
	for src, n := range s.counts {
		amount := float64(n)
		if uint64(s.seen) < count {
			amount = roundDigits(amount / float64(s.seen) * float64(count))
		}
		holders = append(holders, problem.Holder{Owner: src.String(), Amount: amount, Unit: problem.Connections})
	}
	return topHolders(holders)
}

// roundDigits rounds to two significant digits.
func roundDigits(v float64) float64 {
	if v < 1 {
		return math.Round(v)
	}
	unit := math.Pow(10, max(0, math.Floor(math.Log10(v))-1))
	return math.Round(v/unit) * unit
}

// addressOwners are the owners of addresses, as far as the node's files tell: the
// node itself, and the pods whose addresses host-local gave out. It keeps the ids
// of their sandboxes, which the names of their cgroups hold, too.
func addressOwners(ctx context.Context, n *Node) map[string]string {
	owners := map[string]string{}
	if liveProc(n.Host) {
		own, _ := netlink.AddrList(nil, netlink.FAMILY_ALL) // without them they are plain addresses
		for _, a := range own {
			owners[a.IP.String()] = "the node"
		}
	}
	settings, _ := kubelet.Read(n.Host) // where it is unknown the usual folders are looked at
	config, err := cni.Load(n.Host, cni.Usual(n.Host, settings.Distribution, settings.DataDir))
	if err != nil || n.Cgroups == nil {
		return owners
	}
	pool, err := cni.PoolOf(n.Host, config.Network)
	if err != nil {
		return owners
	}
	reserved, _ := pool.Reservations(n.Host)
	sandboxes := map[string][]string{}
	for _, r := range reserved {
		sandboxes[r.Sandbox] = append(sandboxes[r.Sandbox], r.Address.String())
	}
	if len(sandboxes) == 0 {
		return owners
	}
	_ = n.Cgroups.Walk(ctx, cgroup.ControllerPIDs, func(at string) error {
		if id, ok := cgroup.ContainerOf(at); ok {
			for _, a := range sandboxes[id] {
				owners[a] = n.Owners.OfCgroup(at).String()
			}
		}
		return nil
	})
	return owners
}
