package journalfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// source is where a file's bytes come from.
type source interface {
	// readAt reads up to len(b) bytes at off; 0 bytes is the end.
	readAt(b []byte, off int64) (int, error)
	size() (uint64, error)
	close()
}

// descriptor is an open file.
type descriptor struct{ fd int }

// openDescriptor opens the file at path, which must be a regular one.
func openDescriptor(path string) (*descriptor, error) {
	// O_NONBLOCK: a FIFO that stands where a file should is no reason to hang.
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	d := &descriptor{fd}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		d.close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNotJournal}
	}
	return d, nil
}

func (d *descriptor) readAt(b []byte, off int64) (int, error) {
	return retry(func() (int, error) { return unix.Pread(d.fd, b, off) })
}

func (d *descriptor) size() (uint64, error) {
	var st unix.Stat_t
	err := unix.Fstat(d.fd, &st)
	return uint64(max(st.Size, 0)), err
}

func (d *descriptor) close() { _ = unix.Close(d.fd) }

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// scratch is the memory that the files of one reader share.
type scratch struct {
	chunks   chunks
	fields   fieldCache
	inflater inflater
	// inflated says which object the inflater's buffer holds; 0 is none.
	inflated uint64
	spill    []byte // for what lies across two chunks
	items    []uint64
	header   [headerMax]byte
	boots    map[ID]string
	files    uint32 // so many have been opened: the number of the newest
}

func newScratch() *scratch { return &scratch{boots: map[ID]string{}} }

// File is one journal file.
type File struct {
	path   string
	src    source
	number uint32 // among the files of the scratch memory
	header Header
	size   uint64
	active bool // by its name, journald may still write to it
	stale  bool // what was read of it may be outdated, although its header is not
	loss   Loss
	*scratch
}

// Loss says what could not be read. Everything else has been: damage to a list
// may be an error without a loss.
type Loss struct {
	Records uint64 // records that the file holds and that are lost
	Fields  uint64 // unreadable fields of records that were handed over
	First   string // the first error; empty if there was none
}

func (l *Loss) note(err error) {
	if l.First == "" {
		l.First = err.Error()
	}
}

// Open opens the journal file at path. It fails with ErrNotJournal or an
// *UnsupportedError where it must not read on; damage further on is in Loss.
func Open(path string) (*File, error) { return open(path, newScratch()) }

func open(path string, s *scratch) (*File, error) {
	d, err := openDescriptor(path)
	if err != nil {
		return nil, err
	}
	return newFile(path, d, s)
}

// newFile takes src over.
func newFile(path string, src source, s *scratch) (*File, error) {
	f := &File{path: path, src: src, number: s.files + 1, scratch: s, active: activeName(path)}
	if err := f.Refresh(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s.files++
	return f, nil
}

// activeName: archived files are called NAME@SERIES-SEQNUM-TIME.journal, those
// set aside as damaged NAME@TIME-RANDOM.journal~.
func activeName(path string) bool {
	name := filepath.Base(path)
	return !strings.Contains(name, "@") && !strings.HasSuffix(name, "~")
}

// Close closes the file.
func (f *File) Close() {
	f.src.close()
	f.chunks.forget(f.number)
}

// Header is what the file said of itself when it was last refreshed.
func (f *File) Header() Header { return f.header }

// Loss is what could not be read so far.
func (f *File) Loss() Loss { return f.loss }

// live: somebody is writing to it. What is not there yet is then not lost.
func (f *File) live() bool { return f.active && f.header.State == Online }

// Refresh looks at the file anew, for what was written since.
func (f *File) Refresh() error {
	n, err := f.src.readAt(f.scratch.header[:], 0)
	if err != nil {
		return err
	}
	h, err := parseHeader(f.scratch.header[:n])
	if err != nil {
		return err
	}
	if h == f.header {
		if f.stale {
			f.stale = false
			f.chunks.forget(f.number)
		}
		return nil
	}
	// The size is read after the header: it covers all that the header tells of.
	size, err := f.src.size()
	if err != nil {
		return err
	}
	f.header, f.size, f.stale = h, size, false
	f.chunks.forget(f.number)
	return nil
}

// at returns n bytes at off, good until the next call.
func (f *File) at(off, n uint64) ([]byte, error) {
	if off > f.size || n > f.size-off {
		return nil, &damage{off, "beyond the end of the file"}
	}
	first, within := off/chunkSize, off%chunkSize
	if within+n <= chunkSize {
		b, err := f.chunk(first)
		if err != nil {
			return nil, err
		}
		if within+n > uint64(len(b)) {
			return nil, &damage{off, "beyond the end of the file"}
		}
		return b[within : within+n], nil
	}
	if n > maxInflated {
		return nil, &damage{off, "too large"}
	}
	if uint64(cap(f.spill)) < n || cap(f.spill) > keepInflated && n <= keepInflated {
		f.spill = make([]byte, max(n, chunkSize))
	}
	b := f.spill[:n]
	if n > chunkSize {
		return b, f.readFull(b, off)
	}
	head, err := f.chunk(first)
	if err != nil {
		return nil, err
	}
	if len(head) < chunkSize {
		return nil, &damage{off, "beyond the end of the file"}
	}
	copied := copy(b, head[within:])
	tail, err := f.chunk(first + 1)
	if err != nil {
		return nil, err
	}
	if copy(b[copied:], tail) != len(b)-copied {
		return nil, &damage{off, "beyond the end of the file"}
	}
	return b, nil
}

func (f *File) chunk(number uint64) ([]byte, error) {
	tag := chunkTag(f.number, number)
	if b := f.chunks.get(tag); b != nil {
		return b, nil
	}
	return f.chunks.load(tag, f.src, int64(number*chunkSize))
}

func (f *File) readFull(b []byte, off uint64) error {
	for len(b) > 0 {
		n, err := f.src.readAt(b, int64(off))
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		b, off = b[n:], off+uint64(n)
	}
	return nil
}

// object checks the object of a kind at off, and returns its size and flags.
func (f *File) object(off uint64, kind byte, least uint64) (size uint64, flags byte, err error) {
	if off == 0 || off%8 != 0 {
		return 0, 0, &damage{off, "no object can begin here"}
	}
	b, err := f.at(off, objectHeader)
	if err != nil {
		return 0, 0, err
	}
	size = binary.LittleEndian.Uint64(b[8:])
	if b[0] != kind {
		return 0, 0, &damage{off, fmt.Sprintf("an object of type %d where one of type %d should be", b[0], kind)}
	}
	if size < least || size > f.size-off {
		return 0, 0, &damage{off, fmt.Sprintf("an object of %d bytes", size)}
	}
	return size, b[1], nil
}

func (f *File) u64(off uint64) (uint64, error) {
	b, err := f.at(off, 8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// dataHeader is how much of a DATA object precedes its payload.
func (f *File) dataHeader() uint64 {
	if f.header.Compact() {
		return dataHeaderCompact
	}
	return dataHeader
}
