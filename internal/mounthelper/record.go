package mounthelper

// This file keeps in a folder, of /run, which file systems have a call in them: a
// file for each device, locked for as long as the thread that made the call lives.
// A thread stuck on FUSE outlives its helper, the agent and SIGKILL; the lock is
// how the next agent knows that it must not add another.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Device is the number of a file system's device, st_dev.
type Device struct{ Major, Minor uint32 }

// Stuck is a call of another helper, of an agent beside us or before us, that has
// not returned.
type Stuck struct {
	Device
	PID   int       // the helper's
	Since time.Time // when the call was made
}

func (d Device) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

func parseDevice(s string) (Device, bool) {
	a, b, ok := strings.Cut(s, ":")
	major, err1 := strconv.ParseUint(a, 10, 32)
	minor, err2 := strconv.ParseUint(b, 10, 32)
	return Device{uint32(major), uint32(minor)}, ok && err1 == nil && err2 == nil
}

// record notes that this thread is about to ask a device, and locks the note. It
// returns the descriptor that holds the lock. The error is EWOULDBLOCK where
// another's call is in the device. Bare system calls: the descriptor belongs to a
// thread whose table of descriptors no other thread sees.
func record(dir string, d Device) (fd int, err error) {
	name := filepath.Join(dir, d.String())
	for {
		if fd, err = unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600); err != nil {
			return -1, err
		}
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		var st unix.Stat_t
		if err == nil {
			err = unix.Fstat(fd, &st)
		}
		if err == nil && st.Nlink == 0 { // erased by another agent between the two
			_ = unix.Close(fd)
			continue
		}
		if err == nil {
			_, err = unix.Pwrite(fd, fmt.Appendf(nil, "%-7d\n", os.Getpid()), 0)
		}
		if err != nil {
			_ = unix.Close(fd)
			return -1, err
		}
		return fd, nil
	}
}

// erase removes a note of record's.
func erase(dir string, d Device, fd int) {
	_ = unix.Unlink(filepath.Join(dir, d.String()))
	_ = unix.Close(fd)
}

// stuck lists the calls that are noted in dir and have not returned, but for those
// of the helper own. Notes without a lock are of threads that are gone; they are
// left to be locked by the next that asks.
func stuck(dir string, own int) ([]Stuck, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var all []Stuck
	for _, e := range entries {
		d, ok := parseDevice(e.Name())
		if !ok {
			continue
		}
		s, locked := lockedNote(filepath.Join(dir, e.Name()))
		if locked && s.PID != own {
			s.Device = d
			all = append(all, s)
		}
	}
	return all, nil
}

// lockedNote reads a note if a thread still holds its lock.
func lockedNote(name string) (s Stuck, locked bool) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return s, false
	}
	defer func() { _ = f.Close() }() // a lock that was had goes with it
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return s, false
	}
	var b [16]byte
	n, _ := f.Read(b[:])
	s.PID, _ = strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if st, err := f.Stat(); err == nil {
		s.Since = st.ModTime()
	}
	return s, true
}
