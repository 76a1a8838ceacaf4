// Package journal is where log records come from.
package journal

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxLine bounds a line, in bytes: what is longer is cut and its rest skipped.
const maxLine = 64 << 10

// TextLog follows a plain log file, by a path without links, by polling: through rename and re-creation
// (the old file is read to its end first), truncation, and absence.
type TextLog struct {
	path    string
	file    *os.File
	offset  int64
	inode   uint64
	since   time.Time // when the following began
	partial []byte    // a line whose end has not been written yet
	skip    bool      // in the rest of a line that was too long
	buf     []byte
}

// TextCursor is how far a file was read: a restart goes on there.
type TextCursor struct {
	Inode  uint64 `json:"inode"`
	Offset int64  `json:"offset"` // of the first byte of a line that was not handed over
	// Since, of a file that has not been there yet, is when it was looked for first.
	Since time.Time `json:"since,omitzero"`
}

// Cursor is how far the file has been read.
func (l *TextLog) Cursor() TextCursor {
	if l.inode == 0 {
		return TextCursor{Since: l.since}
	}
	return TextCursor{Inode: l.inode, Offset: l.offset - int64(len(l.partial))}
}

func newTextLog(path string) *TextLog {
	// The time of files may lag behind the clock by a tick of the kernel.
	return &TextLog{path: path, buf: make([]byte, 32<<10), since: time.Now().Add(-10 * time.Millisecond)}
}

// ResumeTextLog follows the file at path from a cursor. If it was rotated since,
// the rest of the old file is read first, and those that came between, as far as
// they still stand beside it uncompressed; if it was truncated or is another
// one, it is read from its beginning.
func ResumeTextLog(path string, c TextCursor) (*TextLog, error) {
	l := newTextLog(path)
	if c.Inode == 0 {
		l.since = c.Since
		return l, nil // the next poll finds what has come since
	}
	for _, p := range rotated(path) {
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
	err := l.open(path)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	return l, err
}

// rotated are the file at path and those that log rotation has made of it
// (path.1, path-20060102, path.20060102-150405), the oldest first.
func rotated(path string) []string {
	type version struct {
		path    string
		written time.Time
	}
	var found []version
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return []string{path}
	}
	base := filepath.Base(path)
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), base)
		if !ok || rest != "" && rest[0] != '.' && rest[0] != '-' || slices.Contains(compressed(), filepath.Ext(rest)) {
			continue
		}
		if st, err := e.Info(); err == nil {
			found = append(found, version{filepath.Join(filepath.Dir(path), e.Name()), st.ModTime()})
		}
	}
	slices.SortStableFunc(found, func(a, b version) int {
		// The file itself is the newest, also if nothing was written to it yet.
		return cmp.Or(truth(a.path == path)-truth(b.path == path), a.written.Compare(b.written))
	})
	var paths []string
	for _, v := range found {
		paths = append(paths, v.path)
	}
	return paths
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

func compressed() []string { return []string{".gz", ".xz", ".bz2", ".zst", ".lz4"} }

// NewTextLog follows the file at path from its end minus back bytes (0: from
// its end). The first line seen then may be half a line, and is dropped.
func NewTextLog(path string, back int64) (*TextLog, error) {
	l := newTextLog(path)
	if err := l.open(l.path); err != nil {
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

// Move goes on at another path, where a link that named the file leads to now. The
// rest of the old file is read first.
func (l *TextLog) Move(path string) { l.path = path }

// openNoLink opens the file at path if no link is on the way (openat2(2), since
// Linux 5.6), or, failing that, if it is none itself. Whoever follows a log has
// resolved the links; a new one may have been put there since, by somebody who
// may write there and would like us to read what he may not.
func openNoLink(path string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		fd, err = unix.Open(path, flags|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openRegular opens a file that is one: a FIFO or a device in its place would
// make the reader wait.
func openRegular(path string) (*os.File, error) {
	f, err := openNoLink(path)
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

func (l *TextLog) open(path string) error {
	f, err := openRegular(path)
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
		// It was not there at the last poll. Since then it may have come, and been
		// rotated already.
		if err := l.open(l.next()); err != nil {
			return err
		}
	}
	for {
		if err := l.drain(line); err != nil {
			return err
		}
		st, err := os.Stat(l.path)
		if err == nil && inode(st) == l.inode {
			return nil
		}
		// Renamed or removed: read what was still written to the old file.
		if err := l.drain(line); err != nil {
			return err
		}
		if len(l.partial) > 0 {
			line(l.partial)
		}
		next := l.next()
		l.Close()
		err = l.open(next)
		if errors.Is(err, os.ErrNotExist) && next != l.path {
			err = l.open(l.path) // it was removed meanwhile
		}
		if err != nil {
			return err
		}
	}
}

// next is the file that was written after the last one that was open, if any,
// else the first that was written since we follow: the one at path, or an older
// one, if it was rotated meanwhile.
func (l *TextLog) next() string {
	family := rotated(l.path)
	for i, p := range family {
		st, err := os.Stat(p)
		switch {
		case err != nil:
		case l.inode == 0 && !st.ModTime().Before(l.since):
			return p
		case l.inode != 0 && inode(st) == l.inode && i+1 < len(family):
			return family[i+1]
		}
	}
	return l.path
}

func (l *TextLog) drain(line func([]byte)) error {
	if st, err := l.file.Stat(); err == nil && st.Size() < l.offset {
		l.offset, l.partial, l.skip = 0, nil, false // truncated in place
	}
	for {
		n, err := l.file.ReadAt(l.buf, l.offset)
		l.split(l.buf[:n], line)
		if errors.Is(err, io.EOF) || n == 0 && err == nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// split hands over the lines that end in b, which stands at the offset. During the call
// for a line the cursor stands before it.
func (l *TextLog) split(b []byte, line func([]byte)) {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			if !l.skip {
				l.partial = append(l.partial, b[:min(len(b), maxLine-len(l.partial))]...)
			}
			l.offset += int64(len(b))
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
		l.offset += int64(i + 1)
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
