package probes

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file counts the inotify instances and watches of all processes: the
// descriptors that are links to anon_inode:inotify, and the lines that begin
// with "inotify " in their fdinfo (Documentation/filesystems/proc.rst, 3.8).
//
// An instance is charged to the effective user who opened it, in that user's
// namespace, and for each namespace up from there to the user who made it. So a
// pod with a user namespace of its own counts against whoever made that, which
// for kubelet's pods is root. The limits inside such namespaces cannot be read
// from here; they are boundless unless somebody sets them.
//
// What stays uncertain: the user is taken to be the one that the process has
// now, and a program that dropped its privileges after it opened inotify is
// counted for the wrong one. Descriptors of one instance are told by kcmp(2)
// where it is allowed; see dedupe for the rest.

// inotifyLink is what the descriptor of an inotify instance links to.
const inotifyLink = "anon_inode:inotify"

// mostUnseen is after how many processes that refuse to be looked into a count
// gives up. Where one refuses for want of a capability all do, and AppArmor
// writes a line to the kernel's log each time. One or two that a security module
// guards do not spoil the count: should what they hold matter, the canary tells,
// and for other users than ours that it cannot be told.
const mostUnseen = 3

// inotifyCount is what all processes have.
type inotifyCount struct {
	users map[uint32]*inotifyUse // by the user id to which it is charged
	// unseen is how many processes could not be looked into.
	unseen int
	// guarded says why not, by the user as whom such a process runs.
	guarded map[uint32]string
	// stopped: the count gave up, and why.
	stopped bool
	why     string
	// near: at least one user came near a limit.
	near bool
	// precision says how descriptors that share an instance were told.
	precision string
}

// inotifyUse is what is charged to one user.
type inotifyUse struct {
	instances, watches            uint64
	handles                       []inotifyHandle
	instanceHolders, watchHolders []problem.Holder
}

// inotifyHandle is one descriptor of an inotify instance.
type inotifyHandle struct {
	pid, ppid, fd int
	comm          string
	uid           uint32 // to which it is charged
	watches       uint64
	sum           uint64 // of the watches' lines: the same for all descriptors of an instance
}

// countInotify looks at the descriptors of all processes.
func countInotify(ctx context.Context, n *Node) (inotifyCount, error) {
	count := inotifyCount{guarded: map[uint32]string{}}
	names, err := n.Host.ReadDirNames("/proc")
	if err != nil {
		return count, err
	}
	scan := inotifyScan{host: n.Host, users: newUserNamespaces(n.Host), seed: maphash.MakeSeed()}
	var handles []inotifyHandle
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return count, fmt.Errorf("counting inotify instances in /proc/*/fd: %w", err)
		}
		found, err := scan.process(ctx, pid)
		switch {
		case isGone(err):
			continue
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
			if count.unseen++; count.unseen >= mostUnseen {
				count.stopped = true
				count.why = fmt.Sprintf("other processes cannot be looked into (%v): it needs root with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, and no AppArmor profile that denies ptrace", err)
				return count, nil
			}
			if uid, ok := scan.runsAs(pid); ok {
				count.guarded[uid] = fmt.Sprintf("process %d of uid %d cannot be looked into (%v): for a user other than root it takes CAP_DAC_READ_SEARCH", pid, uid, err)
			}
			continue
		case err != nil:
			return count, err
		}
		handles = append(handles, found...)
	}
	order, precision := fileOrder(n.Host, handles)
	count.precision = precision
	if count.unseen > 0 {
		count.precision += fmt.Sprintf("; %d processes refused to be looked into", count.unseen)
	}
	count.users = tallyInotify(dedupe(handles, order))
	return count, nil
}

// isGone reports whether a process, or a descriptor of it, vanished while we looked.
func isGone(err error) bool {
	return errors.Is(err, process.ErrGone) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EBADF)
}

// inotifyScan is one walk over the processes.
type inotifyScan struct {
	host  *host.Host
	users *userNamespaces
	seed  maphash.Seed
}

// process finds the inotify descriptors of one process. A refusal is an error
// even if something was found before it.
func (s *inotifyScan) process(ctx context.Context, pid int) ([]inotifyHandle, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	fds, err := inotifyFDs(ctx, s.host, dir+"/fd")
	if err != nil || len(fds) == 0 {
		return nil, err
	}
	p, err := process.Stat(s.host, pid)
	if err != nil {
		return nil, err
	}
	status, err := process.ReadStatus(s.host, pid)
	if err != nil {
		return nil, err
	}
	uid, below, err := s.users.charged(pid, status.EUID)
	if err != nil || !below {
		return nil, err
	}
	var handles []inotifyHandle
	for _, fd := range fds {
		h := inotifyHandle{pid: pid, ppid: p.PPID, fd: fd, comm: p.Comm, uid: uid}
		h.watches, h.sum, err = s.watches(ctx, fmt.Sprintf("%s/fdinfo/%d", dir, fd))
		if isGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		handles = append(handles, h)
	}
	return handles, nil
}

