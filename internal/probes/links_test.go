package probes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// sysLink is a network interface as sysfs shows it.
type sysLink struct {
	device                       string // below /sys/devices
	uevent                       string
	down                         bool // administratively
	carrier                      int
	changes, packets, lost, drop int
	master, mii                  string
	index                        int
}

func (l sysLink) write(t *testing.T, n *Node, name string) {
	t.Helper()
	dev := "/sys/devices/" + l.device + "/net/" + name
	flags := "0x1003"
	if l.down {
		flags = "0x1002"
	}
	files := map[string]string{
		"ifindex": fmt.Sprintln(max(l.index, 2)), "flags": flags + "\n", "carrier": fmt.Sprintln(l.carrier),
		"carrier_changes": fmt.Sprintln(l.changes), "uevent": l.uevent,
		"statistics/rx_packets": fmt.Sprintln(l.packets), "statistics/tx_packets": "0\n",
		"statistics/rx_errors": fmt.Sprintln(l.lost), "statistics/tx_errors": "0\n", "statistics/rx_missed_errors": "0\n",
		"statistics/rx_dropped": fmt.Sprintln(l.drop),
	}
	if l.mii != "" {
		files["bonding_slave/mii_status"] = l.mii + "\n"
	}
	for f, content := range files {
		writeFile(t, n.Host.Root(), dev+"/"+f, content)
	}
	if _, err := os.Lstat(n.Host.Path("/sys/class/net/" + name)); err == nil {
		return // an earlier look made it
	}
	symlink(t, n, "../../devices/"+l.device+"/net/"+name, "/sys/class/net/"+name)
	if l.master != "" {
		symlink(t, n, "../../../virtual/net/"+l.master, dev+"/master")
	}
}

const (
	noRoutes   = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	viaEth0    = noRoutes + "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" + subnetOnly
	subnetOnly = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	pci        = "pci0000:00/0000:00:03.0/virtio2"
	virtual    = "virtual"
)

