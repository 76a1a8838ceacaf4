package probes

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file reads network interfaces from sysfs
// (Documentation/ABI/testing/sysfs-class-net and sysfs-class-net-statistics).
// Unlike /proc/net it shows the network namespace of whoever mounted it: through
// the host's /sys, the host's.

const sysNet = "/sys/class/net"

// linkKind is what kind of network interface it is, as far as that matters.
type linkKind uint8

const (
	otherLink    linkKind = iota // veth, bridge, tunnel, loopback …
	physicalLink                 // has hardware, or a hypervisor's
	bondLink
	vlanLink
)

// netLink is a network interface.
type netLink struct {
	name string
	kind linkKind
}

// linkSample is one look at a link.
type linkSample struct {
	netLink
	index        uint64
	up           bool // administratively
	carrier      bool
	changes      uint64 // of the carrier, since the link exists
	bond         string // the bond that it is a member of
	memberDown   bool   // the bond holds it to be down
	packets      uint64 // received and sent
	lost         uint64 // to errors
	defaultRoute bool   // it carries one
}

func (l linkSample) touches() []problem.Ref {
	refs := []problem.Ref{problem.NewRef(problem.RefLink, l.name)}
	if l.bond != "" {
		refs = append(refs, problem.NewRef(problem.RefLink, l.bond))
	}
	if l.defaultRoute {
		refs = append(refs, problem.RefNode)
	}
	return refs
}

// readLinks lists the links, sorted by name.
func readLinks(h *host.Host) ([]netLink, error) {
	names, err := h.ReadDirNames(sysNet)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, problem.NotApplicablef("there is no %s", sysNet)
	} else if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var links []netLink
	for _, name := range names {
		// Where the link points to is the device's place:
		// ../../devices/pci0000:00/…/net/eth0, ../../devices/virtual/net/cni0.
		target, err := os.Readlink(h.Path(path.Join(sysNet, name)))
		if err != nil {
			continue // gone, or no link: bonding_masters is a file
		}
		l := netLink{name: name}
		switch {
		case !strings.Contains(target, "/virtual/"):
			l.kind = physicalLink
		case strings.HasPrefix(name, "veth"):
			// hundreds of them, and never a bond
		default:
			raw, err := h.ReadFile(path.Join(sysNet, name, "uevent"))
			if err == nil {
				l.kind = deviceType(raw)
			}
		}
		links = append(links, l)
	}
	return links, nil
}

// deviceType is the kind of a virtual link, by the DEVTYPE line of its uevent file.
func deviceType(uevent []byte) linkKind {
	for line := range bytes.Lines(uevent) {
		switch string(bytes.TrimSpace(line)) {
		case "DEVTYPE=bond":
			return bondLink
		case "DEVTYPE=vlan":
			return vlanLink
		}
	}
	return otherLink
}

// readLink looks at one link.
func readLink(h *host.Host, l netLink) (linkSample, error) {
	s := linkSample{netLink: l}
	dir := path.Join(sysNet, l.name)
	var err error
	if s.index, err = readUint(h, dir+"/ifindex"); err != nil {
		return s, err
	}
	flags, err := h.ReadString(dir + "/flags")
	if err != nil {
		return s, err
	}
	bits, err := strconv.ParseUint(flags, 0, 32)
	if err != nil {
		return s, fmt.Errorf("%s/flags: %q is not a number", dir, bounded([]byte(flags)))
	}
	s.up = bits&unix.IFF_UP != 0
	// The file cannot be read (EINVAL) while the link is administratively down.
	if s.up {
		carrier, err := readUint(h, dir+"/carrier")
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return s, err
		}
		s.carrier = carrier == 1
	}
	if s.changes, err = readUint(h, dir+"/carrier_changes"); err != nil {
		return s, err
	}
	for _, c := range []struct {
		sum  *uint64
		file string
	}{
		{&s.packets, "rx_packets"},
		{&s.packets, "tx_packets"},
		{&s.lost, "rx_errors"},
		{&s.lost, "tx_errors"},
		// The card had no room. rx_dropped is not counted: it goes up also for frames
		// of protocols that nobody here asked for, such as LLDP.
		{&s.lost, "rx_missed_errors"},
	} {
		n, err := readUint(h, dir+"/statistics/"+c.file)
		if err != nil {
			return s, err
		}
		*c.sum += n
	}
	return s, s.readBond(h, dir)
}

// readBond tells of which bond the link is a member, and how it fares there
// (Documentation/networking/bonding.rst).
func (s *linkSample) readBond(h *host.Host, dir string) error {
	status, err := h.ReadString(dir + "/bonding_slave/mii_status")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	s.memberDown = status == "down"
	master, err := os.Readlink(h.Path(dir + "/master"))
	if err != nil {
		return err
	}
	s.bond = path.Base(master)
	return nil
}
