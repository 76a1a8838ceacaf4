package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/journal/journalfile"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Reboot tells whether the boot before this one ended with a shutdown, or in the
// middle of its work. It is asked once: what it finds does not change.
type Reboot struct {
	Thresholds RebootThresholds
	clean      *regexp.Regexp
	before     *bootBefore // nil before the first look
	blind      string      // why the boot before is not known
}

// RebootThresholds are the thresholds of Reboot.
type RebootThresholds struct {
	// Hold is how long after the start it is told.
	Hold time.Duration `yaml:"hold"`
}

// NewReboot is the probe with its default thresholds.
func NewReboot() *Reboot {
	return &Reboot{
		// Whoever looks for the reason comes within a day.
		Thresholds: RebootThresholds{Hold: 24 * time.Hour},
		// What systemd and its logind write when they shut down; the targets by their
		// names since systemd 249, and by their descriptions before.
		clean: regexp.MustCompile(`^(?:Shutting down\.` +
			`|(?:The system will|System is) (?:reboot|power|halt|kexec)` +
			`|Reached target .*(?:[Ss]hutdown|[Rr]eboot|[Pp]ower-?\s?[Oo]ff|[Hh]alt|Final Step|final\.target)` +
			`|Stopped target .*(?:multi-user\.target|Multi-User System|basic\.target|Basic System))`),
	}
}

// Name implements Probe.
func (*Reboot) Name() string { return "reboot" }

// Kinds implements Probe.
func (*Reboot) Kinds() []problem.Kind { return []problem.Kind{problem.UncleanReboot} }

// Run implements Probe.
func (p *Reboot) Run(ctx context.Context, n *Node) (problem.Result, error) {
	up := n.Host.Clock.Boot()
	if up > p.Thresholds.Hold {
		return problem.Result{}, nil
	}
	// The kernel leaves its last lines there, where the board or the hypervisor has
	// memory for them (Documentation/ABI/testing/pstore).
	dumps, err := n.Host.ReadDirNames("/sys/fs/pstore")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return problem.Result{}, err
	}
	if p.before == nil && p.blind == "" {
		if p.before, p.blind, err = p.look(ctx, n.Host); err != nil {
			return problem.Result{}, err
		}
	}
	if p.before == nil && len(dumps) == 0 {
		return problem.Result{}, problem.NotApplicablef("%s", p.blind)
	}
	return evaluateReboot(p.before, dumps), nil
}

// bootBefore is the end of the boot before this one.
type bootBefore struct {
	last  time.Time // its last record of systemd's
	clean bool
}

// shutdownWithin is how long a shutdown may take: 90 s for each of the slow units.
const shutdownWithin = 10 * time.Minute

// look reads the end of the boot before in the host's journal; it says why that
// cannot be found.
func (p *Reboot) look(ctx context.Context, h *host.Host) (*bootBefore, string, error) {
	machine, err := h.ReadString("/etc/machine-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	if machine == "" {
		return nil, "the machine has no id, and so no journal that it keeps", nil
	}
	dir := path.Join("/var/log/journal", machine)
	files, err := systemJournals(h.Locate(dir))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(files) == 0 {
		return nil, "the journal is not kept over a reboot: there is nothing in " + dir, nil
	}
	if err != nil {
		return nil, "", err
	}
	own, err := h.BootID()
	if err != nil {
		return nil, "", err
	}
	var unread error
	for _, file := range files {
		b, err := p.read(ctx, file, own)
		switch {
		case b != nil:
			return b, "", nil
		case ctx.Err() != nil:
			return nil, "", ctx.Err()
		case unread == nil:
			unread = err // a crash may well have damaged one
		}
	}
	return nil, "the journal does not reach back to the boot before", unread
}

// systemJournals are the newest journal files of the system, newest first. A few
// suffice: those that this boot has filled come before the one that it began with.
func systemJournals(dir string) ([]string, error) {
	const most = 16
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	type file struct {
		path     string
		modified time.Time
	}
	var files []file
	for _, e := range entries {
		ext := path.Ext(e.Name())
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), "system") && (ext == ".journal" || ext == ".journal~") && info.Mode().IsRegular() {
			files = append(files, file{path.Join(dir, e.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(b.modified.UnixNano(), a.modified.UnixNano()) })
	var names []string
	for _, f := range files[:min(len(files), most)] {
		names = append(names, f.path)
	}
	return names, nil
}

// read finds the newest boot but our own in one file; nil if there is none.
func (p *Reboot) read(ctx context.Context, file, own string) (*bootBefore, error) {
	f, err := journalfile.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	type boot struct{ last, shutdown time.Time }
	boots := map[string]*boot{}
	err = f.Each(journalfile.Match{Identifiers: []string{"systemd", "systemd-logind", "systemd-shutdown"}}, time.Time{}, func(r *journal.Record) error {
		if r.BootID == own || r.Identifier == "systemd" && r.PID != 1 { // a user's own systemd
			return ctx.Err()
		}
		b := boots[r.BootID]
		if b == nil {
			b = &boot{}
			boots[r.BootID] = b
		}
		b.last = r.Time
		if p.clean.Match(r.Message) {
			b.shutdown = r.Time
		}
		return ctx.Err()
	})
	var newest *boot
	for _, b := range boots {
		if newest == nil || b.last.After(newest.last) {
			newest = b
		}
	}
	if newest == nil || err != nil {
		return nil, err
	}
	return &bootBefore{last: newest.last, clean: newest.last.Sub(newest.shutdown) < shutdownWithin}, nil
}

func evaluateReboot(b *bootBefore, dumps []string) problem.Result {
	v := problem.Verdict{
		Kind: problem.UncleanReboot, State: problem.Wrong, Severity: problem.Info, Touches: []problem.Ref{problem.RefNode},
	}
	switch {
	case b != nil && !b.clean:
		v.Message = "the node was started anew without having been shut down; the boot before ends at " + b.last.UTC().Format("2006-01-02 15:04:05 UTC")
		v.Evidence = []string{"journalctl -b -1: systemd does not tell of a shutdown"}
	case len(dumps) > 0:
		v.Message = "the kernel has left its last lines of a crash"
	default:
		return problem.Result{}
	}
	if len(dumps) > 0 {
		slices.Sort(dumps)
		v.Evidence = append(v.Evidence, fmt.Sprintf("/sys/fs/pstore: %d files, the first %s", len(dumps), bounded([]byte(dumps[0]))))
	}
	return problem.Result{Verdicts: []problem.Verdict{v}}
}
