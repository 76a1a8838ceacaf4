package probes

// How Threads reads the cgroups: of thousands, those that matter now.

import (
	"context"
	"errors"
	"hash/maphash"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
)

type limitedCgroup struct {
	path string
	remembered
}

// refusal is a cgroup whose counter of refused forks rose, and whose limit it was.
type refusal struct {
	at, limiter string
	pids        cgroup.PIDs // of the limiter
	file        string      // where it is counted
	times       uint64      // since the sample before
	total       uint64      // since the cgroup was made
}

// limitMemory remembers the cgroups from run to run. With thousands of them the
// system calls are what the probe costs, and most of the answers are known.
type limitMemory struct {
	cgroups map[uint64]remembered // by the hash of the path, which is ten times as long
	seed    maphash.Seed
	runs    int
}

// remembered is what was last seen of a cgroup.
type remembered struct {
	cgroup.PIDs
	// settled: the limit was seen twice. kubelet and systemd set it right after
	// they made the cgroup.
	settled bool
	// refused is what its counter of refused forks told when it was last read; told: it was.
	refused uint64
	told    bool
}

// thorough is every how many runs nothing is skipped: limits that were changed
// are found, and refusals of a limit that was full only for a moment. Nothing is
// lost by waiting for them, since the kernel's counters stay.
const thorough = 6

// hot is the share of a limit in use from which it is looked at in every run.
const hot = 0.5

// cgroupScan is one walk over the cgroups.
type cgroupScan struct {
	*threadSample
	tree  *cgroup.Tree
	all   bool                  // skip nothing
	known map[uint64]remembered // nil at the first look
	next  map[uint64]remembered
	seed  maphash.Seed
	above []ancestor // of the cgroup that is visited, the highest first
}

// ancestor is a cgroup that says something about all below it.
type ancestor struct {
	path string
	// current is its number of tasks: those below it have no more.
	current uint64
	// bound: it, or one above it, has a limit; hot: and that is filling.
	bound, hot bool
}

// readCgroups reads the number of tasks of every cgroup that has a limit, and
// the refusals of those that a limit binds: their own, or one above them.
func (s *threadSample) readCgroups(ctx context.Context, t *cgroup.Tree, m *limitMemory) error {
	scan := cgroupScan{
		threadSample: s, tree: t,
		all: m.runs%thorough == 0, known: m.cgroups, next: make(map[uint64]remembered, len(m.cgroups)), seed: m.seed,
		above: []ancestor{{path: "/", current: s.threads}},
	}
	var failed error
	walked := t.Walk(ctx, cgroup.ControllerPIDs, func(path string) error {
		// Absent: the root, or gone by now.
		if err := scan.visit(path); err != nil && !errors.Is(err, cgroup.ErrAbsent) {
			failed = err
		}
		return nil
	})
	m.runs++
	m.cgroups = scan.next
	return errors.Join(walked, failed)
}

func (s *cgroupScan) visit(path string) error {
	for !within(path, s.above[len(s.above)-1].path) {
		s.above = s.above[:len(s.above)-1]
	}
	up := s.above[len(s.above)-1]
	here, counted, err := s.measure(path, up)
	if err != nil {
		return err
	}
	limited := here.Limited()
	if limited || counted {
		up.path, up.bound, up.hot = path, up.bound || limited, up.hot || limited && here.Fraction() >= hot
		if counted {
			up.current = here.Current
		}
		s.above = append(s.above, up)
	}
	if up.bound && (s.all || up.hot) {
		err = s.readRefusals(path, &here)
	}
	s.next[s.key(path)] = here
	if limited {
		s.cgroups = append(s.cgroups, limitedCgroup{path, here})
	}
	return err
}

func (s *cgroupScan) key(path string) uint64 { return maphash.String(s.seed, path) }

// measure reads a cgroup's limit and its number of tasks, as far as they are not
// known well enough. counted says that the latter was read just now.
func (s *cgroupScan) measure(path string, up ancestor) (here remembered, counted bool, err error) {
	here, seen := s.known[s.key(path)]
	// What cannot have half of its limit, because all above it has less, is not
	// hot, whatever its own number has become since.
	near := here.Limited() && float64(up.current) >= hot*float64(here.Max)
	if s.all || !here.settled || near {
		before := here.Max
		if here.Max, err = s.tree.PIDsMax(path); err != nil {
			return here, false, err
		}
		here.settled = seen && here.Max == before
	}
	if holdsMany(path) || here.Limited() && (s.all || !seen || near) {
		here.Current, err = s.tree.PIDsCurrent(path)
		return here, true, err
	}
	here.Current = min(here.Current, up.current)
	return here, false, nil
}

// holdsMany: the cgroup of all pods and the like, whose number of tasks says of
// many others that they cannot have more.
func holdsMany(path string) bool {
	return strings.Count(path, "/") == 1 && path != "/" || cgroup.IsKubepods(path) || cgroup.IsQoS(path)
}

func (s *cgroupScan) readRefusals(path string, here *remembered) error {
	r, err := s.tree.Refusals(path) // absent before Linux 4.14
	if err != nil {
		return err
	}
	before, file := here.refused, "pids.events"
	here.refused, here.told = r.Count, true
	if r.HasLocal {
		// The count of descendants is in Count, too: it is theirs to tell.
		here.refused, file = r.Local, "pids.events.local"
	}
	s.refused(path, file, before, here.refused)
	return nil
}

// refused notes a cgroup whose counter rose since the sample before, or that has
// counted and is under a limit that is full right now: the next fork is refused,
// too, and a program that retries now and then must not make the verdict flap. A
// counter alone tells of something that may be long over.
func (s *cgroupScan) refused(path, file string, before, total uint64) {
	if total == 0 {
		return
	}
	var times uint64
	if s.known != nil && before <= total {
		times = total - before
	}
	limiter, pids, err := s.tree.Limiter(path)
	if err != nil || times == 0 && !pids.Full() {
		return // err: it was refused by a limit that is gone
	}
	if old, seen := s.known[s.key(limiter)]; seen && old.Max < pids.Max && pids.Fraction() < hot {
		return // it was refused by the limit before, which was raised since
	}
	s.refusals = append(s.refusals, refusal{
		at: path, limiter: limiter, pids: pids, file: s.tree.File(cgroup.ControllerPIDs, path, file), times: times, total: total,
	})
}
