package probes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Hardware watches the memory controllers' counts of errors that could not be
// corrected (Documentation/driver-api/edac.rst, Documentation/ABI/testing/sysfs-devices-edac).
type Hardware struct {
	Thresholds HardwareThresholds
	counts     map[string]memoryErrors
}

// HardwareThresholds are the thresholds of Hardware.
type HardwareThresholds struct {
	// Hold is how long an error that was seen to come is critical.
	Hold time.Duration `yaml:"hold"`
}

// Validate says what is wrong with the thresholds; the config calls it.
func (t HardwareThresholds) Validate() error {
	if t.Hold < 0 {
		return fmt.Errorf("hold must not be below 0, got %v", t.Hold)
	}
	return nil
}

// NewHardware is the probe with its default thresholds.
func NewHardware() *Hardware {
	// As long as a line of the log about it counts.
	return &Hardware{Thresholds: HardwareThresholds{Hold: time.Hour}, counts: map[string]memoryErrors{}}
}

// Name implements Probe.
func (*Hardware) Name() string { return "hardware" }

// Kinds implements Probe.
func (*Hardware) Kinds() []problem.Kind { return []problem.Kind{problem.HardwareError} }

// memoryErrors are those of one controller since its driver was loaded.
type memoryErrors struct {
	count uint64
	risen time.Duration // boot time of the last look that saw it rise; 0: none
}

const edacFolder = "/sys/devices/system/edac/mc"

// Run implements Probe.
func (p *Hardware) Run(_ context.Context, n *Node) (problem.Result, error) {
	names, err := n.Host.ReadDirNames(edacFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return problem.Result{}, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !numbered(name, "mc") })
	if len(names) == 0 {
		return problem.Result{}, problem.LogsTellf("no driver for the memory controller is loaded, as on most virtual machines")
	}
	slices.Sort(names)
	now := n.Host.Clock.Boot()
	counts := map[string]memoryErrors{}
	var r problem.Result
	for _, name := range names {
		cur, err := p.look(n.Host, name, now)
		if err != nil {
			return problem.Result{}, err
		}
		counts[name] = cur
		if v, ok := evaluateMemoryErrors(name, cur, now, p.Thresholds); ok {
			r.Verdicts = append(r.Verdicts, v)
		}
	}
	p.counts = counts
	return r, nil
}

// look reads a controller's count. One that somebody has reset begins anew.
func (p *Hardware) look(h *host.Host, name string, now time.Duration) (memoryErrors, error) {
	count, err := readUint(h, edacFolder+"/"+name+"/ue_count")
	before, known := p.counts[name]
	cur := memoryErrors{count, before.risen}
	if known && count > before.count {
		cur.risen = now
	}
	return cur, err
}

func evaluateMemoryErrors(name string, e memoryErrors, now time.Duration, th HardwareThresholds) (problem.Verdict, bool) {
	if e.count == 0 {
		return problem.Verdict{}, false
	}
	// When the older ones came nobody knows: before the agent, or long ago.
	severity := problem.Warning
	if e.risen != 0 && now-e.risen <= th.Hold {
		severity = problem.Critical
	}
	return problem.Verdict{
		Kind: problem.HardwareError, Subject: "memory controller " + name, State: problem.Wrong, Severity: severity,
		Message:  fmt.Sprintf("the memory at %s has had errors since the start that could not be corrected", name),
		Evidence: []string{fmt.Sprintf("%s/%s/ue_count: %d", edacFolder, name, e.count)},
	}, true
}
