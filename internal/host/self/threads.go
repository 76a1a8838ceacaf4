// Package self is what the agent itself may use of the node: threads and memory,
// by the limits that it runs under. A program that must work on a sick node has
// to know them before it meets them.
//
// This file: threads. memory.go is about memory.
package self

import (
	"context"
	"fmt"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/host/process"
)

// Room is how many threads we have and may have, by the limit that binds first.
type Room struct {
	Have uint64 // our own threads
	More uint64 // that may be made; math.MaxUint64 without any limit
	// Limit names the limit that binds, with Used of Max in use.
	Limit     string
	Used, Max uint64
}

// Total is how many threads we can have.
func (r Room) Total() uint64 {
	if r.More == math.MaxUint64 {
		return r.More
	}
	return r.Have + r.More
}

// String says how much room there is, and by which limit.
func (r Room) String() string {
	if r.Limit == "" {
		return "no limit on threads is in sight"
	}
	return fmt.Sprintf("%s has %d of %d threads in use", r.Limit, r.Used, r.Max)
}

// Threads reads the limits on our own threads (clone(2), EAGAIN): pids.max of our
// cgroup and of those above it, kernel.threads-max, kernel.pid_max, RLIMIT_NPROC.
// t may be nil. What cannot be read does not count; the error only says that our
// own threads cannot be told.
func Threads(h *host.Host, t *cgroup.Tree) (Room, error) {
	r := Room{More: math.MaxUint64}
	pid, err := number(h)
	if err != nil {
		return r, err
	}
	own, err := process.Stat(h, pid)
	if err != nil {
		return r, err
	}
	r.Have = uint64(own.Threads)
	r.cgroups(t, pid)
	total, ok := r.node(h)
	r.user(h, total, ok)
	return r, nil
}

// bind takes a limit in.
func (r *Room) bind(limit string, used, most uint64) {
	more := uint64(0)
	if most > used {
		more = most - used
	}
	if more < r.More {
		r.More, r.Limit, r.Used, r.Max = more, limit, used, most
	}
}

// number is our process number in the host's /proc, which may be that of a pid
// namespace above ours.
func number(h *host.Host) (int, error) {
	link, err := os.Readlink(h.Path("/proc/self"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(link)
}

func (r *Room) cgroups(t *cgroup.Tree, pid int) {
	if t == nil || !t.Has(cgroup.ControllerPIDs) {
		return
	}
	at, err := t.Of(pid, cgroup.ControllerPIDs)
	if err != nil {
		return
	}
	for above := ""; at != above; at, above = path.Dir(at), at {
		if p, err := t.PIDs(at); err == nil && p.Limited() {
			r.bind("the pids limit of cgroup "+at, p.Current, p.Max)
		}
	}
}

// node takes in the node's limits, and returns how many threads the node has.
func (r *Room) node(h *host.Host) (total uint64, ok bool) {
	load, err := h.ReadString("/proc/loadavg")
	if err != nil {
		return 0, false
	}
	// The fourth field is runnable/existing (proc_loadavg(5)).
	fields := strings.Fields(load)
	if len(fields) < 4 {
		return 0, false
	}
	_, existing, _ := strings.Cut(fields[3], "/")
	if total, err = strconv.ParseUint(existing, 10, 32); err != nil {
		return 0, false
	}
	for _, file := range []string{"threads-max", "pid_max"} {
		text, err := h.ReadString("/proc/sys/kernel/" + file)
		if err != nil {
			continue
		}
		if most, err := strconv.ParseUint(text, 10, 32); err == nil {
			r.bind("kernel."+file, total, most)
		}
	}
	return total, true
}

// user takes in RLIMIT_NPROC, which counts all threads of a user, and does not
// bind root (getrlimit(2)). They are only counted if there may be too many.
func (r *Room) user(h *host.Host, total uint64, known bool) {
	uid := os.Getuid()
	var l unix.Rlimit
	if uid == 0 || unix.Getrlimit(unix.RLIMIT_NPROC, &l) != nil || l.Cur == unix.RLIM_INFINITY {
		return
	}
	if known && total < l.Cur && l.Cur-total > r.More {
		return
	}
	var used uint64
	// Others' processes may be hidden; our own are not.
	_ = process.Walk(context.Background(), h, func(p process.Process) error {
		if s, err := process.ReadStatus(h, p.PID); err == nil && int(s.UID) == uid {
			used += uint64(p.Threads)
		}
		return nil
	})
	r.bind(fmt.Sprintf("RLIMIT_NPROC of uid %d", uid), used, l.Cur)
}
