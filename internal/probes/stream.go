package probes

import (
	"bytes"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// This file reads files in pieces, for those that may be too large to be read whole.

// streamFile hands the host's file at path on in pieces, which are valid until
// each returns, and stops when it returns false.
func streamFile(h *host.Host, path string, each func(piece []byte) bool) error {
	fd, err := h.Open(path)
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

// maxLine is how much of a line is kept, in bytes. Those of /proc have some hundred.
const maxLine = 64 << 10

// streamLines hands the lines of the host's file at path on, each valid until
// each returns, and stops when it returns false. Of a line longer than maxLine
// pieces are handed on.
func streamLines(h *host.Host, path string, each func(line []byte) bool) error {
	var rest []byte // the beginning of a line that the next piece ends
	more := true
	err := streamFile(h, path, func(piece []byte) bool {
		rest = append(rest, piece...)
		end := bytes.LastIndexByte(rest, '\n') + 1
		if end == 0 && len(rest) > maxLine {
			end = len(rest)
		}
		for line := range bytes.Lines(rest[:end]) {
			if more = each(line); !more {
				return false
			}
		}
		rest = append(rest[:0], rest[end:]...)
		return true
	})
	if err == nil && more && len(rest) > 0 {
		each(rest)
	}
	return err
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
