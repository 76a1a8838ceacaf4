package probes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Neighbours watches the tables of link-layer neighbours: ARP's for IPv4 and
// NDISC's for IPv6. All network namespaces share each of them, so that every
// pod's neighbours count against the one limit (net/core/neighbour.c).
type Neighbours struct {
	Thresholds NeighboursThresholds
	fulls      map[string]perCPU // table_fulls at the last run, by table
	// list dumps the entries of a family (AF_INET, AF_INET6) that our network namespace has.
	list func(family int) ([]neighbour, error)
}

// NeighboursThresholds are the thresholds of Neighbours.
type NeighboursThresholds struct {
	// Table is the share of gc_thresh3 in use, in percent, from which a warning begins.
	Table float64 `yaml:"table"`
}

// NewNeighbours is the probe with its default thresholds.
func NewNeighbours() *Neighbours {
	return &Neighbours{
		// The kernel collects unused entries from gc_thresh2 on, half of gc_thresh3
		// by default: what holds 80 % are neighbours in use. Critical is only a
		// refusal, since collecting may go on to make room.
		Thresholds: NeighboursThresholds{Table: 80},
		list:       listNeighbours,
	}
}

// Name implements Probe.
func (*Neighbours) Name() string { return "neighbours" }

// Kinds implements Probe.
func (*Neighbours) Kinds() []problem.Kind { return []problem.Kind{problem.NeighbourTableNearLimit} }

// neighbourFamily is where a table is found.
type neighbourFamily struct {
	table  string // the kernel's name, and the subject
	family int
	stat   string
	limit  string
}

func neighbourFamilies() []neighbourFamily {
	return []neighbourFamily{
		{"arp", unix.AF_INET, "/proc/net/stat/arp_cache", "/proc/sys/net/ipv4/neigh/default/gc_thresh3"},
		{"ndisc", unix.AF_INET6, "/proc/net/stat/ndisc_cache", "/proc/sys/net/ipv6/neigh/default/gc_thresh3"},
	}
}

// Run implements Probe.
func (p *Neighbours) Run(_ context.Context, n *Node) (problem.Result, error) {
	if why := foreignNetwork(n.Host); why != "" {
		return problem.Result{}, errors.New(why)
	}
	var r problem.Result
	fulls := map[string]perCPU{}
	for _, f := range neighbourFamilies() {
		cur, err := readNeighbours(n.Host, f)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // no IPv6 in this kernel
		case err != nil:
			r.Verdicts = append(r.Verdicts, problem.Verdict{
				Kind: problem.NeighbourTableNearLimit, Subject: f.table, State: problem.Unknown, Message: err.Error(),
			})
			continue
		}
		if cur.near(p.Thresholds) {
			// Only now is the dump worth its cost.
			cur.visible, cur.dumpErr = p.list(f.family)
		}
		one := evaluateNeighbours(p.fulls[f.table], cur, p.Thresholds)
		r.Measurements = append(r.Measurements, one.Measurements...)
		r.Verdicts = append(r.Verdicts, one.Verdicts...)
		fulls[f.table] = cur.fulls
	}
	p.fulls = fulls
	if len(fulls) == 0 && len(r.Verdicts) == 0 {
		return r, problem.NotApplicablef("the kernel has no neighbour tables: there is no /proc/net/stat/arp_cache")
	}
	return r, nil
}

// neighbour is one entry of a table.
type neighbour struct {
	link string
	// exempt: it does not count against the limit, being permanent or learned
	// by a control plane (NTF_EXT_LEARNED), as overlay networks make them.
	exempt bool
}

// neighbourTable is a table's fill.
type neighbourTable struct {
	neighbourFamily
	entries uint64 // of all network namespaces, exempt ones included
	fulls   perCPU // entries refused since boot
	max     uint64
	visible []neighbour // of our network namespace; nil while there is no need to know
	dumpErr error
}

func (t neighbourTable) near(th NeighboursThresholds) bool {
	return t.max > 0 && float64(t.entries)*100 >= th.Table*float64(t.max)
}

