// Package mounthelper asks file systems whether they answer, at the risk of a
// process of its own. A call into a file system whose server is gone may never
// return, and with FUSE not even SIGKILL ends it: whoever made it cannot exit
// any more. So the agent starts itself once more, as a helper, and has it make
// those calls. It is the only program that the agent ever starts.
//
// This file is the agent's side; serve.go is the helper's.
package mounthelper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MaxStuck is how many calls may be out at once, those of earlier helpers that never
// returned included: each stuck one costs a thread (some 20 kB, and 1 of the load
// average). The helper has as many threads.
const MaxStuck = 16

// Threads is how many threads the helper may make: those in calls and the runtime's.
const Threads = MaxStuck + 8

// takeWithin is how long the helper may take to take a request. It only hands it
// to a thread that waits; a helper that has not run for so long is given up.
const takeWithin = 2 * time.Second

// startWithin is how long the helper may take to start. It is a large program on a
// node that may be short of everything.
const startWithin = time.Minute

// Errors that say why a file system was not asked.
var (
	ErrBusy     = fmt.Errorf("not asked: %d calls wait for file systems that do not answer, and more are not risked", MaxStuck)
	ErrAsked    = errors.New("not asked again: another call waits there already")
	ErrForeign  = errors.New("not asked: it is not what is mounted there any more")
	ErrStarting = errors.New("not asked yet: the helper process is still starting")
	ErrLost     = errors.New("the helper process that asked it is gone")
)

// UnkeptError says that a file system was not asked since it could not be kept that
// it was: the next agent would ask again, and leave another thread behind.
type UnkeptError struct {
	Dir string
	Err error
}

func (e *UnkeptError) Error() string {
	return fmt.Sprintf("not asked: that cannot be noted in %s: %v", e.Dir, e.Err)
}

func (e *UnkeptError) Unwrap() error { return e.Err }

// Answered is the end of a call that the file system answered, with an error if Err
// is not 0.
type Answered struct{ Err syscall.Errno }

func (a Answered) Error() string { return "answered: " + a.Err.Error() }

// Call is a question to a file system.
type Call struct {
	Device
	Path string // where it is mounted, as this process sees it
	// Unkillable: whoever waits for it survives SIGKILL (FUSE). Then it is not asked
	// unless it can be noted that it is.
	Unkillable bool
}

// Helper is the helper process, started when it is first needed and again should
// it have died.
type Helper struct {
	// Room says why there is no room for so many more threads; nil if there always is.
	// It is asked before the helper is started, which at a full limit would die, and at
	// one that is nearly full would take the last threads from others.
	Room func(threads int) error

	dir string

	mu   sync.Mutex
	proc *proc
	last uint32 // id given to a call
	dead []int  // helpers to be waited for
	// others is how many calls of other helpers were stuck at the last look.
	others int
}

// proc is a running helper.
type proc struct {
	pid   int
	conn  *os.File
	begun time.Time
	ready chan struct{} // closed when it is
	gone  chan struct{} // closed when it is given up
	calls map[uint32]*call
}

// call is one that has not ended.
type call struct {
	taken chan struct{}
	ended chan error
}

// New is a helper that notes in dir, which must not outlive the boot, what it has
// asked. It starts nothing yet.
func New(dir string) *Helper { return &Helper{dir: filepath.Join(dir, "asked")} }

// Ask has the helper ask a file system. The answer comes through the channel, once
// and maybe never: an Answered, or why it was not asked after all. An error means
// that it was not asked.
func (h *Helper) Ask(c Call) (<-chan error, error) {
	if len(c.Path) == 0 || len(c.Path) > maxPath {
		return nil, fmt.Errorf("not asked: a path of %d bytes", len(c.Path))
	}
	h.mu.Lock()
	p, err := h.running()
	if err != nil {
		h.mu.Unlock()
		return nil, fmt.Errorf("not asked: the helper process cannot be started: %w", err)
	}
	h.mu.Unlock()
	slow := time.NewTimer(takeWithin)
	defer slow.Stop()
	select {
	case <-p.ready:
	case <-p.gone:
		return nil, fmt.Errorf("not asked: %w", ErrLost)
	case <-slow.C:
		if time.Since(p.begun) > startWithin {
			h.discard(p)
		}
		return nil, ErrStarting
	}
	h.mu.Lock()
	if len(p.calls)+h.others >= MaxStuck {
		h.mu.Unlock()
		return nil, ErrBusy
	}
	h.last++
	id := h.last
	out := &call{taken: make(chan struct{}), ended: make(chan error, 1)}
	p.calls[id] = out
	h.mu.Unlock()

	r := request{id: id, major: c.Major, minor: c.Minor, unkillable: c.Unkillable, path: c.Path}
	_ = p.conn.SetWriteDeadline(time.Now().Add(takeWithin))
	if _, err := p.conn.Write(r.append(make([]byte, 0, requestHead+len(c.Path)))); err != nil {
		h.discard(p)
		return nil, fmt.Errorf("not asked: the helper process: %w", err)
	}
	slow.Reset(takeWithin)
	select {
	case <-out.taken:
		return out.ended, nil
	case <-p.gone:
		return nil, fmt.Errorf("not asked: %w", ErrLost)
	case <-slow.C:
		h.discard(p)
		return nil, fmt.Errorf("not asked: the helper process did not react within %v", takeWithin)
	}
}

