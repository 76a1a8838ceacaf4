package probes

// This file is one look at the mounts that a server has to answer for, and at
// who waits for them. It asks none of them.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// remoteMount is a file system that a server has to answer for, with all its mount points.
type remoteMount struct {
	mounts.Mount // the first
	client       client
	all          []mounts.Mount // all of its mount points
	// foreign: not mounted in the host's namespace, but in a container's.
	foreign bool
	// fuse is how many requests of others than us wait for an answer, without a break
	// since waiting; nfs what was sent and received.
	fuse    *uint64
	waiting time.Duration
	nfs     *nfsProgress
	// inquiry is what came of asking it.
	inquiry inquiry
}

// nfsProgress follows an NFS mount from sample to sample.
type nfsProgress struct {
	nfsCounters
	// base are the sends at the last sample that brought answers, and silent how
	// many samples have brought none since.
	base   uint64
	silent int
	since  time.Duration // of the first of these
}

// silently tells whether it is known that no answer has come since the last sample.
func (p *nfsProgress) silently() bool { return p != nil && p.silent > 0 }

// follow says how a mount goes on.
func (p *nfsProgress) follow(cur nfsCounters, now time.Duration) *nfsProgress {
	if p == nil || cur.recvs != p.recvs || cur.sends < p.sends {
		return &nfsProgress{nfsCounters: cur, base: cur.sends, since: now}
	}
	return &nfsProgress{nfsCounters: cur, base: p.base, silent: p.silent + 1, since: p.since}
}

// stuckSample is one look.
type stuckSample struct {
	at     time.Duration
	mounts map[device]*remoteMount
	waits
	// way are the mounts, by ID, to which the way leads over one that may hang.
	way map[int]bool
	// unreadable are kinds, or mounts by their point, that cannot be judged, and why.
	unreadable []problem.Verdict
}

// server is the name of an NFS mount's server as the kernel's own messages have it:
// the host part of server:/path, an IPv6 address without its brackets.
func (m *remoteMount) server() string {
	host, _, ok := strings.Cut(m.Source, ":/")
	if !ok {
		return m.Source
	}
	return strings.Trim(host, "[]")
}

// sample looks at the node: first at what costs little, and at all tasks only if
// that leaves a doubt.
func (p *StuckMounts) sample(ctx context.Context, n *Node, prev *stuckSample) (*stuckSample, error) {
	h := n.Host
	table, err := mounts.Read(h)
	if len(table.Mounts) == 0 {
		return nil, err
	}
	s := &stuckSample{at: h.Clock.Boot(), mounts: map[device]*remoteMount{}}
	var partial string
	switch {
	case err != nil:
		partial = err.Error()
	case table.Fallback && !h.Own():
		partial = "/proc/1/mountinfo cannot be read: mounts that only the node sees are missing"
	}
	for _, m := range table.Mounts {
		c := clientOf(m)
		if c == "" {
			continue
		}
		r := s.mounts[deviceOf(m)]
		if r == nil {
			r = &remoteMount{Mount: m, client: c}
			s.mounts[deviceOf(m)] = r
		}
		r.all = append(r.all, m)
	}
	if len(s.mounts) > 0 {
		s.way = table.WayMayHang()
	}
	s.readFUSE(h, prev, p.asks.ours)
	s.readNFS(h, prev)
	sleeping, waiting := false, false
	for _, m := range s.mounts {
		asked := m.fuse != nil && *m.fuse > 0
		sleeping = sleeping || asked
		// NFS requests that wait for a connection are not counted as sent, and other
		// clients count nothing that can be read.
		waiting = waiting || asked || m.client != fuseClient
	}
	if waiting {
		if s.waits, err = p.walk.walk(ctx, h, sleeping, p.asks.helpers()); err != nil {
			return nil, err
		}
		s.since(prev)
	}
	if s.partial == "" {
		s.partial = partial
	}
	p.trace(h, prev, s, byID(table))
	return s, nil
}

