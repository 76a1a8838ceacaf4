package probes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/netfilter"
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
func (p *Conntrack) Run(ctx context.Context, n *Node) (problem.Result, error) {
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
		holders, err := conntrackHolders(ctx, n, cur.count)
		for i, v := range r.Verdicts {
			if v.State != problem.Wrong {
				continue
			}
			r.Verdicts[i].Holders = holders
			if err != nil {
				r.Verdicts[i].Evidence = append(slices.Clip(v.Evidence), err.Error())
			}
		}
	}
	return r, nil
}

// conntrackTable is the table's fill.
type conntrackTable struct {
	count, max uint64 // max 0: no limit
	// drops are packets dropped for want of an entry, or for losing a race to
	// insert one; nil where the kernel does not tell us.
	drops    perCPU
	dropsErr error // why not
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
	case errors.Is(err, fs.ErrNotExist): // a kernel without CONFIG_NF_CONNTRACK_PROCFS
		if !liveProc(h) {
			t.dropsErr = errors.New("it is a recording")
			return t, nil
		}
		t.drops, t.dropsErr = netfilter.Drops(h)
		return t, nil
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
			Message: fmt.Sprintf("this kernel has no %s, and is not asked otherwise (%v): only its log tells of dropped packets", conntrackStat, cur.dropsErr),
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
