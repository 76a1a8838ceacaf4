package probes

// This file finds the tasks that wait for a file system which is not on this
// machine's disks, and which of the mounts they wait for.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/host/process"
)

// client is the part of the kernel that asks a server for a mount's data.
type client string

// The clients that are told apart. behind is a task that waits without
// interruption for something else, which may be held by one that waits for a
// server; unread is one whose wait channel may not be seen.
const (
	nfsClient  client = "NFS"
	fuseClient client = "FUSE"
	cifsClient client = "SMB"
	cephClient client = "Ceph"
	p9Client   client = "9P"
	behind     client = "behind"
	unread     client = "unread"
)

// clientOf is the client of a mount; empty for those whose waits are not known by
// a name, and for local file systems.
func clientOf(m mounts.Mount) client {
	switch m.FSType {
	case "nfs", "nfs4":
		return nfsClient
	case "cifs", "smb3", "smbfs":
		return cifsClient
	case "ceph":
		return cephClient
	case "9p":
		return p9Client
	}
	if m.FUSE() {
		return fuseClient
	}
	return ""
}

// waitsFor is the client in whose function (/proc/PID/wchan) a task sleeps; empty if
// it is none of them. A task on FUSE sleeps interruptibly (S) until a signal comes;
// the others wait killably, which is shown as D. The server's own threads sleep in
// fuse_dev_do_read when they have nothing to do.
func waitsFor(state byte, wchan string) client {
	name := strings.TrimLeft(wchan, "_")
	if strings.HasPrefix(name, "request_wait_answer") {
		return fuseClient
	}
	if state != 'D' {
		return ""
	}
	for _, c := range []struct {
		prefix string
		client client
	}{
		{"fuse_dev_", ""},
		{"fuse_", fuseClient},
		{"rpc_", nfsClient},
		{"nfs_", nfsClient},
		{"nfs3_", nfsClient},
		{"nfs4_", nfsClient},
		{"cifs_", cifsClient},
		{"smb2_", cifsClient},
		{"SMB2_", cifsClient},
		{"wait_for_response", cifsClient},     // fs/smb/client/transport.c
		{"wait_for_free_credits", cifsClient}, // the same
		{"ceph_", cephClient},
		{"p9_", p9Client},
	} {
		if strings.HasPrefix(name, c.prefix) {
			return c.client
		}
	}
	return behind
}

// taskID names a thread for good, as thread ids are used again.
type taskID struct {
	tid   int
	start uint64
}

// waiter is a thread that waits.
type waiter struct {
	process process.Process // its process; Comm and PID are that of all its threads
	tid     int
	state   byte
	client  client
	wchan   string
	// switches are all its context switches so far: while they stay the same, it
	// has not run.
	switches uint64
	// since is when it was first seen to wait so. woken: it has run since, though only
	// to ask again.
	since time.Duration
	woken bool
	// sigkill: it was killed and does not die.
	sigkill bool
	// lock: it waits for a file lock, which someone else may hold for good reason.
	lock bool
	// call is the file system of its system call's descriptor, near those of its
	// working folder and open files.
	call *device
	near []device
}

func (w waiter) dir() string { return taskDir(w.process.PID, w.tid) }

func taskDir(pid, tid int) string { return fmt.Sprintf("/proc/%d/task/%d", pid, tid) }

// maxRefusals is how many processes are asked in vain for their wait channel before it
// is concluded that none may be asked. Each try makes AppArmor write a line to the
// kernel log; a single one may be refused for having capabilities that we lack.
const maxRefusals = 3

// taskWalk is what the walks over all threads need, and have learned.
type taskWalk struct {
	readlink func(string) (string, error)
	// blind: wait channels may not be read at all; this does not change.
	blind bool
	// refused are the processes of the last walk that may not be asked, and are not again.
	refused map[taskID]bool
}

// waits is what one walk has found.
type waits struct {
	tasks map[taskID]waiter
	// hidden says why the wait channels of some tasks are not known, empty if all
	// are; mostly tells that it is so for more than half of those asked.
	hidden string
	mostly bool
	// partial says what else of the processes could not be seen.
	partial string
}

