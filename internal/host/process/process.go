// Package process reads processes and threads from /proc (proc(5)). It reads
// what costs the kernel little and never a file that takes a lock of the process
// or holds its secrets: not cmdline, environ, maps, smaps.
//
// This file: the walk over all processes, and /proc/PID/stat. details.go reads
// more of a single one.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// ErrGone says that the process ended before it could be read.
var ErrGone = errors.New("the process is gone")

// ErrHidden says that /proc shows only a part of all processes.
var ErrHidden = errors.New("/proc does not show process 1: the processes of others are hidden (hidepid, proc(5))")

// Process is what /proc/PID/stat says of a process.
type Process struct {
	PID, PPID int
	// State is R running, S sleeping, D waiting and not to be interrupted,
	// Z zombie, T stopped, t traced, I idle kernel thread.
	State byte
	// Comm is the command name, at most 15 bytes of a user's process. It is chosen
	// by the process; what would garble a message is replaced by "?".
	Comm string
	// Kthread: a thread of the kernel's own.
	Kthread bool
	Threads int
	// StartTime is in ticks of 1/100 s (USER_HZ) since boot. With PID it names a
	// process for good, since ids are used again.
	StartTime uint64
}

// Walk visits every process, by rising PID. Those that end meanwhile are
// skipped. One that cannot be read does not end the walk; the first is named in
// the error at the end, which is ErrHidden if /proc shows us only some of all. An
// error of visit ends it at once.
func Walk(ctx context.Context, h *host.Host, visit func(Process) error) error {
	names, err := h.ReadDirNames("/proc")
	if err != nil {
		return err
	}
	pids := make([]int, 0, len(names))
	for _, n := range names {
		if pid, ok := pidOf(n); ok {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	var (
		buf        = make([]byte, 0, 1024)
		unreadable error
	)
	if len(pids) > 0 && pids[0] != 1 {
		// Every pid namespace has a process 1, and it is root's.
		unreadable = ErrHidden
	}
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := stat(h, pid, buf)
		switch {
		case errors.Is(err, ErrGone):
		case err == nil:
			if err := visit(p); err != nil {
				return err
			}
		case unreadable == nil:
			unreadable = err
		}
	}
	return unreadable
}

// pidOf tells the folders of processes from the rest of /proc.
func pidOf(name string) (int, bool) {
	if name == "" || name[0] < '1' || name[0] > '9' {
		return 0, false
	}
	pid, err := strconv.Atoi(name)
	return pid, err == nil
}

// Stat reads one process or thread. The error is ErrGone if there is none.
func Stat(h *host.Host, pid int) (Process, error) { return stat(h, pid, nil) }

func stat(h *host.Host, pid int, buf []byte) (Process, error) {
	file := path(pid, "stat")
	b, err := h.ReadInto(file, buf)
	if err != nil {
		return Process{}, gone(err)
	}
	p, err := ParseStat(b)
	if err != nil {
		return Process{}, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

// Find lists the processes with one of these names, by rising PID. A name says
// nothing of who it is: a container may well run something called kubelet. Ask
// for the owner where that matters.
func Find(ctx context.Context, h *host.Host, comms ...string) ([]Process, error) {
	names := make(map[string]bool, len(comms))
	for _, c := range comms {
		names[c[:min(len(c), maxComm)]] = true
	}
	var found []Process
	err := Walk(ctx, h, func(p Process) error {
		if !p.Kthread && names[p.Comm] {
			found = append(found, p)
		}
		return nil
	})
	return found, err
}

// maxComm is the longest name that a user's process can have (TASK_COMM_LEN - 1).
const maxComm = 15

func path(pid int, file string) string { return "/proc/" + strconv.Itoa(pid) + "/" + file }

// gone turns the errors of a process that ended into ErrGone: ENOENT on opening
// its files, ESRCH on reading one that was open before.
func gone(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// flagKthread is PF_KTHREAD of include/linux/sched.h.
const flagKthread = 0x00200000

// ParseStat reads a /proc/PID/stat line: "PID (COMM) STATE PPID …". COMM may hold
// spaces, parentheses and newlines, so that only the last ")" ends it.
func ParseStat(b []byte) (p Process, err error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return p, fmt.Errorf("no name in parentheses: %.80q", b)
	}
	if p.PID, err = strconv.Atoi(string(bytes.TrimSpace(b[:open]))); err != nil || p.PID < 0 {
		return Process{}, fmt.Errorf("no process id: %.80q", b)
	}
	p.Comm = printable(b[open+1 : end])
	// The fields are numbered as in proc_pid_stat(5), from 3 on.
	var fields [42 - 2][]byte
	count := 0
	for f := range bytes.FieldsSeq(b[end+1:]) {
		fields[count] = f
		if count++; count == len(fields) {
			break
		}
	}
	field := func(n int) []byte { return fields[n-3] }
	if count < len(fields) || len(field(3)) != 1 {
		return Process{}, fmt.Errorf("%d fields after the name, fewer than 40, or no state: %.80q", count, b)
	}
	number := func(n int) (v uint64) {
		v, e := strconv.ParseUint(string(field(n)), 10, 64)
		if e != nil && err == nil {
			err = fmt.Errorf("field %d is no number: %.40q", n, field(n))
		}
		return v
	}
	p.State = field(3)[0]
	p.PPID = int(number(4) & 0x7fffffff)
	p.Kthread = number(9)&flagKthread != 0
	p.Threads = int(number(20) & 0x7fffffff)
	p.StartTime = number(22)
	if err != nil {
		return Process{}, err
	}
	return p, nil
}

// printable replaces what is not printable ASCII: the name comes from anybody.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(b))
}
