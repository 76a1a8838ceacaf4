package probes

// This file parses what the kernel's NFS client counts of each mount.

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
)

// mountStatsFile is that of PID 1, since mounts are those of the reader's
// namespace. Reading it does not ask the server.
const mountStatsFile = "/proc/1/mountstats"

// nfsCounters are the requests that a mount's transports have sent and the answers
// that they have received, since they were made. Mounts of one server mostly share
// a transport. A request that is sent again counts twice, and so sends stay ahead of
// receives for ever once a connection was lost: only together with the lack of new
// answers does the difference mean anything.
type nfsCounters struct{ sends, recvs uint64 }

func (c nfsCounters) outstanding() uint64 { return risen(c.recvs, c.sends) }

// parseMountStats reads the NFS mounts of /proc/PID/mountstats, by mount point. Of
// mounts stacked on one point the last counts, as it is the one in use. The error
// names the first mount whose counters make no sense; the others come with it.
//
//	device 10.9.0.1:/srv on /mnt … with fstype nfs4 statvers=1.1
//		xprt:	tcp 0 0 2 0 36 54 50 …
func parseMountStats(raw []byte) (map[string]nfsCounters, error) {
	all := map[string]nfsCounters{}
	var (
		point string // of the mount whose lines these are; empty if it is no NFS
		first error
	)
	for line := range bytes.Lines(raw) {
		f := strings.Fields(string(line))
		switch {
		case len(f) >= 8 && f[0] == "device" && f[2] == "mounted" && f[6] == "fstype":
			point = ""
			if f[7] == "nfs" || f[7] == "nfs4" {
				point = mounts.Unescape(f[4])
				delete(all, point)
			}
		case len(f) > 0 && (f[0] == "device" || f[0] == "no"): // "no device mounted on …"
			point = ""
		case point != "" && len(f) > 1 && f[0] == "xprt:":
			c, err := parseTransport(f[1], f[2:])
			if err != nil {
				if first == nil {
					first = fmt.Errorf("%s: mount %q: %w", mountStatsFile, point, err)
				}
				continue
			}
			sum := all[point]
			all[point] = nfsCounters{sum.sends + c.sends, sum.recvs + c.recvs}
		}
	}
	return all, first
}

// parseTransport reads the counters of one connection; see xs_*_print_stats in
// net/sunrpc/xprtsock.c and xprt_rdma_print_stats in net/sunrpc/xprtrdma.
func parseTransport(proto string, f []string) (c nfsCounters, err error) {
	at := 5 // source port, binds, connects, connect time, idle time, then sends, receives
	switch proto {
	case "udp":
		at = 2 // source port, binds
	case "local":
		at = 4 // binds, connects, connect time, idle time
	}
	if len(f) < at+2 {
		return c, fmt.Errorf("transport %.20q has %d counters, fewer than %d", proto, len(f), at+2)
	}
	if c.sends, err = strconv.ParseUint(f[at], 10, 64); err != nil {
		return c, fmt.Errorf("sends of transport %.20q: %w", proto, err)
	}
	if c.recvs, err = strconv.ParseUint(f[at+1], 10, 64); err != nil {
		return c, fmt.Errorf("receives of transport %.20q: %w", proto, err)
	}
	return c, nil
}