// walk finds the threads that wait for a server: in D, and with sleeping also in S,
// which takes a look at every thread of the node. The helpers' threads wait on our
// behalf, and are left out.
func (w *taskWalk) walk(ctx context.Context, h *host.Host, sleeping bool, helpers map[int]bool) (waits, error) {
	s := waitSearch{taskWalk: w, host: h, sleeping: sleeping, found: waits{tasks: map[taskID]waiter{}}, buf: make([]byte, 0, 1024), refused: map[taskID]bool{}}
	self := 0
	if link, err := os.Readlink(h.Path("/proc/self")); err == nil { // our number in that /proc
		self, _ = strconv.Atoi(link)
	}
	err := process.Walk(ctx, h, func(p process.Process) error {
		// Our own threads may always be asked, which would say nothing of the others.
		if p.Kthread || p.State == 'Z' && p.Threads <= 1 || p.PID == self || helpers[p.PID] {
			return nil
		}
		return s.threads(p)
	})
	switch {
	case ctx.Err() != nil:
		return waits{}, ctx.Err()
	case err != nil:
		s.found.partial = err.Error()
	}
	w.refused = s.refused
	switch {
	case w.blind:
		s.found.hidden = "wait channels (/proc/PID/wchan) may not be read: that takes CAP_SYS_PTRACE, and no AppArmor profile in its way"
	case len(s.refused) > 0:
		s.found.hidden = "/proc/PID/wchan may not be read of " + count(uint64(len(s.refused)), "program")
	case s.named == 0 && s.zero >= maxRefusals:
		s.found.hidden = `/proc/PID/wchan is "0" for all tasks that wait`
	}
	s.found.mostly = s.found.hidden != "" && (w.blind || len(s.refused) > s.named || s.named == 0)
	return s.found, nil
}

// waitSearch is one walk.
type waitSearch struct {
	*taskWalk
	host     *host.Host
	sleeping bool
	found    waits
	// named counts the tasks of others that told their wait channel, zero those that
	// told none; refused are the processes that may not be asked.
	named, zero int
	refused     map[taskID]bool
	buf         []byte
}

// threads looks at each thread of a process.
func (s *waitSearch) threads(p process.Process) error {
	return eachThread(s.host, p, s.buf, func(t process.Process, dir string) { s.thread(p, t, dir) })
}

// eachThread visits each thread of a process. The first one is what /proc/PID shows.
func eachThread(h *host.Host, p process.Process, buf []byte, visit func(t process.Process, dir string)) error {
	dir := "/proc/" + strconv.Itoa(p.PID)
	visit(p, dir)
	if p.Threads <= 1 {
		return nil
	}
	tids, err := h.ReadDirNames(dir + "/task")
	if err != nil {
		return nil //nolint:nilerr // the process has ended, and none of its threads waits
	}
	for _, tid := range tids {
		file := dir + "/task/" + tid
		if tid == strconv.Itoa(p.PID) {
			continue
		}
		raw, err := h.ReadInto(file+"/stat", buf)
		if err != nil {
			continue // the thread has ended
		}
		t, err := process.ParseStat(raw)
		if err != nil {
			return fmt.Errorf("%s/stat: %w", file, err)
		}
		visit(t, file)
	}
	return nil
}

// thread takes a thread in if it waits for a server.
func (s *waitSearch) thread(p, t process.Process, dir string) {
	if t.State != 'D' && (t.State != 'S' || !s.sleeping) {
		return
	}
	wchan, ok := s.wchan(taskID{p.PID, p.StartTime}, dir)
	if !ok {
		return
	}
	w := waiter{process: p, tid: t.PID, state: t.State, wchan: wchan, client: unread}
	if wchan != "" {
		w.client = waitsFor(t.State, wchan)
	}
	if w.client == "" || w.client == unread && t.State != 'D' {
		return
	}
	raw, err := s.host.ReadFile(dir + "/status")
	if err != nil {
		return
	}
	st, err := process.ParseStatus(raw)
	if err != nil {
		return
	}
	w.switches, w.sigkill = st.Voluntary+st.Involuntary, st.SigKill
	s.found.tasks[taskID{t.PID, t.StartTime}] = w
}

