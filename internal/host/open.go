package host

// This file: how the host's files are opened, so that no link in a host that is
// mounted somewhere leads out of it into ours.

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// confine has the kernel resolve every path of a host that is mounted at root
// inside it (openat2(2), RESOLVE_IN_ROOT, since Linux 5.6).
func (h *Host) confine(root string) error {
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	h.dir = dir
	fd, err := h.openIn("/", unix.O_PATH)
	if err != nil {
		// An older kernel (ENOSYS), or a container's seccomp filter that does not know
		// the call (EPERM).
		h.unconfined = fmt.Sprintf("symbolic links below %s are followed step by step, which whoever may write there can fool: openat2: %v", root, err)
		return nil
	}
	_ = unix.Close(fd)
	return nil
}

// Unconfined says why links in the host's root may lead out of it; it is empty
// where they cannot.
func (h *Host) Unconfined() string { return h.unconfined }

// Open opens the host's file p for reading and returns its descriptor, which the
// caller closes. A relative path starts at the root, where systemd starts its
// services. A FIFO that stands where a file should is no reason to hang.
func (h *Host) Open(p string) (int, error) { return h.open(p, unix.O_NONBLOCK) }

func (h *Host) open(p string, flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_CLOEXEC
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	switch {
	case h.Own():
		return openRetry(p, flags)
	case h.unconfined == "":
		return h.openIn(p, flags)
	case strings.HasPrefix(p, "/proc/"), strings.HasPrefix(p, "/sys/"):
		return openRetry(h.Path(p), flags) // the kernel's own links, of which none is absolute
	}
	return openRetry(h.Path(h.Resolve(p)), flags)
}

func (h *Host) openIn(p string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	// EAGAIN: something was renamed on the way at that moment.
	const tries = 100
	for i := 0; ; i++ {
		fd, err := unix.Openat2(int(h.dir.Fd()), "."+p, &how)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) && i < tries {
			continue
		}
		return fd, err
	}
}

func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
