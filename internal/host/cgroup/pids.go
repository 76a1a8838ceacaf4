package cgroup

// This file: the pids controller, how many tasks a cgroup has and may have
// (Documentation/admin-guide/cgroup-v2.rst, "PID"; cgroup-v1/pids.rst).

import (
	"errors"
	"fmt"
)

// PIDs is what a cgroup has of tasks (processes and threads), its descendants
// included, and what it may have.
type PIDs struct {
	Current uint64
	// Max is NoLimit if this cgroup has none; its ancestors' limits still bind it.
	Max uint64
}

// Limited reports whether the cgroup has a limit of its own.
func (p PIDs) Limited() bool { return p.Max != NoLimit }

// Full reports whether the next fork in the cgroup would be refused by its own limit.
func (p PIDs) Full() bool { return p.Limited() && p.Current >= p.Max }

// Fraction is Current/Max: 0 without a limit, 1 if nothing at all is allowed.
func (p PIDs) Fraction() float64 { return fraction(p.Current, p.Max) }

func fraction(n, limit uint64) float64 {
	switch limit {
	case NoLimit:
		return 0
	case 0:
		return 1
	}
	return float64(n) / float64(limit)
}

// PIDs reads pids.current and pids.max. The error is ErrAbsent for the root,
// and where the controller is not enabled.
func (t *Tree) PIDs(path string) (p PIDs, err error) {
	if p.Current, err = t.PIDsCurrent(path); err != nil {
		return p, err
	}
	p.Max, err = t.PIDsMax(path)
	return p, err
}

// PIDsCurrent reads pids.current alone, for those who know the limit already.
func (t *Tree) PIDsCurrent(path string) (uint64, error) { return t.pidsValue(path, "pids.current") }

// PIDsMax reads pids.max alone, which seldom changes.
func (t *Tree) PIDsMax(path string) (uint64, error) { return t.pidsValue(path, "pids.max") }

func (t *Tree) pidsValue(path, name string) (uint64, error) {
	h, err := t.of(ControllerPIDs)
	if err != nil {
		return 0, err
	}
	return t.value(h, path, name)
}

// Refusals counts the forks that a cgroup's processes, or its limit, saw refused
// since the cgroup was made. What the kernel counts where has changed:
//
//   - before Linux 6.11, and in v1 always, only in the cgroup of the process that
//     forked, whichever ancestor's limit it was;
//   - later in the cgroup whose limit it was and in all of its ancestors. These
//     kernels have pids.events.local, which counts at the limiter alone.
type Refusals struct {
	Count uint64 // pids.events, "max"
	// Local is pids.events.local, "max". HasLocal says whether the kernel keeps it.
	Local    uint64
	HasLocal bool
}

// Refusals reads pids.events and, if that is not 0, pids.events.local. So
// HasLocal is false while nothing was refused.
func (t *Tree) Refusals(path string) (r Refusals, err error) {
	h, err := t.of(ControllerPIDs)
	if err != nil {
		return r, err
	}
	counter := func(n *uint64) func(string, uint64) {
		return func(key string, value uint64) {
			if key == "max" {
				*n = value
			}
		}
	}
	if err := t.flat(h, path, "pids.events", counter(&r.Count)); err != nil || r.Count == 0 {
		return r, err
	}
	err = t.flat(h, path, "pids.events.local", counter(&r.Local))
	if errors.Is(err, ErrAbsent) {
		return r, nil
	}
	r.HasLocal = err == nil
	return r, err
}

// Peak reads pids.peak, the most tasks that the cgroup ever had. It may be one
// more than the limit: the one that was tried. ErrAbsent before Linux 6.1.
func (t *Tree) Peak(path string) (uint64, error) {
	h, err := t.of(ControllerPIDs)
	if err != nil {
		return 0, err
	}
	return t.value(h, path, "pids.peak")
}

// Limiter is the cgroup whose limit refuses forks in the cgroup path: the
// nearest one from path up to the root that is full. If none is at this moment,
// it is the nearest that has refused one by its own count, and failing that the
// one that came nearest to its limit, by its peak where the kernel keeps that.
// The error is ErrAbsent if nothing on the way has a limit.
func (t *Tree) Limiter(path string) (limiter string, p PIDs, err error) {
	type candidate struct {
		path     string
		pids     PIDs
		refused  bool
		fraction float64
	}
	var best candidate
	for at, above := path, ""; at != above; at, above = parent(at), at {
		p, err := t.PIDs(at)
		if errors.Is(err, ErrAbsent) {
			continue // the root, or gone by now; its ancestors are not
		}
		if err != nil {
			return "", p, err
		}
		if p.Full() {
			return at, p, nil
		}
		if !p.Limited() || best.refused {
			continue
		}
		c := candidate{path: at, pids: p, fraction: p.Fraction()}
		if r, err := t.Refusals(at); err == nil {
			c.refused = r.Local > 0
		}
		if peak, err := t.Peak(at); err == nil {
			c.fraction = fraction(peak, p.Max)
		}
		if best.path == "" || c.refused || c.fraction > best.fraction {
			best = c
		}
	}
	if best.path == "" {
		return "", p, fmt.Errorf("%w: neither %s nor any cgroup above it has a pids limit", ErrAbsent, path)
	}
	return best.path, best.pids, nil
}
