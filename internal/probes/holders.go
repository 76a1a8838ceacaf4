package probes

// Who uses a resource up: processes, grouped by owner and command name.

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// maxHolders is how many holders a verdict names. Whoever uses a limit up is
// nearly always the first.
const maxHolders = 5

// consumer is a process and how much it uses.
type consumer struct {
	process.Process
	cgroup string // empty if it could not be told
	amount float64
}

// consumers measures every process by amount. Those that vanish meanwhile are
// not missed: they hold nothing any more.
func consumers(ctx context.Context, n *Node, amount func(process.Process) float64) ([]consumer, error) {
	var all []consumer
	err := process.Walk(ctx, n.Host, func(p process.Process) error {
		if a := amount(p); a > 0 {
			c := consumer{Process: p, amount: a}
			if n.Cgroups != nil {
				c.cgroup, _ = n.Cgroups.Place(p.PID)
			}
			all = append(all, c)
		}
		return nil
	})
	return all, err
}

// holders sums the consumers below a cgroup ("/" for all) by owner and command
// name, the largest first.
func holders(n *Node, all []consumer, below string, unit problem.Unit) []problem.Holder {
	type key struct{ owner, comm string }
	sums := map[key]*problem.Holder{}
	owners := map[string]string{}
	for _, c := range all {
		if !within(c.cgroup, below) {
			continue
		}
		owner, known := owners[c.cgroup]
		if !known && c.cgroup != "" {
			owner = n.Owners.OfCgroup(c.cgroup).String()
			owners[c.cgroup] = owner
		}
		k := key{owner, c.Comm}
		if sums[k] == nil {
			sums[k] = &problem.Holder{Owner: owner, Process: c.Comm, PID: c.PID, Unit: unit}
		} else {
			sums[k].PID = 0 // several processes
		}
		sums[k].Amount += c.amount
	}
	var out []problem.Holder
	for _, h := range sums {
		out = append(out, *h)
	}
	return topHolders(out)
}

// topHolders are the holders with the largest amounts, largest first.
func topHolders(all []problem.Holder) []problem.Holder {
	slices.SortFunc(all, func(a, b problem.Holder) int {
		return cmp.Or(cmp.Compare(b.Amount, a.Amount), cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Process, b.Process))
	})
	return slices.Clip(all[:min(len(all), maxHolders)])
}

// within reports whether cgroup is top or below it.
func within(cgroup, top string) bool {
	return top == "/" || cgroup == top || strings.HasPrefix(cgroup, top+"/")
}