func TestLinks(t *testing.T) {
	up := sysLink{device: pci, carrier: 1, changes: 2, packets: 1000}
	with := func(change func(*sysLink)) sysLink { l := up; change(&l); return l }
	type looks []map[string]sysLink
	for _, tc := range []struct {
		name   string
		route  string
		looks  looks
		faulty string // the subject
	}{
		{"healthy", viaEth0, looks{{"eth0": up}, {"eth0": up}}, ""},
		{
			"flapping", viaEth0,
			looks{{"eth0": up}, {"eth0": with(func(l *sysLink) { l.changes = 4 })}, {"eth0": with(func(l *sysLink) { l.changes = 6 })}},
			"eth0",
		},
		{"once down and up again", viaEth0, looks{{"eth0": up}, {"eth0": with(func(l *sysLink) { l.changes = 4 })}}, ""},
		{"it changed often before the first look", viaEth0, looks{{"eth0": with(func(l *sysLink) { l.changes = 90 })}}, ""},
		{
			"another device of the same name", viaEth0,
			looks{{"eth0": up}, {"eth0": with(func(l *sysLink) { l.changes, l.index = 90, 7 })}},
			"",
		},
		{
			"look-alike: a pod's veth", viaEth0,
			looks{
				{"veth1": sysLink{device: virtual, carrier: 1}, "cali12": sysLink{device: virtual, carrier: 1}},
				{"veth1": sysLink{device: virtual, changes: 99}, "cali12": sysLink{device: virtual, changes: 99}},
			},
			"",
		},
		{
			"a veth that is the node's own uplink", viaEth0,
			looks{{"eth0": sysLink{device: virtual, carrier: 1}}, {"eth0": sysLink{device: virtual, carrier: 1, changes: 4}}},
			"eth0",
		},
		{"no carrier on the uplink", viaEth0, looks{{"eth0": with(func(l *sysLink) { l.carrier = 0 })}}, "eth0"},
		{"look-alike: the uplink was taken down on purpose", viaEth0, looks{{"eth0": with(func(l *sysLink) { l.carrier, l.down = 0, true })}}, ""},
		{"look-alike: never connected", viaEth0, looks{{"eth1": with(func(l *sysLink) { l.carrier = 0 })}}, ""},
		{
			"a member of a bond is down", noRoutes,
			looks{{
				"bond0": sysLink{device: virtual, uevent: "DEVTYPE=bond\nINTERFACE=bond0\n", carrier: 1},
				"eth0":  with(func(l *sysLink) { l.master, l.mii = "bond0", "up" }),
				"eth1":  with(func(l *sysLink) { l.master, l.mii, l.carrier = "bond0", "down", 0 }),
			}},
			"eth1",
		},
		{
			"errors", viaEth0,
			looks{{"eth0": up}, {"eth0": with(func(l *sysLink) { l.packets, l.lost = 2000, 20 })}},
			"eth0",
		},
		{
			"look-alike: few errors of many packets", viaEth0,
			looks{{"eth0": up}, {"eth0": with(func(l *sysLink) { l.packets, l.lost = 1_000_000, 500 })}},
			"",
		},
		{
			"look-alike: a single error on an idle link", viaEth0,
			looks{{"eth0": up}, {"eth0": with(func(l *sysLink) { l.packets, l.lost = 1003, 2 })}},
			"",
		},
		{
			"look-alike: frames of unknown protocols count as dropped", viaEth0,
			looks{{"eth0": up}, {"eth0": with(func(l *sysLink) { l.packets, l.drop = 2000, 900 })}},
			"",
		},
		{
			"a VLAN flaps", noRoutes,
			looks{
				{"eth0.7": sysLink{device: virtual, uevent: "DEVTYPE=vlan\n", carrier: 1}},
				{"eth0.7": sysLink{device: virtual, uevent: "DEVTYPE=vlan\n", carrier: 1, changes: 4}},
			},
			"eth0.7",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, n := NewLinks(), tree(t, map[string]string{"/proc/net/route": tc.route, "/proc/net/ipv6_route": ""})
			c := &testClock{boot: time.Hour}
			n.Host.Clock = c
			var r problem.Result
			for _, look := range tc.looks {
				for name, l := range look {
					l.write(t, n, name)
				}
				c.boot += 15 * time.Second
				var err error
				if r, err = p.Run(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			var faulty string
			for _, v := range r.Verdicts {
				faulty += v.Subject
				if v.Kind != problem.LinkFault || v.State != problem.Wrong || v.Severity != problem.Warning ||
					!slices.Contains(v.Touches, problem.NewRef(problem.RefLink, v.Subject)) {
					t.Errorf("%+v", v)
				}
			}
			if faulty != tc.faulty {
				t.Errorf("faulty: %q, want %q; %+v", faulty, tc.faulty, r.Verdicts)
			}
		})
	}
}

// Changes of the carrier count for as long as the window is.
func TestLinkFlapsArePast(t *testing.T) {
	p, n := NewLinks(), tree(t, map[string]string{"/proc/net/route": viaEth0})
	c := &testClock{boot: time.Hour}
	n.Host.Clock = c
	l := sysLink{device: pci, carrier: 1}
	look := func() problem.Result {
		t.Helper()
		l.write(t, n, "eth0")
		r, err := p.Run(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	look()
	l.changes = 4
	checkSeverity(t, look(), problem.LinkFault, "eth0", problem.Warning)
	c.boot += p.Thresholds.Window
	checkSeverity(t, look(), problem.LinkFault, "eth0", problem.Warning)
	c.boot += time.Second
	checkSeverity(t, look(), problem.LinkFault, "eth0", 0)
	if err := os.RemoveAll(filepath.Join(n.Host.Root(), "sys/class/net/eth0")); err != nil {
		t.Fatal(err)
	}
	if r, err := p.Run(t.Context(), n); err != nil || len(r.Verdicts)+len(r.Measurements) > 0 || len(p.uplinks)+len(p.prev)+len(p.flaps) > 0 {
		t.Errorf("a link that is gone is remembered: %+v, %v, %+v", r, err, p)
	}
}
