package process

// This file: /proc/PID/status, limits and fd of a single process or thread.

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// Status is what /proc/PID/status says (proc_pid_status(5)). What is about
// memory is absent, and 0 here, for kernel threads and zombies.
type Status struct {
	// UID is the real user id: the one whose processes RLIMIT_NPROC counts. EUID is the
	// effective one, as whom it acts.
	UID, EUID uint32
	Threads   int
	// CapEff is its effective capabilities, one bit each (capabilities(7)).
	CapEff uint64
	// RSSAnon and RSSFile are its resident memory in bytes; the kernel may drop
	// the latter.
	RSSAnon, RSSFile uint64
	// Voluntary and Involuntary count context switches. A task for which neither
	// rises has not run meanwhile.
	Voluntary, Involuntary uint64
	// SigKill: a SIGKILL is pending. If that lasts, the task cannot be killed.
	SigKill bool
}

// ReadStatus reads the status of a process or thread. The error is ErrGone if
// there is none.
func ReadStatus(h *host.Host, pid int) (Status, error) {
	file := path(pid, "status")
	b, err := h.ReadInto(file, make([]byte, 0, 2048))
	if err != nil {
		return Status{}, gone(err)
	}
	s, err := ParseStatus(b)
	if err != nil {
		return Status{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// wanted are the few lines of some sixty that Status has.
func wanted(key []byte) bool {
	switch string(key) {
	case "Uid", "Threads", "CapEff", "RssAnon", "RssFile", "SigPnd", "ShdPnd",
		"voluntary_ctxt_switches", "nonvoluntary_ctxt_switches":
		return true
	}
	return false
}

// ParseStatus reads the lines of /proc/PID/status that Status has.
func ParseStatus(b []byte) (s Status, err error) {
	seenUID := false
	for line := range bytes.Lines(b) {
		name, rest, ok := bytes.Cut(line, []byte(":"))
		if !ok || !wanted(name) {
			continue
		}
		key, value := string(name), string(rest)
		fields := strings.Fields(value)
		// nth is a field, in the base, and with kB as bytes; number is the first one.
		nth := func(i, base, bits int) uint64 {
			if len(fields) <= i {
				err = errors.Join(err, fmt.Errorf("%s has too few values: %.40q", key, value))
				return 0
			}
			n, e := strconv.ParseUint(fields[i], base, bits)
			if e != nil {
				err = errors.Join(err, fmt.Errorf("%s is no number: %.40q", key, value))
			}
			if len(fields) == 2 && fields[1] == "kB" {
				n <<= 10
			}
			return n
		}
		number := func(base, bits int) uint64 { return nth(0, base, bits) }
		switch key {
		case "Uid": // real, effective, saved, and that of the file system
			s.UID, s.EUID, seenUID = uint32(nth(0, 10, 32)), uint32(nth(1, 10, 32)), true
		case "Threads":
			s.Threads = int(number(10, 31))
		case "CapEff":
			s.CapEff = number(16, 64)
		case "RssAnon":
			s.RSSAnon = number(10, 53)
		case "RssFile":
			s.RSSFile = number(10, 53)
		case "SigPnd", "ShdPnd":
			s.SigKill = s.SigKill || number(16, 64)&(1<<(unix.SIGKILL-1)) != 0
		case "voluntary_ctxt_switches":
			s.Voluntary = number(10, 64)
		case "nonvoluntary_ctxt_switches":
			s.Involuntary = number(10, 64)
		}
	}
	if err == nil && !seenUID {
		err = fmt.Errorf("no line Uid in %.80q", b)
	}
	if err != nil {
		return Status{}, err
	}
	return s, nil
}

// Unlimited is a resource limit that does not limit (RLIM_INFINITY).
const Unlimited = ^uint64(0)

// Limit is one resource limit: the soft one binds, the hard one is how far the
// process may raise it (getrlimit(2)).
type Limit struct{ Soft, Hard uint64 }

// Limits are resource limits of a process.
type Limits struct {
	Processes Limit // RLIMIT_NPROC: threads of its real user id
	OpenFiles Limit // RLIMIT_NOFILE: one more than its highest descriptor
}

// ReadLimits reads the limits of a process. The error is ErrGone if there is none.
func ReadLimits(h *host.Host, pid int) (Limits, error) {
	file := path(pid, "limits")
	b, err := h.ReadInto(file, make([]byte, 0, 2048))
	if err != nil {
		return Limits{}, gone(err)
	}
	l, err := ParseLimits(b)
	if err != nil {
		return Limits{}, fmt.Errorf("%s: %w", file, err)
	}
	return l, nil
}

// ParseLimits reads the table of /proc/PID/limits:
//
//	Limit                     Soft Limit           Hard Limit           Units
//	Max open files            1024                 524288               files
func ParseLimits(b []byte) (l Limits, err error) {
	seen := 0
	for line := range bytes.Lines(b) {
		for name, to := range map[string]*Limit{"Max processes ": &l.Processes, "Max open files ": &l.OpenFiles} {
			rest, ok := strings.CutPrefix(string(line), name)
			if !ok {
				continue
			}
			if *to, err = parseLimit(strings.Fields(rest)); err != nil {
				return Limits{}, fmt.Errorf("%w: %.100q", err, line)
			}
			seen++
		}
	}
	if seen != 2 {
		return Limits{}, fmt.Errorf("not a table of limits: %.80q", b)
	}
	return l, nil
}

func parseLimit(fields []string) (l Limit, err error) {
	if len(fields) < 2 {
		return l, errors.New("no soft and hard limit")
	}
	for i, to := range []*uint64{&l.Soft, &l.Hard} {
		if fields[i] == "unlimited" {
			*to = Unlimited
			continue
		}
		if *to, err = strconv.ParseUint(fields[i], 10, 64); err != nil {
			return l, errors.New("not a limit")
		}
	}
	return l, nil
}

// FDCount is the number of file descriptors that a process has open. Since Linux
// 6.2 the size of /proc/PID/fd tells it; before, they are listed. The error is
// ErrGone if the process is gone, and ErrPermission where another user's
// descriptors may not be listed.
func FDCount(h *host.Host, pid int) (int, error) {
	dir := path(pid, "fd")
	var (
		st unix.Stat_t
		fs unix.Statfs_t
	)
	if err := unix.Stat(h.Path(dir), &st); err != nil {
		return 0, fmt.Errorf("%s: %w", dir, gone(err))
	}
	// A folder of any other file system has a size as well, which means another thing.
	if st.Size > 0 && unix.Statfs(h.Path(dir), &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC {
		return int(st.Size), nil
	}
	count := 0
	err := h.EachName(dir, func(string) bool { count++; return true })
	if err != nil {
		return 0, gone(err)
	}
	return count, nil
}
