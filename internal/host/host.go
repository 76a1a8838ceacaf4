// Package host is where the node is: the root under which its /proc and /sys
// are found, its identity and its clocks.
package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MaxFile is the most that ReadFile reads of one file, in bytes. The largest
// files under /proc that are read (mountinfo of a node with 10,000 mounts) take
// 2 MiB; whatever is larger is an error and not a reason to grow.
const MaxFile = 16 << 20

// ErrTooLarge is returned for a file of more than MaxFile bytes.
var ErrTooLarge = errors.New("larger than 16 MiB")

// Host is the node under examination.
type Host struct {
	root string
	// dir is the root, opened, if it is not our own; unconfined says why links may
	// lead out of it.
	dir        *os.File
	unconfined string
	// Clock is what time it is on the node; tests put their own here.
	Clock Clock
}

// New is the host whose root file system is mounted at root ("/" for our own,
// "/host" in the DaemonSet).
func New(root string) (*Host, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	// /proc/PID/root reads as a link to "/", but leads to the root of that process
	// (proc_pid_root(5)).
	if real, err := filepath.EvalSymlinks(abs); err == nil && !strings.HasPrefix(abs, "/proc/") {
		abs = real
	}
	h := &Host{root: strings.TrimSuffix(abs, "/"), Clock: SystemClock{}}
	if _, err := os.Stat(h.Path("/proc/loadavg")); err != nil {
		return nil, fmt.Errorf("%s is not the root of a running Linux host: %w", abs, err)
	}
	if !h.Own() {
		if err := h.confine(abs); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Own reports whether the host is the machine that we see ourselves, with / as
// its root.
func (h *Host) Own() bool { return h.root == "" }

// Root is the folder at which the host's root is mounted, "/" for our own.
func (h *Host) Root() string { return h.Path("/") }

// Path is where the host's absolute path p is found by us.
func (h *Host) Path(p string) string {
	if h.root == "" {
		return p
	}
	return h.root + p
}

// ReadFile reads the host's file at path p whole. It is meant for /proc and
// /sys: it neither stats nor polls, and reads at most MaxFile bytes.
func (h *Host) ReadFile(p string) ([]byte, error) { return h.ReadInto(p, make([]byte, 0, 4096)) }

// ReadInto is ReadFile into the memory of buf[:0], which is left for new memory
// only when the file is larger: walks over thousands of small files make no garbage.
func (h *Host) ReadInto(p string, buf []byte) ([]byte, error) {
	return h.readFile(p, buf[:0])
}

// ReadSmall is ReadInto for a file that the kernel hands out whole at the first
// read, such as a cgroup's (seq_file, one record): it saves the second read,
// which would only tell the end. A file that fills buf is read as by ReadInto.
func (h *Host) ReadSmall(p string, buf []byte) ([]byte, error) {
	fd, err := h.Open(p)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	n, err := unix.Read(fd, buf)
	_ = unix.Close(fd)
	if n == len(buf) || errors.Is(err, unix.EINTR) {
		return h.ReadInto(p, buf)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: p, Err: err}
	}
	return buf[:n], nil
}

// ReadString is ReadFile without the surrounding white space.
func (h *Host) ReadString(p string) (string, error) {
	b, err := h.ReadFile(p)
	return strings.TrimSpace(string(b)), err
}

func (h *Host) readFile(p string, buf []byte) ([]byte, error) {
	fd, err := h.Open(p)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: p, Err: err}
		case n == 0:
			return buf, nil
		}
		buf = buf[:len(buf)+n]
		if len(buf) > MaxFile {
			return nil, &fs.PathError{Op: "read", Path: p, Err: ErrTooLarge}
		}
	}
}

// ReadDirNames lists the host's folder p, unsorted, as bare names.
func (h *Host) ReadDirNames(p string) (names []string, err error) {
	err = h.EachName(p, func(name string) bool {
		names = append(names, name)
		return true
	})
	return names, err
}

// EachName hands the names in the host's folder p on until visit returns false: for
// folders that may hold a million (the descriptors of a process), in little memory.
func (h *Host) EachName(p string, visit func(name string) bool) error {
	fd, err := h.open(p, unix.O_DIRECTORY)
	if err != nil {
		return &fs.PathError{Op: "open", Path: p, Err: err}
	}
	d := os.NewFile(uintptr(fd), p)
	defer func() { _ = d.Close() }()
	for {
		names, err := d.Readdirnames(512)
		for _, name := range names {
			if !visit(name) {
				return nil
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// BootID identifies this boot (random, see proc_sys_kernel(5)).
func (h *Host) BootID() (string, error) { return h.ReadString("/proc/sys/kernel/random/boot_id") }

// Hostname is the kernel's host name.
func (h *Host) Hostname() (string, error) { return h.ReadString("/proc/sys/kernel/hostname") }

// Clock tells the time in two ways. Boot time decides, since it never jumps;
// wall time is for people.
type Clock interface {
	// Boot is the time since boot, suspended time included (CLOCK_BOOTTIME).
	Boot() time.Duration
	// Wall is the date and time.
	Wall() time.Time
}

// SystemClock is the kernel's own clock.
type SystemClock struct{}

// Boot is CLOCK_BOOTTIME.
func (SystemClock) Boot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has had it since 2.6.39; without it nothing here can be right.
		panic(fmt.Sprintf("clock_gettime(CLOCK_BOOTTIME): %v", err))
	}
	return time.Duration(ts.Nano())
}

// Wall is CLOCK_REALTIME.
func (SystemClock) Wall() time.Time { return time.Now() }
