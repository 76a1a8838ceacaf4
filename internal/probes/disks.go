package probes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Disks watches for block devices that do not answer, and for ext4 file systems
// that have found themselves damaged. It asks no device and no file system: the
// kernel's own accounts say it.
type Disks struct {
	Thresholds DisksThresholds
	watched    map[string]watchedDisk
	errors     map[string]ext4Record // of the first look at each file system
}

// DisksThresholds are the thresholds of Disks.
type DisksThresholds struct {
	// Silence is how long a device with requests in flight must have completed none
	// before one look at the node calls it hung. The daemon waits for longer: how
	// long, the catalogue says.
	Silence time.Duration `yaml:"silence"`
}

// NewDisks is the probe with its default thresholds.
func NewDisks() *Disks {
	return &Disks{Thresholds: DisksThresholds{
		// A disk that spins up, or a cloud volume at its limit, makes one wait for a
		// second; where others wait, too, one completes now and then.
		Silence: 3 * time.Second,
	}}
}

// Validate says what is wrong with the thresholds; the config calls it.
func (t DisksThresholds) Validate() error {
	if t.Silence <= 0 || t.Silence > time.Minute {
		return fmt.Errorf("silence must be above 0 and at most 1m, got %v", t.Silence)
	}
	return nil
}

// Name implements Probe.
func (*Disks) Name() string { return "disks" }

// Kinds implements Probe.
func (*Disks) Kinds() []problem.Kind {
	return []problem.Kind{problem.DiskHung, problem.FilesystemCorruption}
}

// watchedDisk is a device over some looks. Times are boot times.
type watchedDisk struct {
	diskStats
	now, since time.Duration // of the last look, and of the first that saw it as it is
	// before is how many requests were in flight then.
	before uint64
	// accurate: what is in flight is counted anew at each look, from the requests
	// themselves. Where it is a counter (of md, of dm), kernels have let it leak.
	accurate bool
	// suspended is the time of the first of the looks in a row that saw it so; 0 if it
	// is not. Device mapper keeps back what is asked of it then, and counts none of it.
	suspended time.Duration
}

// Run implements Probe.
func (p *Disks) Run(ctx context.Context, n *Node) (problem.Result, error) {
	var r problem.Result
	if err := p.look(n.Host); err != nil {
		return r, err
	}
	if wait := p.undecided(); wait > 0 {
		await(ctx, wait)
		if err := p.look(n.Host); err != nil {
			return r, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.watched)) {
		if v, ok := evaluateDisk(name, p.watched[name], p.Thresholds); ok {
			r.Verdicts = append(r.Verdicts, v)
		}
	}
	found, err := p.corruption(n.Host)
	if err != nil {
		return r, err
	}
	r.Verdicts = append(r.Verdicts, found...)
	tellPlaces(n, r.Verdicts)
	return r, nil
}

// look takes a sample.
func (p *Disks) look(h *host.Host) error {
	disks, err := readDisks(h)
	if err != nil {
		return err
	}
	now := h.Clock.Boot()
	next := make(map[string]watchedDisk, len(disks))
	for name, s := range disks {
		old, known := p.watched[name]
		if !known {
			_, err := h.ReadDirNames("/sys/block/" + strings.ReplaceAll(name, "/", "!") + "/mq")
			old.accurate = err == nil
		}
		w := old.seen(s, now, known)
		switch {
		case !suspended(h, name):
			w.suspended = 0
		case w.suspended == 0:
			w.suspended = now
		}
		next[name] = w
	}
	p.watched = next
	return nil
}

// late is from how old a request on makes one look at a disk enough to suspect it.
// What is in flight for a moment is seen by chance.
const late = time.Second

// suspended tells whether a device of device mapper is (dmsetup(8)): for moments,
// while what is below it changes.
func suspended(h *host.Host, name string) bool {
	if !numbered(name, "dm-") {
		return false
	}
	is, err := readUint(h, "/sys/block/"+name+"/dm/suspended")
	return err == nil && is != 0
}

// seen takes in a sample.
func (w watchedDisk) seen(s diskStats, now time.Duration, known bool) watchedDisk {
	if !known || w.inFlight == 0 || s.inFlight == 0 || s.completed != w.completed {
		w.since, w.before = now, s.inFlight
		// All that has come since the last look still waits: the disk has been busy for as
		// long as the first of it. The counter goes on with each look (diskstats_show in
		// block/genhd.c; it stands still before Linux 5.0).
		busy := min(time.Duration(risen(w.busy, s.busy))*time.Millisecond, now-w.now)
		if known && w.accurate && w.inFlight == 0 && s.completed == w.completed && busy >= late {
			w.since = now - busy
		}
	}
	w.diskStats, w.now = s, now
	return w
}

// hangs: it has requests in flight and has completed none since. A counter that
// may have leaked must have risen meanwhile: then somebody has asked in vain.
func (w watchedDisk) hangs() bool {
	return w.inFlight > 0 && w.now > w.since && (w.accurate || w.inFlight > w.before)
}

// undecided is how long it takes until what may hang is known to: where two looks
// were close together, as those at a node that is examined once.
func (p *Disks) undecided() time.Duration {
	var wait time.Duration
	for _, w := range p.watched {
		if w.hangs() {
			wait = max(wait, p.Thresholds.Silence-(w.now-w.since))
		}
		if w.suspended != 0 && w.suspended < w.now {
			wait = max(wait, p.Thresholds.Silence-(w.now-w.suspended))
		}
	}
	return wait
}

// await waits, and leaves time to report where ctx ends sooner.
func await(ctx context.Context, wait time.Duration) {
	if deadline, ok := ctx.Deadline(); ok {
		const toReport = 500 * time.Millisecond
		wait = min(wait, time.Until(deadline)-toReport)
	}
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// certain is from how long a silence on a verdict is critical. Between two looks of
// the daemon lies more; a single look at the node sees less, and warns.
const certain = 8 * time.Second

func evaluateDisk(name string, w watchedDisk, th DisksThresholds) (problem.Verdict, bool) {
	silence, why := w.now-w.since, "requests are in flight and none completes"
	evidence := fmt.Sprintf("%s: %s has %d requests in flight and has completed %d, none of them within the last %s",
		diskstatsFile, name, w.inFlight, w.completed, silence.Round(time.Second))
	if w.suspended != 0 {
		silence, why = w.now-w.suspended, "it is suspended, and keeps back whatever is asked of it until it is resumed"
		evidence = fmt.Sprintf("/sys/block/%s/dm/suspended: 1, for the last %s", name, silence.Round(time.Second))
	}
	if w.suspended == 0 && !w.hangs() || silence < th.Silence {
		return problem.Verdict{}, false
	}
	severity := problem.Warning
	if silence >= certain {
		severity = problem.Critical
	}
	return problem.Verdict{
		Kind: problem.DiskHung, Subject: name, State: problem.Wrong, Severity: severity, Scope: problem.NodeScope,
		Message:  fmt.Sprintf("%s does not answer: %s", name, why),
		Evidence: []string{evidence},
		Touches:  []problem.Ref{problem.NewRef(problem.RefDevice, name)},
		Refused:  true, // nobody gets anything from it
		Held:     silence,
	}, true
}
