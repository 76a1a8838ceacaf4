package probes

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
)

// This file: what the kernel counts of block devices.

const diskstatsFile = "/proc/diskstats"

// diskStats are the counters of one block device since boot
// (Documentation/admin-guide/iostats.rst).
type diskStats struct {
	completed uint64 // requests of any kind: reads, writes, discards, flushes
	served    uint64 // of these, reads and writes: who trims a disk waits for long, and may
	waited    uint32 // ms, the time that those took, added up; it wraps around, as its parts do
	inFlight  uint64 // at this moment
	busy      uint64 // ms during which any was in flight
}

// parseDiskstats parses /proc/diskstats. A line has 14 fields, since Linux 4.18
// also the four of discards, since 5.5 the two of flushes; what newer kernels
// append is passed over. Lines that make no sense are an error.
func parseDiskstats(raw []byte) (map[string]diskStats, error) {
	all := map[string]diskStats{}
	for line := range bytes.Lines(raw) {
		f := strings.Fields(string(line))
		if len(f) == 0 {
			continue
		}
		if len(f) < 14 {
			return nil, fmt.Errorf("%s: %q has too few fields", diskstatsFile, bounded(line))
		}
		n := make([]uint64, len(f)) // beginning with the third field, as f
		for i := 3; i < min(len(f), 20); i++ {
			v, err := strconv.ParseUint(f[i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %q is not a number in %q", diskstatsFile, bounded([]byte(f[i])), bounded(line))
			}
			n[i] = v
		}
		s := diskStats{completed: n[3] + n[7], served: n[3] + n[7], waited: uint32(n[6] + n[10]), inFlight: n[11], busy: n[12]}
		if len(f) >= 18 {
			s.completed += n[14]
		}
		if len(f) >= 20 {
			s.completed += n[18]
		}
		all[f[2]] = s
	}
	return all, nil
}

// readDisks are the counters of the whole disks: a partition's requests are its
// disk's. Optical drives and floppies are left out, which wait for people.
func readDisks(h *host.Host) (map[string]diskStats, error) {
	raw, err := h.ReadFile(diskstatsFile)
	if err != nil {
		return nil, err
	}
	all, err := parseDiskstats(raw)
	if err != nil {
		return nil, err
	}
	names, err := h.ReadDirNames("/sys/block")
	if err != nil {
		return nil, err
	}
	disks := map[string]diskStats{}
	for _, name := range names {
		name = strings.ReplaceAll(name, "!", "/") // cciss!c0d0
		s, ok := all[name]
		if ok && !numbered(name, "sr") && !numbered(name, "fd") {
			disks[name] = s
		}
	}
	return disks, nil
}

// numbered: the name is the prefix and a number.
func numbered(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
}