// runsAs is the user as whom a process runs, which everybody may know.
func (s *inotifyScan) runsAs(pid int) (uid uint32, ok bool) {
	status, err := process.ReadStatus(s.host, pid)
	return status.EUID, err == nil
}

// inotifyFDs are the numbers of the descriptors in a folder /proc/PID/fd that
// are inotify's. It follows none of the links.
func inotifyFDs(ctx context.Context, h *host.Host, folder string) ([]int, error) {
	dir, err := os.Open(h.Path(folder))
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	var fds []int
	link := make([]byte, len(inotifyLink)+1)
	for ctx.Err() == nil {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			n, err := unix.Readlinkat(int(dir.Fd()), name, link)
			if isGone(err) {
				continue
			}
			if err != nil {
				return nil, &os.PathError{Op: "readlink", Path: folder + "/" + name, Err: err}
			}
			if fd, err := strconv.Atoi(name); err == nil && string(link[:n]) == inotifyLink {
				fds = append(fds, fd)
			}
		}
		if err != nil || len(names) == 0 {
			break // the end, or the process has gone
		}
	}
	return fds, ctx.Err()
}

// watches counts the watches in an fdinfo file. A descriptor with 100,000 of
// them has 12 MB of it, so it is read in pieces and not kept.
func (s *inotifyScan) watches(ctx context.Context, file string) (count, sum uint64, err error) {
	c := newWatchCounter(s.seed)
	err = streamFile(s.host, file, func(piece []byte) bool {
		c.add(piece)
		return ctx.Err() == nil
	})
	if err == nil {
		err = ctx.Err()
	}
	return c.count, c.hash.Sum64(), err
}

// watchCounter counts the lines of an fdinfo file that begin with "inotify ",
// and hashes them. The lines before them differ between descriptors of one instance.
type watchCounter struct {
	count uint64
	hash  maphash.Hash
	line  []byte // the beginning of a line that the next piece ends
}

func newWatchCounter(seed maphash.Seed) *watchCounter {
	c := &watchCounter{}
	c.hash.SetSeed(seed)
	return c
}

func (c *watchCounter) add(piece []byte) {
	for len(piece) > 0 {
		end := bytes.IndexByte(piece, '\n')
		if end < 0 {
			// A watch's line has at most some 250 bytes (with the largest file handle).
			if len(c.line) < 4096 {
				c.line = append(c.line, piece...)
			}
			return
		}
		line := piece[:end+1]
		if len(c.line) > 0 {
			c.line = append(c.line, line...)
			line = c.line
		}
		if bytes.HasPrefix(line, []byte("inotify ")) {
			c.count++
			_, _ = c.hash.Write(line)
		}
		c.line = c.line[:0]
		piece = piece[end+1:]
	}
}

// dedupe leaves one descriptor of each instance; dup(2) and fork(2) make more.
//
// With order (kcmp's, of the kernel's own files) it is exact. Without it, /proc
// has no identity of an instance to offer: all share one inode. Then descriptors
// with the same watches, of one process or of a process and its descendants,
// count once; those of strangers (handed on through a socket) and those without
// a watch count each, so that the number of instances is an upper bound.
func dedupe(handles []inotifyHandle, order func(a, b inotifyHandle) int) []inotifyHandle {
	bySum := map[uint64][]inotifyHandle{}
	for _, h := range handles {
		bySum[h.sum] = append(bySum[h.sum], h)
	}
	var distinct []inotifyHandle
	for _, same := range bySum {
		slices.SortFunc(same, byPID)
		switch {
		case order != nil:
			slices.SortStableFunc(same, order)
			same = slices.CompactFunc(same, func(a, b inotifyHandle) bool { return order(a, b) == 0 })
		case same[0].watches > 0:
			family := map[int]bool{}
			same = slices.DeleteFunc(same, func(h inotifyHandle) bool {
				relative := family[h.pid] || family[h.ppid]
				family[h.pid] = true
				return relative
			})
		}
		distinct = append(distinct, same...)
	}
	slices.SortFunc(distinct, byPID)
	return distinct
}

func byPID(a, b inotifyHandle) int { return cmp.Or(cmp.Compare(a.pid, b.pid), cmp.Compare(a.fd, b.fd)) }

// tallyInotify sums distinct descriptors by user.
func tallyInotify(handles []inotifyHandle) map[uint32]*inotifyUse {
	users := map[uint32]*inotifyUse{}
	for _, h := range handles {
		if users[h.uid] == nil {
			users[h.uid] = &inotifyUse{}
		}
		u := users[h.uid]
		u.instances++
		u.watches += h.watches
		u.handles = append(u.handles, h)
	}
	return users
}