// fuseConnections is where fusectl shows each connection, by its number
// (Documentation/filesystems/fuse.rst).
const fuseConnections = "/sys/fs/fuse/connections"

// fuseNumber is a mount's connection: its st_dev as the kernel numbers it inside,
// which is the minor alone unless it is mounted from a block device (fuseblk).
func fuseNumber(d device) string { return strconv.FormatUint(uint64(d.major)<<20|uint64(d.minor), 10) }

// readFUSE reads how many requests wait at each connection, also of those that
// are mounted in a container only.
func (s *stuckSample) readFUSE(h *host.Host, prev *stuckSample, ours func(device) bool) {
	numbers, err := h.ReadDirNames(fuseConnections)
	seen := map[string]bool{}
	for d, m := range s.mounts {
		if m.client != fuseClient {
			continue
		}
		number := fuseNumber(d)
		seen[number] = true
		waiting, err := readUint(h, fuseConnections+"/"+number+"/waiting")
		if err == nil {
			if waiting > 0 && ours(d) {
				waiting--
			}
			s.fuseWaits(m, waiting, prev)
			continue
		}
		why := err.Error()
		if errors.Is(err, fs.ErrNotExist) && len(numbers) == 0 {
			why = "fusectl is not mounted at " + fuseConnections + ", which alone shows what waits for it"
		}
		for _, k := range []problem.Kind{problem.FUSEServerNotAnswering, problem.MountNotAnswering} {
			s.unreadable = append(s.unreadable, problem.Verdict{
				Kind: k, Subject: m.Point, State: problem.Unknown, Message: fmt.Sprintf("%s: %s", m.title(), why), Touches: m.refs(),
			})
		}
	}
	if err != nil {
		return // without FUSE mounts it does not matter
	}
	for _, number := range numbers {
		id, err := strconv.ParseUint(number, 10, 32)
		if err != nil || seen[number] {
			continue
		}
		waiting, err := readUint(h, fuseConnections+"/"+number+"/waiting")
		if err != nil {
			continue // unmounted meanwhile
		}
		m := mounts.Mount{Major: uint32(id >> 20), Minor: uint32(id & (1<<20 - 1)), FSType: "fuse", Point: "FUSE connection " + number}
		if waiting > 0 && ours(deviceOf(m)) { // unmounted under our call
			waiting--
		}
		r := &remoteMount{Mount: m, client: fuseClient, all: []mounts.Mount{m}, foreign: true}
		s.mounts[deviceOf(m)] = r
		s.fuseWaits(r, waiting, prev)
	}
}

// fuseWaits takes in how many requests wait, and since when without a break.
func (s *stuckSample) fuseWaits(m *remoteMount, waiting uint64, prev *stuckSample) {
	m.fuse, m.waiting = &waiting, s.at
	if prev == nil {
		return
	}
	if before := prev.mounts[deviceOf(m.Mount)]; before != nil && before.fuse != nil && *before.fuse > 0 {
		m.waiting = before.waiting
	}
}

// since finds out since when each task has not run.
func (s *stuckSample) since(prev *stuckSample) {
	for id, t := range s.tasks {
		t.since = s.at
		if prev != nil {
			if before, ok := prev.tasks[id]; ok && before.switches == t.switches {
				t.since, t.woken = before.since, before.woken
			}
		}
		s.tasks[id] = t
	}
}