func readNeighbours(h *host.Host, f neighbourFamily) (neighbourTable, error) {
	t := neighbourTable{neighbourFamily: f}
	raw, err := h.ReadFile(f.stat)
	if err != nil {
		return t, err
	}
	cols, err := parseNetStat(f.stat, raw, "entries", "table_fulls")
	if err != nil {
		return t, err
	}
	// Each line repeats the number of entries; refusals are counted by CPU.
	t.entries, t.fulls = uint64(cols["entries"][0]), cols["table_fulls"]
	if t.max, err = readUint(h, f.limit); errors.Is(err, fs.ErrNotExist) {
		return t, fmt.Errorf("%s is missing, though there is %s", f.limit, f.stat)
	}
	return t, err
}

// evaluateNeighbours judges a table; prev are its refusals at the last run, nil at the first.
func evaluateNeighbours(prev perCPU, cur neighbourTable, th NeighboursThresholds) problem.Result {
	exempt, links := uint64(0), map[string]uint64{}
	for _, n := range cur.visible {
		if n.exempt {
			exempt++
		} else {
			links[n.link]++
		}
	}
	counted := cur.entries - min(exempt, cur.entries)
	total := cur.fulls.total()
	m := problem.Measurement{
		Resource: "neighbour_entries", Subject: cur.table, Unit: problem.Connections,
		Used: float64(counted), Max: float64(cur.max), Refused: &total,
	}
	r := problem.Result{Measurements: []problem.Measurement{m}}

	rose, compared := cur.fulls.since(prev)
	refused := rose > 0 ||
		!compared && len(prev) == 0 && total > 0 && cur.max > 0 && counted >= cur.max
	var sev problem.Severity
	switch {
	case refused:
		sev = problem.Critical
	case cur.max > 0 && m.Fraction()*100 >= th.Table:
		sev = problem.Warning
	default:
		return r
	}
	message := fmt.Sprintf("the %s table of link-layer neighbours is at %s", cur.table, problem.Share(m))
	if refused {
		message = fmt.Sprintf("the %s table of link-layer neighbours is full and refuses new ones (limit %s)",
			cur.table, problem.Amount(m.Max, m.Unit))
	}
	evidence := []string{
		fmt.Sprintf("%s: %d entries (%d of them known not to count), %d refused since boot, %d since the last look",
			cur.stat, cur.entries, exempt, total, rose),
		fmt.Sprintf("%s: %d", cur.limit, cur.max),
	}
	if cur.dumpErr != nil {
		evidence = append(evidence, "permanent entries could not be told apart: "+cur.dumpErr.Error())
	}
	r.Verdicts = []problem.Verdict{{
		Kind: problem.NeighbourTableNearLimit, Subject: cur.table, State: problem.Wrong, Severity: sev,
		Message: message, Evidence: evidence,
		Holders: neighbourHolders(links, counted),
		Touches: []problem.Ref{problem.RefNode},
		Refused: refused,
	}}
	return r
}

// neighbourHolders are the links with the most entries. What the host's own
// network namespace does not show belongs to pods.
func neighbourHolders(links map[string]uint64, counted uint64) []problem.Holder {
	var holders []problem.Holder
	for link, n := range links {
		holders = append(holders, problem.Holder{Owner: "link " + link, Amount: float64(n), Unit: problem.Connections})
		counted -= min(n, counted)
	}
	if counted > 0 {
		holders = append(holders, problem.Holder{
			Owner: "other network namespaces", Amount: float64(counted), Unit: problem.Connections,
		})
	}
	return topHolders(holders)
}

// listNeighbours dumps a family's table through rtnetlink, which needs no privilege.
func listNeighbours(family int) ([]neighbour, error) {
	names := map[int]string{}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: links: %w", err)
	}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	entries, err := netlink.NeighList(0, family)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: neighbours: %w", err)
	}
	list := make([]neighbour, 0, len(entries))
	for _, e := range entries {
		list = append(list, neighbour{
			link:   names[e.LinkIndex],
			exempt: e.State&netlink.NUD_PERMANENT != 0 || e.Flags&netlink.NTF_EXT_LEARNED != 0,
		})
	}
	return list, nil
}
