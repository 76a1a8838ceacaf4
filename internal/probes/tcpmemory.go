package probes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// The files that tell of TCP's memory. The sums in sockstat are over all
// network namespaces; the two limits stand in the first one only (tcp(7),
// Documentation/networking/ip-sysctl.rst).
const (
	sockstatFile   = "/proc/net/sockstat"
	tcpMemFile     = "/proc/sys/net/ipv4/tcp_mem"
	tcpOrphansFile = "/proc/sys/net/ipv4/tcp_max_orphans"
)

// TCPMemory watches the memory of all TCP sockets, and the sockets that no
// process holds any more.
type TCPMemory struct{ Thresholds TCPMemoryThresholds }

// TCPMemoryThresholds are the thresholds of TCPMemory.
type TCPMemoryThresholds struct {
	// Memory is the share of the third number of tcp_mem in use.
	Memory Levels `yaml:"memory"`
	// Orphans is the share of tcp_max_orphans in use.
	Orphans Levels `yaml:"orphans"`
}

// NewTCPMemory is the probe with its default thresholds.
func NewTCPMemory() *TCPMemory {
	return &TCPMemory{TCPMemoryThresholds{
		// The second number of tcp_mem, from which the kernel moderates itself, is
		// two thirds of the third by default: 80 % is beyond what it should reach.
		Memory: Levels{Warning: 80, Critical: 95},
		// Past the limit the kernel resets orphans, so the last bytes of
		// connections are lost; it does so earlier to sockets that misbehave.
		Orphans: Levels{Warning: 80, Critical: 95},
	}}
}

// Name implements Probe.
func (*TCPMemory) Name() string { return "tcpmemory" }

// Kinds implements Probe.
func (*TCPMemory) Kinds() []problem.Kind { return []problem.Kind{problem.TCPMemoryNearLimit} }

// Run implements Probe.
func (p *TCPMemory) Run(_ context.Context, n *Node) (problem.Result, error) {
	raw, err := n.Host.ReadFile(sockstatFile)
	if err != nil {
		return problem.Result{}, err
	}
	var s tcpState
	if s.orphans, s.pages, err = parseSockstat(raw); err != nil {
		return problem.Result{}, err
	}
	if raw, err = n.Host.ReadFile(tcpMemFile); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return problem.Result{}, err
		}
		if why := foreignNetwork(n.Host); why != "" {
			return problem.Result{}, fmt.Errorf("%w; %s", err, why)
		}
		// The limit is the machine's; the kernel shows it in its first network
		// namespace only (net/ipv4/sysctl_net_ipv4.c, ipv4_table). A node in a
		// container has another.
		return problem.Result{}, problem.NotApplicablef("the kernel shows no limit on TCP memory in this node's network namespace")
	}
	if s.maxPages, err = parseTCPMem(raw); err != nil {
		return problem.Result{}, err
	}
	if s.maxOrphans, err = readUint(n.Host, tcpOrphansFile); err != nil {
		return problem.Result{}, err
	}
	return evaluateTCPMemory(s, uint64(os.Getpagesize()), p.Thresholds), nil
}

// tcpState is what TCP uses, in memory pages and sockets.
type tcpState struct{ pages, maxPages, orphans, maxOrphans uint64 }

// parseSockstat parses the line of /proc/net/sockstat that begins with "TCP:":
// names and numbers in turn.
func parseSockstat(raw []byte) (orphans, pages uint64, err error) {
	for line := range bytes.Lines(raw) {
		f := strings.Fields(string(line))
		if len(f) == 0 || f[0] != "TCP:" {
			continue
		}
		found := 0
		for i := 1; i+1 < len(f); i += 2 {
			var into *uint64
			switch f[i] {
			case "orphan":
				into = &orphans
			case "mem":
				into = &pages
			default:
				continue
			}
			// The kernel sums signed counters of all CPUs, so that the sum can be
			// a little below zero for a moment.
			v, err := strconv.ParseInt(f[i+1], 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("%s: TCP %s: %w", sockstatFile, f[i], err)
			}
			*into = uint64(max(v, 0))
			found++
		}
		if found == 2 {
			return orphans, pages, nil
		}
	}
	return 0, 0, fmt.Errorf("%s: no line TCP: with orphan and mem in %q", sockstatFile, bounded(raw))
}

// parseTCPMem parses the limit in tcp_mem: low, pressure, and the maximum, in pages.
func parseTCPMem(raw []byte) (uint64, error) {
	f := strings.Fields(string(raw))
	if len(f) != 3 {
		return 0, fmt.Errorf("%s: %d fields in %q, want 3", tcpMemFile, len(f), bounded(raw))
	}
	most, err := strconv.ParseUint(f[2], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", tcpMemFile, err)
	}
	return most, nil
}

func evaluateTCPMemory(s tcpState, pageSize uint64, th TCPMemoryThresholds) problem.Result {
	page := float64(pageSize)
	memory := problem.Measurement{
		Resource: "tcp_memory", Unit: problem.Bytes,
		Used: float64(s.pages) * page, Max: float64(s.maxPages) * page,
	}
	orphans := problem.Measurement{
		Resource: "tcp_orphans", Unit: problem.Sockets,
		Used: float64(s.orphans), Max: float64(s.maxOrphans),
	}
	r := problem.Result{Measurements: []problem.Measurement{memory, orphans}}
	for _, c := range []struct {
		subject, what, evidence string
		m                       problem.Measurement
		levels                  Levels
	}{
		{
			"memory", "the memory of the node's TCP sockets is at ",
			fmt.Sprintf("%s: TCP mem %d pages, %s: %d", sockstatFile, s.pages, tcpMemFile, s.maxPages),
			memory, th.Memory,
		},
		{
			"orphans", "TCP sockets that no process holds are at ",
			fmt.Sprintf("%s: TCP orphan %d, %s: %d", sockstatFile, s.orphans, tcpOrphansFile, s.maxOrphans),
			orphans, th.Orphans,
		},
	} {
		if sev := c.levels.Severity(c.m.Fraction()); sev != 0 {
			r.Verdicts = append(r.Verdicts, problem.Verdict{
				Kind: problem.TCPMemoryNearLimit, Subject: c.subject, State: problem.Wrong, Severity: sev,
				Message:  c.what + problem.Share(c.m),
				Evidence: []string{c.evidence},
				Touches:  []problem.Ref{problem.RefNode},
				Refused:  c.m.Fraction() >= 1,
			})
		}
	}
	return r
}
