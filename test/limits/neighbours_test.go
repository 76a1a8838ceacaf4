package limits

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// neighbourly is a helper in a network namespace of its own that has many
// neighbours. Orders: "add N" makes N, "remove" takes them away.
func neighbourly() {
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		var err error
		switch verb {
		case "add":
			err = addNeighbours("nvtest0", number(arg), netlink.NUD_STALE)
		case "remove":
			err = removeLink("nvtest0")
		}
		if err != nil {
			fail(err)
		}
		fmt.Println("done")
	}
}

// addNeighbours makes a link, and that many entries in the ARP table on it, of
// addresses set aside for benchmarks (RFC 2544).
func addNeighbours(link string, count, state int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = link
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("link %s: %w", link, err)
	}
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	for i := range count {
		err := netlink.NeighAdd(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, Family: unix.AF_INET, State: state,
			IP:           net.IPv4(198, 18, byte(i>>8), byte(i)),
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, byte(i >> 8), byte(i)},
		})
		if err != nil {
			return fmt.Errorf("neighbour %d: %w", i, err)
		}
	}
	return nil
}

func removeLink(link string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.LinkDel(l)
}

// TestNeighbourTable fills less than half of the node's table, which all network
// namespaces share, so that nobody goes short; the probe's threshold is lower to match.
func TestNeighbourTable(t *testing.T) {
	needRoot(t)
	raw, err := os.ReadFile("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
	if err != nil {
		t.Skipf("SKIPPED: this is not the machine's first network namespace: %v", err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if limit > 20_000 {
		t.Skipf("SKIPPED: it would take too many entries to come near %d", limit)
	}
	count := limit * 45 / 100
	p, n := probes.NewNeighbours(), node(t)
	p.Thresholds.Table = 40
	silent(t, look(t, p, n), problem.NeighbourTableNearLimit, "arp")

	// The look-alike: permanent entries, as overlay networks make them, are exempt.
	const overlay = "nvtest-overlay"
	if err := addNeighbours(overlay, count, netlink.NUD_PERMANENT); err != nil {
		t.Fatal(err)
	}
	removed := false
	t.Cleanup(func() {
		if !removed {
			_ = removeLink(overlay)
		}
	})
	silent(t, look(t, p, n), problem.NeighbourTableNearLimit, "arp")
	if err := removeLink(overlay); err != nil {
		t.Fatal(err)
	}
	removed = true

	h := start(t, "neighbourly", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET})
	h.line()
	h.say(fmt.Sprintf("add %d", count))
	r := look(t, p, n)
	v := wrong(r, problem.NeighbourTableNearLimit, "arp")
	if v == nil {
		t.Fatalf("%d of %d neighbours: %+v", count, limit, r)
	}
	if m := measured(t, r, "neighbour_entries", "arp"); m.Used < float64(count) || m.Max != float64(limit) {
		t.Errorf("measured %+v, want at least %d of %d", m, count, limit)
	}
	if v.Severity != problem.Warning || v.Refused {
		t.Errorf("severity %s, refused %t; nothing was refused", v.Severity, v.Refused)
	}
	if len(v.Holders) == 0 || v.Holders[0].Owner != "other network namespaces" || v.Holders[0].Amount < float64(count) {
		t.Errorf("holders %+v, want %d of other network namespaces", v.Holders, count)
	}

	h.say("remove")
	silent(t, look(t, p, n), problem.NeighbourTableNearLimit, "arp")
}
