package probes

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: disks that answer late. Pressure judges them, since it is the same
// failure that PSI tells from the other side: of what waits, not of whom.

// DiskWait is from how long a disk's requests take too long.
type DiskWait struct {
	// Over is the time that requests take on average.
	Over time.Duration `yaml:"over"`
	// For is how long they must have done so.
	For time.Duration `yaml:"for"`
}

// Validate says what is wrong with the thresholds; the config calls it.
func (w DiskWait) Validate() error {
	if w.Over <= 0 || w.For <= 0 || w.For > time.Hour {
		return fmt.Errorf("over and for must be above 0, for at most 1h; got %v and %v", w.Over, w.For)
	}
	return nil
}

// lateDisk is one disk over some looks.
type lateDisk struct {
	last  diskStats
	await time.Duration // of the reads and writes completed between the last two looks that saw some
	// Since then each look has found its requests late; 0: the last one has not.
	since time.Duration
	done  uint64        // how many were completed since
	took  time.Duration // all of these together
}

// seen takes in a sample; before is the boot time of the last one.
func (d lateDisk) seen(s diskStats, before time.Duration, th DiskWait) lateDisk {
	done, took := risen(d.last.served, s.served), time.Duration(s.waited-d.last.waited)*time.Millisecond
	switch {
	case done > 0:
		d.await = average(took, done)
		if d.await < th.Over {
			d.since = 0
			break
		}
		if d.since == 0 {
			d.since, d.done, d.took = before, 0, 0
		}
		d.done, d.took = d.done+done, d.took+took
	case s.inFlight == 0: // nobody asks it anything
		d.since, d.await = 0, 0
	}
	d.last = s
	return d
}

// average is that of n requests, at least one, which took so long together.
func average(took time.Duration, n uint64) time.Duration {
	return time.Duration(float64(took) / float64(n))
}

func evaluateDiskWait(name string, d lateDisk, now time.Duration, th DiskWait) problem.Result {
	ref := problem.NewRef(problem.RefDevice, name)
	r := problem.Result{Measurements: []problem.Measurement{{
		Resource: "disk_await", Subject: name, Used: d.await.Seconds(), Max: th.Over.Seconds(), Unit: problem.Seconds, Touches: []problem.Ref{ref},
	}}}
	if d.since == 0 || now-d.since < th.For {
		return r
	}
	r.Verdicts = append(r.Verdicts, problem.Verdict{
		Kind: problem.IOStall, Subject: name, State: problem.Wrong, Severity: problem.Warning, Scope: problem.NodeScope,
		Message:  fmt.Sprintf("requests to %s take more than %v on average, for more than %v", name, th.Over, th.For),
		Evidence: []string{fmt.Sprintf("%s: the %d reads and writes that %s has completed within the last %v took %v on average", diskstatsFile, d.done, name, (now - d.since).Round(time.Second), average(d.took, d.done).Round(time.Millisecond))},
		Touches:  []problem.Ref{ref},
	})
	return r
}

// diskWaits judges all disks.
func (p *Pressure) diskWaits(n *Node) (r problem.Result, err error) {
	disks, err := readDisks(n.Host)
	if err != nil {
		return r, err
	}
	now := n.Host.Clock.Boot()
	next := make(map[string]lateDisk, len(disks))
	for name, s := range disks {
		d, known := p.disks[name]
		if !known {
			d.last = s
		}
		next[name] = d.seen(s, p.looked, p.Thresholds.Disk)
	}
	p.disks, p.looked = next, now
	for _, name := range slices.Sorted(maps.Keys(next)) {
		if next[name].last.served > 0 { // else it was never used
			add(&r, evaluateDiskWait(name, next[name], now, p.Thresholds.Disk))
		}
	}
	tellPlaces(n, r.Verdicts)
	return r, nil
}