// readNFS reads the counters of NFS mounts.
func (s *stuckSample) readNFS(h *host.Host, prev *stuckSample) {
	var (
		counters map[string]nfsCounters
		err      error
		read     bool
	)
	for d, m := range s.mounts {
		if m.client != nfsClient {
			continue
		}
		if !read {
			read = true
			var raw []byte
			if raw, err = h.ReadFile(mountStatsFile); err == nil {
				counters, err = parseMountStats(raw)
			}
		}
		c, ok := counters[m.Point]
		if !ok {
			why := fmt.Sprintf("%s does not show it", mountStatsFile)
			if err != nil {
				why = err.Error()
			}
			s.unreadable = append(s.unreadable, problem.Verdict{
				Kind: problem.NFSServerNotResponding, Subject: m.server(), State: problem.Unknown,
				Message: fmt.Sprintf("%s: %s", m.title(), why), Touches: m.refs(),
			})
			continue
		}
		var before *nfsProgress
		if prev != nil && prev.mounts[d] != nil {
			before = prev.mounts[d].nfs
		}
		m.nfs = before.follow(c, s.at)
	}
}

// maxTraced is how many stuck tasks are traced to their mounts. The others wait for
// the same most of the time, and count as waiting for one of several.
const maxTraced = 64

// trace finds the mounts of the tasks that wait as they did at the last sample.
func (p *StuckMounts) trace(h *host.Host, prev, s *stuckSample, table map[int]mounts.Mount) {
	if prev == nil || p.walk.blind {
		return
	}
	ids := slices.SortedFunc(maps.Keys(s.tasks), func(a, b taskID) int { return cmp.Compare(a.tid, b.tid) })
	ofClient := map[client]int{}
	for _, m := range s.mounts {
		ofClient[m.client]++
	}
	traced := 0
	for _, id := range ids {
		t := s.tasks[id]
		before, known := prev.tasks[id]
		ran := t.since == s.at
		asks := known && t.client == nfsClient && before.client == nfsClient
		if ran && !asks || t.client == unread || traced == maxTraced {
			continue
		}
		traced++
		own := p.walk.trace(h, &t, table, ofClient[t.client] > 1)
		if ran && s.unanswered(t, p.asks.ours) {
			t.since, t.woken = before.since, true
		}
		s.tasks[id] = t
		for _, m := range own.Mounts {
			if r := s.mounts[deviceOf(m)]; r != nil && r.foreign && r.FSType == "fuse" {
				r.FSType, r.Source = m.FSType, m.Source
			}
		}
	}
}

// unanswered tells whether no answer can have come for an NFS task since the last
// sample: neither from any server, nor from those of the mounts that it has to do
// with, which it or we asked. Such a task runs at times, to send its request again or
// to connect, since a task carries out its calls itself (net/sunrpc/sched.c).
func (s *stuckSample) unanswered(t waiter, ours func(device) bool) bool {
	quiet := true
	for _, m := range s.mounts {
		quiet = quiet && (m.client != nfsClient || m.nfs.silently())
	}
	if quiet {
		return true
	}
	may := slices.DeleteFunc(slices.Clone(t.near), func(d device) bool { return s.mounts[d] == nil || s.mounts[d].client != nfsClient })
	if t.call != nil {
		may = []device{*t.call}
	}
	for _, d := range may {
		m := s.mounts[d]
		if m == nil || !m.nfs.silently() || m.nfs.outstanding() == 0 && !ours(d) {
			return false
		}
	}
	return len(may) > 0
}

// title is a mount with what it is: "/mnt (nfs4, 10.9.0.1:/srv)".
func (m *remoteMount) title() string {
	if m.Source == "" {
		return fmt.Sprintf("%s (%s)", m.Point, m.FSType)
	}
	return fmt.Sprintf("%s (%s, %s)", m.Point, m.FSType, m.Source)
}

// refs tie the mount to what uses it, by all its mount points, and to its server.
func (m *remoteMount) refs() []problem.Ref {
	var refs []problem.Ref
	for _, at := range m.all {
		refs = appendNew(refs, problem.NewRef(problem.RefMount, at.Point))
	}
	refs = append(refs, problem.NewRef(problem.RefDevice, deviceOf(m.Mount).String()))
	if m.client == nfsClient {
		refs = append(refs, problem.NewRef(problem.RefServer, m.server()))
	}
	return refs
}
