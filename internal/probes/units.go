package probes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/host/systemd"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Units watches the services that kubelet and the container runtimes run as: that
// kubelet runs, and that none is restarted again and again. Without systemd it
// looks for kubelet's process.
type Units struct {
	Thresholds UnitsThresholds
	// kubelets and runtimes count restarts, by unit, or by process name.
	kubelets, runtimes restarts
	// ran are kubelet's units that were seen running, or its process.
	ran map[string]bool
}

// UnitsThresholds are the thresholds of Units.
type UnitsThresholds struct {
	// Restarts is how many restarts within Within are too many.
	Restarts int           `yaml:"restarts"`
	Within   time.Duration `yaml:"within"`
	// Starting is how long a unit may take to start.
	Starting time.Duration `yaml:"starting"`
	// KubeletUnits and RuntimeUnits are units beside those that are known.
	KubeletUnits []string `yaml:"kubeletUnits"`
	RuntimeUnits []string `yaml:"runtimeUnits"`
}

// Validate says what is wrong with the thresholds; the config calls it.
func (t UnitsThresholds) Validate() error {
	if t.Restarts < 1 || t.Within <= 0 || t.Starting <= 0 {
		return errors.New("restarts, within and starting must be above 0")
	}
	return nil
}

// NewUnits is the probe with its default thresholds.
func NewUnits() *Units {
	return &Units{
		Thresholds: UnitsThresholds{
			// As node-problem-detector has it. kubelet's own unit waits 10 s between two
			// restarts: in a loop of crashes it makes 100 in that time, while two or three
			// belong to a reboot or an upgrade.
			Restarts: 5, Within: 20 * time.Minute,
			// systemd gives up after 90 s by default; k3s sets no limit and takes a minute
			// or two to join its cluster.
			Starting:     3 * time.Minute,
			KubeletUnits: []string{}, RuntimeUnits: []string{},
		},
		kubelets: restarts{}, runtimes: restarts{}, ran: map[string]bool{},
	}
}

// Name implements Probe.
func (*Units) Name() string { return "units" }

// Kinds implements Probe.
func (*Units) Kinds() []problem.Kind {
	return []problem.Kind{problem.KubeletDown, problem.FrequentKubeletRestart, problem.FrequentRuntimeRestart}
}

// Run implements Probe.
func (p *Units) Run(ctx context.Context, n *Node) (problem.Result, error) {
	kubelets := append(systemd.KubeletUnits(), p.Thresholds.KubeletUnits...)
	runtimes := append(systemd.RuntimeUnits(), p.Thresholds.RuntimeUnits...)
	units, err := systemd.Look(ctx, n.Host, append(slices.Clone(kubelets), runtimes...)...)
	if err != nil {
		return p.withoutSystemd(ctx, n, err)
	}
	now := n.Host.Clock.Boot()
	s := unitSight{wall: n.Host.Clock.Wall()}
	for _, u := range units {
		isKubelet := slices.Contains(kubelets, u.Name)
		counts, role := p.runtimes, &s.runtimes
		if isKubelet {
			counts, role = p.kubelets, &s.kubelets
		}
		if u.Restarts != systemd.RestartsUnknown {
			counts.of(u.Name).total(now, p.Thresholds.Within, u.Restarts)
		}
		*role = append(*role, watchedUnit{
			Unit: u, ran: p.ran[u.Name],
			restarts: counts.within(u.Name, now, p.Thresholds.Within), before: counts.before(u.Name, now, p.Thresholds.Within),
		})
		if isKubelet && u.Running() {
			p.ran[u.Name] = true
		}
	}
	for _, name := range kubelets {
		listed := func(u watchedUnit) bool { return u.Name == name }
		if p.ran[name] && !slices.ContainsFunc(s.kubelets, listed) {
			// systemd forgets a unit that is stopped and that nothing else wants.
			forgotten := systemd.Unit{Name: name, LoadState: "loaded", ActiveState: "inactive", SubState: "dead"}
			s.kubelets = append(s.kubelets, watchedUnit{Unit: forgotten, ran: true})
		}
	}
	if !slices.ContainsFunc(s.kubelets, watchedUnit.running) {
		// Only now the walk over all processes is worth its cost.
		s.processes, s.processErr = kubeletProcesses(ctx, n)
		s.processRan = p.ran[kubeletProcess]
		if len(s.processes) > 0 {
			p.ran[kubeletProcess] = true
		}
	}
	return evaluateUnits(s, p.Thresholds), nil
}

// kubeletProcess stands among the units for a kubelet that is in none.
const kubeletProcess = "kubelet"

// withoutSystemd looks for kubelet's process, where systemd is not there or does
// not tell. Of the runtimes then nothing is known here.
func (p *Units) withoutSystemd(ctx context.Context, n *Node, why error) (problem.Result, error) {
	found, err := kubeletProcesses(ctx, n)
	if err != nil && len(found) == 0 {
		return problem.Result{}, err
	}
	now := n.Host.Clock.Boot()
	s := processSight{why: why, ran: len(p.ran) > 0}
	if err == nil { // else who is not found may be there
		p.countRestarts(found, now)
	}
	for _, k := range found {
		p.ran[kubeletProcess] = true
		s.found = append(s.found, watchedProcess{k, p.kubelets.within(k.Comm, now, p.Thresholds.Within)})
	}
	return evaluateKubeletProcesses(s, p.Thresholds), nil
}

// countRestarts takes in all kubelets that run now.
func (p *Units) countRestarts(found []process.Process, now time.Duration) {
	ids := map[string][]string{}
	for _, k := range found {
		ids[k.Comm] = append(ids[k.Comm], fmt.Sprint(k.PID, " ", k.StartTime))
	}
	for _, name := range kubeletNames() {
		p.kubelets.of(name).processes(now, p.Thresholds.Within, ids[name])
	}
}
