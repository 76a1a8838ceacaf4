package probes

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// This file reads files in pieces, for those that may be too large to be read whole.

// streamFile hands the host's file at path on in pieces, which are valid until
// each returns, and stops when it returns false.
func streamFile(h *host.Host, path string, each func(piece []byte) bool) error {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(h.Path(path), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 32<<10)
	for {
		n, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, buf) })
		if err != nil {
			return &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 || !each(buf[:n]) {
			return nil
		}
	}
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
