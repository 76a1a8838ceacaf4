package probes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// DeletedFiles looks for the space that df shows and du does not find: files that
// were deleted while a process has them open. It looks only while a watched file
// system is critically full, since it takes a walk over all descriptors. What is
// held by a mapping alone is not found: the list of mappings is not ours to read.
type DeletedFiles struct {
	Thresholds DeletedFilesThresholds
	watched    *Filesystems
	stat       func(path string, st *unix.Stat_t) error
}

// DeletedFilesThresholds are the thresholds of DeletedFiles.
type DeletedFilesThresholds struct {
	// Share is how much of the file system deleted files may take, in percent.
	Share float64 `yaml:"share"`
}

// NewDeletedFiles is the probe with its default thresholds. It looks when one of
// the watched file systems is critical by their thresholds.
func NewDeletedFiles(watched *Filesystems) *DeletedFiles {
	return &DeletedFiles{
		// Less than half of what is missing to the warning would not help anyone
		// who frees it; databases and log rotation always hold a little.
		Thresholds: DeletedFilesThresholds{Share: 5},
		watched:    watched,
		stat:       unix.Stat,
	}
}

// Name implements Probe.
func (*DeletedFiles) Name() string { return "deletedfiles" }

// Kinds implements Probe.
func (*DeletedFiles) Kinds() []problem.Kind { return []problem.Kind{problem.DeletedFilesHoldSpace} }

// Run implements Probe.
func (p *DeletedFiles) Run(ctx context.Context, n *Node) (problem.Result, error) {
	view, all, partial, err := p.watched.look(n.Host)
	if err != nil {
		return problem.Result{}, err
	}
	s := &deletedSearch{view: view, stat: p.stat, fileSystems: map[device]fileSystem{}, seen: map[inode]bool{}}
	r := problem.Result{Partial: partial}
	for _, f := range all {
		switch {
		case f.err != nil:
			r.Verdicts = append(r.Verdicts, problem.Verdict{
				Kind: problem.DeletedFilesHoldSpace, Subject: f.mount.Point, State: problem.Unknown,
				Message: fmt.Sprintf("%s: %v", f, f.err), Touches: f.touches,
			})
		case !f.image() && p.watched.Thresholds.Space.Severity(spaceOf(f.usage)) == problem.Critical:
			s.fileSystems[deviceOf(f.mount)] = f
		}
	}
	if len(s.fileSystems) == 0 {
		return r, nil
	}
	found, err := s.walk(ctx, n)
	switch {
	case ctx.Err() != nil:
		return problem.Result{}, ctx.Err()
	case err != nil: // some processes are hidden from us
		r.Partial = err.Error()
	case s.denied > 0:
		r.Partial = fmt.Sprintf("the descriptors of %d processes may not be read", s.denied)
	}
	for _, f := range all {
		if _, looked := s.fileSystems[deviceOf(f.mount)]; looked && f.err == nil {
			m, v := evaluateDeletedFiles(f, found[deviceOf(f.mount)], p.Thresholds)
			r.Measurements = append(r.Measurements, m)
			for _, v := range v {
				v.Holders = holders(n, found[deviceOf(f.mount)], "/", problem.Bytes)
				r.Verdicts = append(r.Verdicts, v)
			}
		}
	}
	return r, nil
}

func evaluateDeletedFiles(f fileSystem, held []consumer, th DeletedFilesThresholds) (problem.Measurement, []problem.Verdict) {
	m := problem.Measurement{
		Resource: "deleted_bytes", Subject: f.mount.Point, Max: spaceOf(f.usage).total(), Unit: problem.Bytes, Touches: f.touches,
	}
	for _, c := range held {
		m.Used += c.amount
	}
	if m.Fraction()*100 <= th.Share {
		return m, nil
	}
	return m, []problem.Verdict{{
		Kind: problem.DeletedFilesHoldSpace, Subject: f.mount.Point, State: problem.Wrong, Severity: problem.Warning,
		Message:  fmt.Sprintf("deleted files that are still open take %s of %s", problem.Percent(m.Fraction()), f),
		Evidence: []string{fmt.Sprintf("find /proc/[0-9]*/fd -lname '*(deleted)': %.0f bytes on %s", m.Used, f.mount.Point)},
		Touches:  f.touches,
	}}
}

// inode names a file for good while somebody has it open.
type inode struct{ dev, ino uint64 }

