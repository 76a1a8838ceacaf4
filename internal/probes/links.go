package probes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// Links watches the network interfaces that the node itself depends on: its
// hardware, bonds and VLANs, and whatever carries a default route. Interfaces of
// pods come and go, and are left out.
type Links struct {
	Thresholds LinksThresholds
	prev       map[string]linkSample
	// uplinks have carried a default route at some run: a link that goes away
	// takes its routes along.
	uplinks map[string]bool
	flaps   map[string][]linkFlap
}

// LinksThresholds are the thresholds of Links.
type LinksThresholds struct {
	// Changes is how many changes of the carrier within Window are a fault.
	Changes uint64 `yaml:"changes"`
	// Window is how long a change of the carrier counts.
	Window time.Duration `yaml:"window"`
	// Errors is the share of packets that are lost to errors, in percent.
	Errors float64 `yaml:"errors"`
	// Lost is how many packets must have been lost between two looks for that share to count.
	Lost uint64 `yaml:"lost"`
}

// NewLinks is the probe with its default thresholds.
func NewLinks() *Links {
	return &Links{Thresholds: LinksThresholds{
		// Down and up again is two changes: one reset of a switch port, as a firmware
		// update or a new cable brings it, is no fault. Two within 10 minutes are.
		Changes: 4, Window: 10 * time.Minute,
		// TCP's throughput falls with the square root of the loss: at 1 % it is a tenth
		// of what it is at 0.01 %. Below 10 packets a share says nothing.
		Errors: 1, Lost: 10,
	}}
}

// Name implements Probe.
func (*Links) Name() string { return "links" }

// Kinds implements Probe.
func (*Links) Kinds() []problem.Kind { return []problem.Kind{problem.LinkFault} }

// linkFlap is that a link's carrier changed, some time before a look.
type linkFlap struct {
	at      time.Duration // since boot
	changes uint64
}

// Run implements Probe.
func (p *Links) Run(_ context.Context, n *Node) (problem.Result, error) {
	all, err := readLinks(n.Host)
	if err != nil {
		return problem.Result{}, err
	}
	var partial string
	routes, err := readDefaultRoutes(n.Host)
	switch why := foreignNetwork(n.Host); {
	case why != "":
		partial = "which links carry the default routes is not known: " + why
	case err != nil:
		partial = "which links carry the default routes is not known: " + err.Error()
	}
	if p.uplinks == nil || partial != "" {
		p.uplinks = map[string]bool{}
	}
	carrying := map[string]bool{}
	for _, r := range routes {
		if partial == "" {
			p.uplinks[r.link], carrying[r.link] = true, true
		}
	}
	now := n.Host.Clock.Boot()
	cur, flaps := map[string]linkSample{}, map[string][]linkFlap{}
	r := problem.Result{Partial: partial}
	for _, l := range all {
		if l.kind == otherLink && !p.uplinks[l.name] {
			continue
		}
		s, err := readLink(n.Host, l)
		if gone(err) {
			continue // the link went away meanwhile
		} else if err != nil {
			return r, err
		}
		s.defaultRoute = carrying[l.name]
		before, seen := p.prev[l.name]
		if seen = seen && before.index == s.index; seen {
			flaps[l.name] = recentFlaps(p.flaps[l.name], linkFlap{now, risen(before.changes, s.changes)}, now-p.Thresholds.Window)
		} else {
			before = s
		}
		cur[l.name] = s
		one := evaluateLink(before, s, flaps[l.name], p.Thresholds)
		r.Measurements = append(r.Measurements, one.Measurements...)
		r.Verdicts = append(r.Verdicts, one.Verdicts...)
	}
	p.prev, p.flaps = cur, flaps
	maps.DeleteFunc(p.uplinks, func(name string, _ bool) bool {
		return !slices.ContainsFunc(all, func(l netLink) bool { return l.name == name })
	})
	return r, nil
}

// recentFlaps are those since the time given, and the last one if there was a change.
func recentFlaps(flaps []linkFlap, last linkFlap, since time.Duration) []linkFlap {
	if last.changes > 0 {
		flaps = append(flaps, last)
	}
	return slices.DeleteFunc(flaps, func(f linkFlap) bool { return f.at < since })
}

// evaluateLink judges a link by its state, by how often its carrier changed of
// late, and by what it lost since the last look.
func evaluateLink(prev, cur linkSample, flaps []linkFlap, th LinksThresholds) problem.Result {
	changes := uint64(0)
	for _, f := range flaps {
		changes += f.changes
	}
	r := problem.Result{Measurements: []problem.Measurement{{
		Resource: "link_carrier_changes", Subject: cur.name, Used: float64(changes), Max: float64(th.Changes),
		Unit: problem.Changes, Touches: cur.touches(),
	}}}
	lost, packets := risen(prev.lost, cur.lost), risen(prev.packets, cur.packets)
	share := 0.0
	if lost > 0 {
		share = float64(lost) / float64(lost+packets)
	}
	var faults []string
	if cur.bond != "" && cur.memberDown {
		faults = append(faults, "as a member of the bond "+cur.bond+" it is down")
	} else if cur.defaultRoute && cur.up && !cur.carrier {
		faults = append(faults, "it carries a default route and has no carrier")
	}
	if changes >= th.Changes {
		faults = append(faults, fmt.Sprintf("its carrier changed %s times within %s", coarse(changes), th.Window))
	}
	if lost >= th.Lost && share*100 >= th.Errors {
		faults = append(faults, fmt.Sprintf("it lost more than %v %% of its packets to errors", th.Errors))
	}
	if len(faults) == 0 {
		return r
	}
	r.Verdicts = []problem.Verdict{{
		Kind: problem.LinkFault, Subject: cur.name, State: problem.Wrong, Severity: problem.Warning,
		Message: "the network interface " + cur.name + " is at fault: " + strings.Join(faults, "; "),
		Evidence: []string{
			fmt.Sprintf("%s/%s: carrier_changes %d since it exists, %d within %s", sysNet, cur.name, cur.changes, changes, th.Window),
			fmt.Sprintf("%s/%s/statistics: %d packets lost to errors since the last look, %d passed", sysNet, cur.name, lost, packets),
			fmt.Sprintf("carrier %t, administratively up %t", cur.carrier, cur.up),
		},
		Touches: cur.touches(),
	}}
	return r
}