// wchan is the function in which a thread sleeps, empty if it may not be seen; ok is
// false if the thread is gone. Whoever may not know reads "0" without an error
// (proc_pid_wchan in fs/proc/base.c); the link to the working folder asks for the
// same right, and does say so.
func (s *waitSearch) wchan(process taskID, dir string) (name string, ok bool) {
	if s.blind || s.refused[process] || s.taskWalk.refused[process] {
		s.refused[process] = true
		return "", true
	}
	raw, err := s.host.ReadInto(dir+"/wchan", s.buf)
	switch {
	case errors.Is(err, fs.ErrPermission):
		s.refuse(process)
		return "", true
	case err != nil:
		return "", false
	}
	if name := strings.TrimSpace(string(raw)); name != "0" && name != "" {
		s.named++
		return name, true
	}
	s.zero++
	if _, err := s.readlink(s.host.Path(dir + "/cwd")); errors.Is(err, fs.ErrPermission) {
		s.refuse(process)
	}
	return "", true
}

func (s *waitSearch) refuse(process taskID) {
	s.refused[process] = true
	s.blind = s.named == 0 && len(s.refused) >= maxRefusals
}

// maxTracedFiles is how many open files of a task are looked at to tell its mount.
const maxTracedFiles = 64

// trace finds out what file systems a waiting task has to do with: by the
// descriptor of its system call, by its working folder and by its open files. Only
// links are read, which does not touch what they lead to. Whatever cannot be read
// leaves the task's mount open. The latter two are looked at only if there are
// several mounts to choose from.
func (w *taskWalk) trace(h *host.Host, t *waiter, table map[int]mounts.Mount, several bool) (own mounts.Table) {
	dir := t.dir()
	if _, err := w.readlink(h.Path(dir + "/cwd")); err != nil && !errors.Is(err, fs.ErrPermission) {
		dir = "/proc/" + strconv.Itoa(t.process.PID)
	}
	if raw, err := h.ReadFile(dir + "/mountinfo"); err == nil {
		own, _ = mounts.Parse(dir+"/mountinfo", raw) // of lines that are no mounts the others still count
	}
	ownByID := byID(own)
	deviceAt := func(fd string) *device {
		m, ok := mountOf(h, dir, fd, table, ownByID)
		if !ok {
			return nil
		}
		d := deviceOf(m)
		return &d
	}
	if raw, err := h.ReadFile(dir + "/syscall"); err == nil {
		if nr, arg, ok := parseSyscall(raw); ok {
			t.lock = nr == unix.SYS_FLOCK || nr == unix.SYS_FCNTL
			if fd, ok := descriptor(arg); ok {
				t.call = deviceAt(fd)
			}
		}
	}
	if !several {
		return own
	}
	if cwd, err := w.readlink(h.Path(dir + "/cwd")); err == nil && path.IsAbs(cwd) {
		if m, ok := own.At(cwd); ok {
			t.near = append(t.near, deviceOf(m))
		}
	}
	files := 0
	_ = h.EachName(dir+"/fd", func(fd string) bool {
		if d := deviceAt(fd); d != nil && !slices.Contains(t.near, *d) {
			t.near = append(t.near, *d)
		}
		files++
		return files < maxTracedFiles
	})
	return own
}

// parseSyscall reads /proc/PID/syscall: the number of the system call in which a
// task sleeps and its first argument. It is "running" for a task that runs, and the
// number -1 for one that waits outside of a system call (proc_pid_syscall(5)).
func parseSyscall(raw []byte) (nr int, arg uint64, ok bool) {
	f := strings.Fields(string(raw))
	if len(f) != 9 {
		return 0, 0, false
	}
	nr, err := strconv.Atoi(f[0])
	if err != nil || nr < 0 {
		return 0, 0, false
	}
	arg, err = strconv.ParseUint(f[1], 0, 64)
	return nr, arg, err == nil
}

// descriptor is the argument of a system call, if it is one: pointers and AT_FDCWD are
// larger.
func descriptor(arg uint64) (fd string, ok bool) {
	return strconv.FormatUint(arg, 10), arg < 1<<20
}

// mountOf is the mount of a file that a task has open, in the first table that has it.
func mountOf(h *host.Host, dir, fd string, tables ...map[int]mounts.Mount) (mounts.Mount, bool) {
	raw, err := h.ReadFile(dir + "/fdinfo/" + fd)
	if err != nil {
		return mounts.Mount{}, false
	}
	id, ok := lineValue(raw, "mnt_id:")
	for _, table := range tables {
		if m, there := table[int(id)]; ok && there {
			return m, true
		}
	}
	return mounts.Mount{}, false
}

// newTaskWalk is one for a real host.
func newTaskWalk() taskWalk { return taskWalk{readlink: os.Readlink} }