// deletedSearch is one walk over the descriptors of all processes.
type deletedSearch struct {
	view        *mountView
	stat        func(path string, st *unix.Stat_t) error
	fileSystems map[device]fileSystem // those to look at
	seen        map[inode]bool        // files counted already
	tables      map[string]map[int]mounts.Mount
	denied      int // processes whose descriptors we may not read
}

// walk sums, by file system and process, the space of deleted files. A file that
// several processes have open is the first one's.
func (s *deletedSearch) walk(ctx context.Context, n *Node) (map[device][]consumer, error) {
	s.tables = map[string]map[int]mounts.Mount{"": byID(s.view.table)}
	found := map[device][]consumer{}
	err := process.Walk(ctx, n.Host, func(p process.Process) error {
		if p.Kthread {
			return nil
		}
		sums, err := s.descriptors(ctx, p.PID)
		if errors.Is(err, fs.ErrPermission) {
			s.denied++
			return nil
		}
		for d, amount := range sums {
			c := consumer{Process: p, amount: amount}
			if n.Cgroups != nil {
				c.cgroup, _ = n.Cgroups.Place(p.PID)
			}
			found[d] = append(found[d], c)
		}
		return err
	})
	return found, err
}

// descriptors sums one process's, by file system. The process may end meanwhile,
// or close files: then there is less to count.
func (s *deletedSearch) descriptors(ctx context.Context, pid int) (map[device]float64, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	sums := map[device]float64{}
	err := s.view.host.EachName(dir+"/fd", func(fd string) bool {
		if d, size, ok := s.deleted(dir, fd); ok {
			sums[d] += size
		}
		return ctx.Err() == nil
	})
	if errors.Is(err, fs.ErrPermission) {
		return nil, fs.ErrPermission
	}
	return sums, ctx.Err()
}

// deleted is the space of a descriptor's file, if that was deleted, is on a file
// system to look at, and has not been counted yet.
func (s *deletedSearch) deleted(dir, fd string) (on device, bytes float64, ok bool) {
	link := s.view.host.Path(dir + "/fd/" + fd)
	if text, err := os.Readlink(link); err != nil || !strings.HasSuffix(text, " (deleted)") {
		return on, 0, false
	}
	// The mount says whether a stat may be risked, and that it is worth it.
	m, ok := s.mountOf(dir, fd)
	if !ok || m.MayHang() {
		return on, 0, false
	}
	if on, ok = s.below(m); !ok {
		return on, 0, false
	}
	var st unix.Stat_t
	if s.stat(link, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 0 || s.seen[inode{st.Dev, st.Ino}] {
		return on, 0, false
	}
	s.seen[inode{st.Dev, st.Ino}] = true
	return on, float64(st.Blocks) * 512, true // whatever the block size, see stat(2)
}

// mountOf is the mount through which a descriptor was opened: the host's, or one
// of the process's own mount namespace, whose table is read once. Ids of mounts are
// the same for all. What is mounted nowhere (memfd, shared memory) has none.
func (s *deletedSearch) mountOf(dir, fd string) (mounts.Mount, bool) {
	raw, err := s.view.host.ReadFile(dir + "/fdinfo/" + fd)
	if err != nil {
		return mounts.Mount{}, false
	}
	id, ok := lineValue(raw, "mnt_id:")
	if !ok {
		return mounts.Mount{}, false
	}
	if m, ok := s.tables[""][int(id)]; ok {
		return m, true
	}
	ns, err := os.Readlink(s.view.host.Path(dir + "/ns/mnt"))
	if err != nil {
		return mounts.Mount{}, false
	}
	table, known := s.tables[ns]
	if !known {
		if raw, err := s.view.host.ReadFile(dir + "/mountinfo"); err == nil {
			t, _ := mounts.Parse(dir+"/mountinfo", raw)
			table = byID(t)
		}
		s.tables[ns] = table
	}
	m, ok := table[int(id)]
	return m, ok
}

// below is the file system among those looked at that holds a mount's files: its
// own, or for a container's root file system the one with its upper folder.
func (s *deletedSearch) below(m mounts.Mount) (device, bool) {
	d := deviceOf(m)
	if upper, ok := m.SuperOption("upperdir"); ok && m.FSType == "overlay" {
		on, ok := s.view.table.At(upper)
		if !ok {
			return d, false
		}
		d = deviceOf(on)
	}
	_, ok := s.fileSystems[d]
	return d, ok
}

func byID(t mounts.Table) map[int]mounts.Mount {
	all := make(map[int]mounts.Mount, len(t.Mounts))
	for _, m := range t.Mounts {
		all[m.ID] = m
	}
	return all
}
