// Package journal is where log records come from.
package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxLine bounds a line, in bytes: what is longer is cut and its rest skipped.
const maxLine = 64 << 10

// TextLog follows a plain log file by polling: through rename and re-creation
// (the old file is read to its end first), truncation, and absence.
type TextLog struct {
	path    string
	file    *os.File
	offset  int64
	inode   uint64
	partial []byte // a line whose end has not been written yet
	skip    bool   // in the rest of a line that was too long
	buf     []byte
}

// TextCursor is how far a file was read: a restart goes on there.
type TextCursor struct {
	Inode  uint64 `json:"inode"`
	Offset int64  `json:"offset"` // of the first byte of a line that was not handed over
}

// Cursor is how far the file has been read.
func (l *TextLog) Cursor() TextCursor {
	return TextCursor{Inode: l.inode, Offset: l.offset - int64(len(l.partial))}
}

// ResumeTextLog follows the file at path from a cursor. If it was rotated since,
// the rest of the old file is read first, where it still stands beside the new
// one (path.1); if it was truncated or is another one, from its beginning.
func ResumeTextLog(path string, c TextCursor) (*TextLog, error) {
	l := &TextLog{path: path, buf: make([]byte, 32<<10)}
	for _, p := range []string{path, path + ".1"} {
		f, err := openRegular(p)
		if err != nil {
			continue
		}
		st, err := f.Stat()
		if err != nil || inode(st) != c.Inode || st.Size() < c.Offset {
			_ = f.Close()
			continue
		}
		l.file, l.inode, l.offset = f, c.Inode, c.Offset
		return l, nil
	}
	err := l.open()
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	return l, err
}

// NewTextLog follows the file at path from its end minus back bytes (0: from
// its end). The first line seen then may be half a line, and is dropped.
func NewTextLog(path string, back int64) (*TextLog, error) {
	l := &TextLog{path: path, buf: make([]byte, 32<<10)}
	if err := l.open(); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return l, nil
		}
		return nil, err
	}
	st, err := l.file.Stat()
	if err != nil {
		return nil, err
	}
	l.offset = max(0, st.Size()-back)
	l.skip = l.offset > 0 && back > 0
	return l, nil
}

// Path is the file's path, as it was given.
func (l *TextLog) Path() string { return l.path }

// openRegular opens a file that is one: a FIFO or a device in its place would
// make the reader wait.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (l *TextLog) open() error {
	f, err := openRegular(l.path)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	l.file, l.offset, l.inode, l.partial, l.skip = f, 0, inode(st), nil, false
	return nil
}

func inode(st os.FileInfo) uint64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

// Poll hands each line that was completed since the last poll to line, without
// its end; the slice is only good during the call.
func (l *TextLog) Poll(line func([]byte)) error {
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	if err := l.drain(line); err != nil {
		return err
	}
	st, err := os.Stat(l.path)
	if err == nil && inode(st) == l.inode {
		return nil
	}
	// Renamed or removed: what was still written to the old file has been read.
	if err := l.drain(line); err != nil {
		return err
	}
	if len(l.partial) > 0 {
		line(l.partial)
	}
	l.Close()
	if err != nil {
		return err
	}
	if err := l.open(); err != nil {
		return err
	}
	return l.drain(line)
}

func (l *TextLog) drain(line func([]byte)) error {
	if st, err := l.file.Stat(); err == nil && st.Size() < l.offset {
		l.offset, l.partial, l.skip = 0, nil, false // truncated in place
	}
	for {
		n, err := l.file.ReadAt(l.buf, l.offset)
		l.offset += int64(n)
		l.split(l.buf[:n], line)
		if errors.Is(err, io.EOF) || n == 0 && err == nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (l *TextLog) split(b []byte, line func([]byte)) {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			if !l.skip {
				l.partial = append(l.partial, b[:min(len(b), maxLine-len(l.partial))]...)
			}
			return
		}
		if !l.skip {
			full := b[:i]
			if len(l.partial) > 0 {
				full = append(l.partial, full[:min(i, maxLine-len(l.partial))]...)
			}
			line(bytes.TrimSuffix(full, []byte("\r")))
		}
		l.partial, l.skip = l.partial[:0], false
		b = b[i+1:]
	}
}

// Close ends the following.
func (l *TextLog) Close() {
	if l.file != nil {
		_ = l.file.Close()
		l.file, l.partial = nil, nil
	}
}
