package cni

// This file: the addresses that host-local has given away. It keeps a file for each
// (plugins/ipam/host-local/backend/disk): its name is the address, its first line
// the id of the sandbox, the second the interface.

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
)

// dataDir is where host-local keeps its reservations, a folder for each network.
const dataDir = "/var/lib/cni/networks"

// Reservation is an address that was given to a sandbox.
type Reservation struct {
	Address netip.Addr
	Sandbox string    // its container id
	Since   time.Time // by the wall clock of then
}

// Pool is the addresses of a network that host-local keeps.
type Pool struct {
	Network string
	Dir     string // of the reservations, on the host
	Sets    [][]Range
}

// ErrOtherIPAM says that the files on this node do not tell which addresses its pods
// may have, or not which they have.
var ErrOtherIPAM = errors.New("the node's files do not tell the range of its pods' addresses")

// PoolOf finds the addresses of a network.
func PoolOf(h *host.Host, n Network) (Pool, error) {
	for _, p := range n.Plugins {
		switch {
		case p.IPAM != nil && p.IPAM.Type == HostLocal && len(p.IPAM.Sets) > 0:
			dir := p.IPAM.DataDir
			if dir == "" {
				dir = dataDir
			}
			return Pool{Network: n.Name, Dir: path.Join(dir, n.Name), Sets: p.IPAM.Sets}, nil
		case p.Delegates && (p.DelegateIPAM == "" || p.DelegateIPAM == HostLocal):
			sets, err := flannelSets(h)
			return Pool{Network: n.Name, Dir: path.Join(dataDir, n.Name), Sets: sets}, err
		case p.IPAM != nil:
			return Pool{}, fmt.Errorf("%w: %s has it from elsewhere", ErrOtherIPAM, p.IPAM.Type)
		}
	}
	return Pool{}, fmt.Errorf("%w: the network %s has a way of its own", ErrOtherIPAM, n.Name)
}

// flannelEnv is where flannel's agent writes the node's own range.
const flannelEnv = "/run/flannel/subnet.env"

// flannelSets reads FLANNEL_SUBNET=10.244.1.1/24 and FLANNEL_IPV6_SUBNET: a set for
// each family. The bridge has the first address.
func flannelSets(h *host.Host) (sets [][]Range, err error) {
	b, err := h.ReadFile(flannelEnv)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key != "FLANNEL_SUBNET" && key != "FLANNEL_IPV6_SUBNET" || value == "" {
			continue
		}
		r, err := rawRange{Subnet: value}.parse()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flannelEnv, err)
		}
		sets = append(sets, []Range{r})
	}
	if len(sets) == 0 {
		return nil, fmt.Errorf("%s names no subnet", flannelEnv)
	}
	return sets, nil
}

// maxReservations bounds how many reservations are read.
const maxReservations = 65536

// Reservations lists the addresses that are given away. A folder that does not
// exist holds none: no pod has started yet.
func (p Pool) Reservations(h *host.Host) ([]Reservation, error) {
	dir := h.Resolve(p.Dir)
	names, err := h.ReadDirNames(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Reservation
	buf := make([]byte, 0, 512)
	for _, name := range names {
		addr, err := netip.ParseAddr(name)
		if err != nil {
			continue // a lock, the last one given
		}
		if len(out) == maxReservations {
			return out, fmt.Errorf("%s holds more than %d reservations", p.Dir, maxReservations)
		}
		file := path.Join(dir, name)
		b, err := h.ReadInto(file, buf)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was given back just now
		}
		if err != nil {
			return out, err
		}
		r := Reservation{Address: addr, Sandbox: parseReservation(b)}
		if info, err := os.Lstat(h.Path(file)); err == nil {
			r.Since = info.ModTime()
		}
		out = append(out, r)
	}
	return out, nil
}

// parseReservation is the id of the sandbox; empty if that is not what it says.
func parseReservation(b []byte) string {
	id, _, _ := strings.Cut(string(b[:min(len(b), 256)]), "\n")
	id = strings.TrimSpace(id)
	if strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") != "" {
		return ""
	}
	return id
}