// findHolders finds out who holds the most of a user's instances and watches.
func (u *inotifyUse) findHolders(n *Node) {
	var instances, watches []consumer
	for _, h := range u.handles { // those of a process stand together
		if last := len(instances) - 1; last < 0 || instances[last].PID != h.pid {
			c := consumer{Process: process.Process{PID: h.pid, Comm: h.comm}}
			if n.Cgroups != nil {
				c.cgroup, _ = n.Cgroups.Place(h.pid)
			}
			instances, watches = append(instances, c), append(watches, c)
		}
		instances[len(instances)-1].amount++
		watches[len(watches)-1].amount += float64(h.watches)
	}
	u.instanceHolders = holders(n, instances, "/", problem.Instances)
	u.watchHolders = holders(n, watches, "/", problem.Watches)
}

// kcmpFile asks kcmp(2) whether two descriptors are of one open file.
const kcmpFile = 0

// fileOrder is kcmp's order of open files, and what to say of the precision
// with which it tells instances apart. It is nil where kcmp is not allowed
// (seccomp, no CAP_SYS_PTRACE), or would look at other processes than the
// host's because we have process ids of our own.
func fileOrder(h *host.Host, handles []inotifyHandle) (order func(a, b inotifyHandle) int, precision string) {
	const estimate = "without kcmp(2), descriptors that share an instance may count more than once"
	if len(handles) == 0 {
		return nil, estimate
	}
	if self, err := os.Readlink(h.Path("/proc/self")); err != nil || self != strconv.Itoa(os.Getpid()) {
		return nil, estimate
	}
	if _, err := kcmp(handles[0], handles[0]); err != nil && !isGone(err) {
		return nil, estimate
	}
	return func(a, b inotifyHandle) int {
		order, err := kcmp(a, b)
		if err != nil {
			return byPID(a, b) // one has gone meanwhile
		}
		return order
	}, "each instance counted once, by kcmp(2)"
}

func kcmp(a, b inotifyHandle) (int, error) {
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a.pid), uintptr(b.pid), kcmpFile, uintptr(a.fd), uintptr(b.fd), 0)
	if errno != 0 {
		return 0, errno
	}
	switch r {
	case 0:
		return 0, nil
	case 1:
		return -1, nil
	}
	return 1, nil
}

// userNamespaces tells to whom a process's use is charged in our own user namespace.
type userNamespaces struct {
	host *host.Host
	own  string            // as the link shows it: "user:[4026531837]"
	made map[string]uint32 // namespaces below ours → who made the line of them
	not  map[string]bool   // namespaces that are not below ours
}

func newUserNamespaces(h *host.Host) *userNamespaces {
	own, _ := os.Readlink(h.Path("/proc/self/ns/user"))
	return &userNamespaces{host: h, own: own, made: map[string]uint32{}, not: map[string]bool{}}
}

// charged is the user to whom a process with effective user euid is charged
// among us. It is false if the process is in no namespace below ours.
func (u *userNamespaces) charged(pid int, euid uint32) (uint32, bool, error) {
	if u.own == "" {
		return euid, true, nil // a kernel without user namespaces, or a recorded tree
	}
	path := fmt.Sprintf("/proc/%d/ns/user", pid)
	ns, err := os.Readlink(u.host.Path(path))
	switch {
	case err != nil:
		return 0, false, err
	case ns == u.own:
		return euid, true, nil
	case u.not[ns]:
		return 0, false, nil
	}
	if maker, ok := u.made[ns]; ok {
		return maker, true, nil
	}
	maker, below, err := u.maker(path)
	if err != nil {
		return 0, false, err
	}
	if below {
		u.made[ns] = maker
	} else {
		u.not[ns] = true
	}
	return maker, below, nil
}

// maker goes up the line of namespaces to the one whose parent is ours, and
// finds who made that (ioctl_ns(2)).
func (u *userNamespaces) maker(path string) (uint32, bool, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(u.host.Path(path), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return 0, false, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	for range 33 { // they nest at most 32 deep (user_namespaces(7))
		maker, err := unix.IoctlGetUint32(fd, unix.NS_GET_OWNER_UID)
		if err != nil {
			return 0, false, fmt.Errorf("%s: NS_GET_OWNER_UID: %w", path, err)
		}
		parent, err := unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		if errors.Is(err, unix.EPERM) {
			return 0, false, nil // beside or above ours
		}
		if err != nil {
			return 0, false, fmt.Errorf("%s: NS_GET_PARENT: %w", path, err)
		}
		_ = unix.Close(fd)
		fd = parent
		var s unix.Stat_t
		if err := unix.Fstat(fd, &s); err != nil {
			return 0, false, fmt.Errorf("%s: parent: %w", path, err)
		}
		if u.own == fmt.Sprintf("user:[%d]", s.Ino) {
			return maker, true, nil
		}
	}
	return 0, false, nil
}
