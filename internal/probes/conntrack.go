package probes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// The files that tell of connection tracking
// (Documentation/networking/nf_conntrack-sysctl.rst; net/netfilter/nf_conntrack_standalone.c).
const (
	conntrackCount = "/proc/sys/net/netfilter/nf_conntrack_count"
	conntrackMax   = "/proc/sys/net/netfilter/nf_conntrack_max"
	conntrackStat  = "/proc/net/stat/nf_conntrack"
	conntrackList  = "/proc/net/nf_conntrack"
)

// Conntrack watches the connection tracking table of the host's network
// namespace. A new connection that finds it full is dropped, whichever pod it
// belongs to.
type Conntrack struct {
	Thresholds ConntrackThresholds
	drops      perCPU // of the last run
}

// ConntrackThresholds are the thresholds of Conntrack.
type ConntrackThresholds struct {
	// Table is the share of nf_conntrack_max in use.
	Table Levels `yaml:"table"`
	// Full is the share of nf_conntrack_max, in percent, from which drops are
	// put down to a full table.
	Full float64 `yaml:"full"`
}

// NewConntrack is the probe with its default thresholds.
func NewConntrack() *Conntrack {
	return &Conntrack{Thresholds: ConntrackThresholds{
		// At 80 % a burst of DNS queries (30 s an entry) still fits; at 95 % it does not.
		Table: Levels{Warning: 80, Critical: 95},
		// The kernel counts a drop also when two packets of one flow race to
		// insert it, which is harmless and comes at any fill. A full table hovers
		// a little below its limit, as entries expire all the time.
		Full: 95,
	}}
}

// Name implements Probe.
func (*Conntrack) Name() string { return "conntrack" }

// Kinds implements Probe.
func (*Conntrack) Kinds() []problem.Kind {
	return []problem.Kind{problem.ConntrackNearLimit, problem.ConntrackDropping}
}

// Run implements Probe.
func (p *Conntrack) Run(_ context.Context, n *Node) (problem.Result, error) {
	if why := foreignNetwork(n.Host); why != "" {
		return problem.Result{Verdicts: []problem.Verdict{
			{Kind: problem.ConntrackNearLimit, State: problem.Unknown, Message: why},
			{Kind: problem.ConntrackDropping, State: problem.Unknown, Message: why},
		}}, nil
	}
	cur, err := readConntrack(n.Host)
	if err != nil {
		return problem.Result{}, err
	}
	r := evaluateConntrack(p.drops, cur, p.Thresholds)
	p.drops = cur.drops
	if len(r.Verdicts) > 0 && p.Thresholds.Table.Severity(cur.fraction()) != 0 {
		holders := conntrackHolders(n.Host, cur.count)
		for i := range r.Verdicts {
			if r.Verdicts[i].State == problem.Wrong {
				r.Verdicts[i].Holders = holders
			}
		}
	}
	return r, nil
}

// conntrackTable is the table's fill.
type conntrackTable struct {
	count, max uint64 // max 0: no limit
	// drops are packets dropped for want of an entry, or for losing a race to
	// insert one; nil where the kernel does not tell.
	drops perCPU
}

func (t conntrackTable) fraction() float64 { return t.measurement().Fraction() }

func (t conntrackTable) measurement() problem.Measurement {
	m := problem.Measurement{
		Resource: "conntrack_entries", Used: float64(t.count), Max: float64(t.max), Unit: problem.Connections,
	}
	if t.drops != nil {
		total := t.drops.total()
		m.Refused = &total
	}
	return m
}

func readConntrack(h *host.Host) (conntrackTable, error) {
	var t conntrackTable
	var err error
	if t.count, err = readUint(h, conntrackCount); errors.Is(err, fs.ErrNotExist) {
		return t, problem.NotApplicablef("the kernel tracks no connections: there is no %s", conntrackCount)
	} else if err != nil {
		return t, err
	}
	if t.max, err = readUint(h, conntrackMax); err != nil {
		return t, err
	}
	raw, err := h.ReadFile(conntrackStat)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, nil // a kernel without CONFIG_NF_CONNTRACK_PROCFS
	case err != nil:
		return t, err
	}
	table, err := parseNetStat(conntrackStat, raw, "drop")
	t.drops = table["drop"]
	return t, err
}

// evaluateConntrack judges the table; prev are the drops at the last run, nil at the first.
func evaluateConntrack(prev perCPU, cur conntrackTable, th ConntrackThresholds) problem.Result {
	m := cur.measurement()
	r := problem.Result{Measurements: []problem.Measurement{m}}
	full := cur.max > 0 && cur.count >= cur.max
	rose, compared := cur.drops.since(prev)
	// The first look has nothing to compare with: drops of the past count only
	// where the table is full now, too.
	dropping := full && !compared && len(prev) == 0 && cur.drops.total() > 0 ||
		rose > 0 && m.Fraction()*100 >= th.Full

	evidence := []string{
		fmt.Sprintf("%s: %d, %s: %d", conntrackCount, cur.count, conntrackMax, cur.max),
	}
	if cur.drops != nil {
		evidence = append(evidence, fmt.Sprintf("%s: %d dropped since boot, %d since the last look",
			conntrackStat, cur.drops.total(), rose))
	}
	if sev := th.Table.Severity(m.Fraction()); sev != 0 {
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: problem.ConntrackNearLimit, State: problem.Wrong, Severity: sev,
			Message:  "the connection tracking table is at " + problem.Share(m),
			Evidence: evidence,
			Touches:  []problem.Ref{problem.RefNode},
			Refused:  full || dropping,
		})
	}
	switch {
	case cur.drops == nil:
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: problem.ConntrackDropping, State: problem.NotApplicable,
			Message: "this kernel has no " + conntrackStat + ": only its log tells of dropped packets",
		})
	case dropping:
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: problem.ConntrackDropping, State: problem.Wrong, Severity: problem.Critical,
			Message: fmt.Sprintf("new connections are dropped: the connection tracking table is full (limit %s)",
				problem.Amount(m.Max, m.Unit)),
			Evidence: evidence,
			Touches:  []problem.Ref{problem.RefNode},
			Refused:  true,
		})
	}
	return r
}

// conntrackSample is how much of the list of entries is read, in bytes: some
// 25,000 entries. They come in the order of a hash of their addresses, so the
// first ones are a fair sample, and a node with a million of them costs no more.
const conntrackSample = 4 << 20

// conntrackHolders are the addresses that opened the most connections of count,
// estimated from a sample; none where the kernel or our rights do not show the list.
func conntrackHolders(h *host.Host, count uint64) []problem.Holder {
	sources := map[netip.Addr]int{}
	sampled, size := 0, 0
	err := streamLines(h, conntrackList, func(line []byte) bool {
		size += len(line)
		if src, ok := conntrackSource(line); ok {
			sources[src]++
			sampled++
		}
		return size < conntrackSample
	})
	if err != nil {
		return nil
	}
	return topSources(sources, sampled, count)
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

// topSources scales the sample up to count, to two digits: more would be made up.
func topSources(sources map[netip.Addr]int, sampled int, count uint64) []problem.Holder {
	holders := make([]problem.Holder, 0, len(sources))
	for src, n := range sources {
		amount := float64(n)
		if uint64(sampled) < count {
			amount = roundDigits(amount / float64(sampled) * float64(count))
		}
		holders = append(holders, problem.Holder{Owner: "source " + src.String(), Amount: amount, Unit: problem.Connections})
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
