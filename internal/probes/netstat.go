package probes

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// This file is what the probes of the network share: whose network namespace
// we see, and the tables of /proc/net/stat.

// foreignNetwork says why /proc/net and /proc/sys/net are not the host's; it is
// empty where they are. They follow the network namespace of whoever reads
// them (kernel: fs/proc/proc_net.c, net/sysctl_net.c), through whatever mount
// of /proc.
//
// The files below /proc/PID/net have inode numbers of their own in each network
// namespace, and unlike the link /proc/PID/ns/net they may be looked at by anyone.
func foreignNetwork(h *host.Host) string {
	if !liveProc(h) {
		return "" // a recorded tree has but one view
	}
	var own, node unix.Stat_t
	if err := unix.Stat("/proc/self/net/dev", &own); err != nil {
		return fmt.Sprintf("cannot tell whose network namespace this is: /proc/self/net/dev: %v", err)
	}
	if err := unix.Stat(h.Path("/proc/1/net/dev"), &node); err != nil {
		return fmt.Sprintf("cannot tell whose network namespace this is: /proc/1/net/dev: %v", err)
	}
	if own.Ino != node.Ino {
		return "this process is in a network namespace of its own and sees only that: it needs hostNetwork"
	}
	return ""
}

// liveProc reports whether the host's /proc is a running kernel's, and not a recording.
func liveProc(h *host.Host) bool {
	var s unix.Statfs_t
	return unix.Statfs(h.Path("/proc"), &s) == nil && s.Type == unix.PROC_SUPER_MAGIC
}

// perCPU is a kernel counter with a 32-bit number for each possible CPU; each wraps around.
type perCPU []uint32

// total is the sum over the CPUs.
func (c perCPU) total() uint64 {
	var sum uint64
	for _, n := range c {
		sum += uint64(n)
	}
	return sum
}

// since is by how much the counter rose since prev. It is false where the two
// cannot be compared: there is no prev, or the counter went backwards because
// its module was loaded anew.
func (c perCPU) since(prev perCPU) (uint64, bool) {
	if len(prev) == 0 || len(prev) != len(c) {
		return 0, false
	}
	var rose uint64
	for i := range c {
		d := c[i] - prev[i] // modulo 2^32
		if d > 1<<31 {
			return 0, false
		}
		rose += uint64(d)
	}
	return rose, true
}

// parseNetStat parses the named columns of a table of /proc/net/stat: a line of
// column names, then a line of hexadecimal numbers for each possible CPU. Which
// columns there are differs between kernels.
func parseNetStat(file string, raw []byte, columns ...string) (map[string]perCPU, error) {
	head, body, _ := bytes.Cut(raw, []byte("\n"))
	names := strings.Fields(string(head))
	at := make(map[string]int, len(names))
	for i, name := range names {
		at[name] = i
	}
	table := make(map[string]perCPU, len(columns))
	for line := range bytes.Lines(body) {
		fields := strings.Fields(string(line))
		for _, col := range columns {
			i, ok := at[col]
			if !ok || i >= len(fields) {
				return nil, fmt.Errorf("%s: no column %q in %q", file, col, bounded(raw))
			}
			n, err := strconv.ParseUint(fields[i], 16, 32)
			if err != nil {
				return nil, fmt.Errorf("%s: column %s: %w", file, col, err)
			}
			table[col] = append(table[col], uint32(n))
		}
	}
	if len(table) != len(columns) {
		return nil, fmt.Errorf("%s: no line of numbers in %q", file, bounded(raw))
	}
	return table, nil
}
