package netfilter

import (
	"net/netip"
	"testing"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/netfilter"
)

// TestFlows: tracked connections are told by who opened them, of both families,
// and no more of them are read than are wanted.
func TestFlows(t *testing.T) {
	h := namespace(t)
	c, err := conntrack.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	want := map[netip.Addr]int{
		netip.MustParseAddr("10.9.8.7"): 700, netip.MustParseAddr("10.9.8.8"): 20, netip.MustParseAddr("fd00::8"): 30,
	}
	for src, count := range want {
		dst := netip.MustParseAddr("10.0.0.10")
		if src.Is6() {
			dst = netip.MustParseAddr("fd00::10")
		}
		for i := range count {
			f := conntrack.NewFlow(unix.IPPROTO_UDP, conntrack.StatusConfirmed, src, dst, uint16(1024+i), 53, 600, 0)
			if err := c.Create(f); err != nil {
				t.Skipf("SKIPPED: the kernel takes no connections: %v", err)
			}
		}
	}
	got := map[netip.Addr]int{}
	if err := netfilter.EachFlow(h, func(src netip.Addr) bool { got[src]++; return true }); err != nil {
		t.Fatal(err)
	}
	for src, count := range want {
		if got[src] != count {
			t.Errorf("%s: %d connections, want %d", src, got[src], count)
		}
	}
	seen := 0
	if err := netfilter.EachFlow(h, func(netip.Addr) bool { seen++; return seen < 100 }); err != nil || seen != 100 {
		t.Errorf("%d were read, %v; want 100", seen, err)
	}
	drops, err := netfilter.Drops(h)
	if err != nil || len(drops) == 0 {
		t.Errorf("drops: %v, %v", drops, err)
	}
}