// Stuck is the calls of other helpers that have not returned: their mounts are
// not to be asked, and they count towards MaxStuck from here on.
func (h *Helper) Stuck() ([]Stuck, error) {
	all, err := stuck(h.dir, h.PID())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.others = len(all)
	return all, err
}

// PID is the helper's process id, 0 if it does not run.
func (h *Helper) PID() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.proc == nil {
		return 0
	}
	return h.proc.pid
}

// Close ends the helper, without waiting for it: it may be stuck. The end of this
// process does the same.
func (h *Helper) Close() {
	h.mu.Lock()
	p := h.proc
	h.mu.Unlock()
	if p != nil {
		h.discard(p)
	}
}

// running is the helper process, started if need be; h.mu is held.
func (h *Helper) running() (*proc, error) {
	var still []int
	for _, pid := range h.dead {
		if got, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err == nil && got == 0 {
			still = append(still, pid)
		}
	}
	h.dead = still
	if h.proc != nil {
		return h.proc, nil
	}
	if h.Room != nil {
		if err := h.Room(Threads); err != nil {
			return nil, err
		}
	}
	// Where it cannot be made, files cannot be either: the helper says so then.
	_ = os.MkdirAll(h.dir, 0o700)
	pid, conn, err := start(h.dir)
	if err != nil {
		return nil, err
	}
	h.proc = &proc{
		pid: pid, conn: conn, begun: time.Now(), ready: make(chan struct{}), gone: make(chan struct{}), calls: map[uint32]*call{},
	}
	go h.read(h.proc)
	return h.proc, nil
}

// inheritNothing has what we were started with end here: a helper that is stuck would
// keep it open for good, such as the session of who started the agent.
func inheritNothing() {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range fds {
		if fd, err := strconv.Atoi(e.Name()); err == nil {
			unix.CloseOnExec(fd)
		}
	}
}

// start runs this program as the helper.
func start(dir string) (pid int, conn *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = unix.Close(pair[1]) }()
	if err = unix.SetNonblock(pair[0], true); err == nil {
		inheritNothing()
		theirs := uintptr(pair[1])
		pid, err = syscall.ForkExec("/proc/self/exe", []string{"agent", command, dir}, &syscall.ProcAttr{
			Dir: "/",
			// It has nothing to read from the environment, and no secret to keep in memory.
			Env: []string{"GOMAXPROCS=1"},
			// Nothing of the agent's stays open with a helper that is stuck.
			Files: []uintptr{theirs, theirs, theirs},
			// A terminal's signals are not meant for it. It ends when the socket is closed,
			// and is killed if the agent is.
			Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
		})
	}
	if err != nil {
		_ = unix.Close(pair[0])
		return 0, nil, err
	}
	return pid, os.NewFile(uintptr(pair[0]), "mount helper"), nil
}

// read takes the helper's answers in until it is gone.
func (h *Helper) read(p *proc) {
	buf := make([]byte, answerSize+1)
	for {
		n, err := p.conn.Read(buf)
		if err != nil {
			h.discard(p)
			return
		}
		if a, err := parseAnswer(buf[:n]); err == nil {
			h.take(p, a)
		}
	}
}

// take hands an answer to whom it is for.
func (h *Helper) take(p *proc, a answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.what == ready {
		close(p.ready)
	}
	c := p.calls[a.id]
	if c == nil {
		return
	}
	if a.what == taken || a.what == busy {
		close(c.taken)
	}
	if a.what != taken {
		delete(p.calls, a.id)
		c.ended <- h.meaning(a)
	}
}

func (h *Helper) meaning(a answer) error {
	errno := syscall.Errno(a.errno)
	switch a.what {
	case answered:
		return Answered{errno}
	case busy:
		return ErrBusy
	case asked:
		return ErrAsked
	case unkept:
		return &UnkeptError{h.dir, errno}
	}
	if errno != 0 {
		return fmt.Errorf("not asked: %w", errno)
	}
	return ErrForeign
}

// discard gives a helper up. Its threads may be stuck; it is not waited for.
func (h *Helper) discard(p *proc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.proc != p {
		return
	}
	h.proc = nil
	close(p.gone)
	h.dead = append(h.dead, p.pid)
	_ = p.conn.Close()
	_ = unix.Kill(p.pid, unix.SIGKILL)
	for id, c := range p.calls {
		delete(p.calls, id)
		c.ended <- ErrLost
	}
}
