package journalfile

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// builder writes small journal files as journald does, a record at a time, so
// that tests can say what happens when. (That its files are like real ones is
// not relied upon: other tests read what systemd has written.)
type builder struct {
	b       []byte
	compact bool
	data    map[string]uint64
	fields  map[string]uint64
	tails   map[uint64]uint64 // the last array of each list, by the list's DATA object; 0: all records
	seqnum  uint64
}

const (
	builderBuckets = 8
	builderSlots   = 4 // in the first array of a list; later ones double
)

func newBuilder(id byte, compact bool) *builder {
	w := &builder{compact: compact, data: map[string]uint64{}, fields: map[string]uint64{}, tails: map[uint64]uint64{}}
	w.b = make([]byte, headerMax)
	copy(w.b, signature)
	flags := uint32(flagKeyedHash | flagZSTD)
	if compact {
		flags |= flagCompact
	}
	binary.LittleEndian.PutUint32(w.b[12:], flags)
	w.state(Online)
	w.b[24], w.b[72] = id, 7 // file ID, series
	w.put(88, headerMax)
	table := w.object(5, objectHeader+builderBuckets*16)
	w.put(120, table+objectHeader)
	w.put(128, builderBuckets*16)
	return w
}

func (w *builder) state(s State)        { w.b[16] = byte(s) }
func (w *builder) put(at, v uint64)     { binary.LittleEndian.PutUint64(w.b[at:], v) }
func (w *builder) get(at uint64) uint64 { return binary.LittleEndian.Uint64(w.b[at:]) }
func (w *builder) entries() uint64      { return w.get(152) }
func (w *builder) slotAt(at, off uint64) { // a slot of a list
	if w.compact {
		binary.LittleEndian.PutUint32(w.b[at:], uint32(off))
		return
	}
	w.put(at, off)
}

func (w *builder) width() uint64 {
	if w.compact {
		return 4
	}
	return 8
}

func (w *builder) object(kind byte, size uint64) uint64 {
	off := uint64(len(w.b))
	w.b = append(w.b, make([]byte, (size+7)&^7)...)
	w.b[off] = kind
	w.put(off+8, size)
	w.put(136, off)
	return off
}

func (w *builder) field(name string) uint64 {
	if off, ok := w.fields[name]; ok {
		return off
	}
	off := w.object(typeField, uint64(fieldHeader+len(name)))
	copy(w.b[off+fieldHeader:], name)
	bucket := w.get(120) + uint64(len(name)%builderBuckets)*16
	if tail := w.get(bucket + 8); tail == 0 {
		w.put(bucket, off)
	} else {
		w.put(tail+24, off)
	}
	w.put(bucket+8, off)
	w.fields[name] = off
	return off
}

func (w *builder) datum(text string) uint64 {
	if off, ok := w.data[text]; ok {
		return off
	}
	name, _, _ := strings.Cut(text, "=")
	field := w.field(name)
	header := uint64(dataHeader)
	if w.compact {
		header = dataHeaderCompact
	}
	off := w.object(typeData, header+uint64(len(text)))
	copy(w.b[off+header:], text)
	w.put(off+32, w.get(field+32))
	w.put(field+32, off)
	w.data[text] = off
	return off
}

// link appends entry to a list whose first array is noted at `at`.
func (w *builder) link(list, at, index, entry uint64) {
	array := w.tails[list]
	for first, n := uint64(0), uint64(builderSlots); ; first, n = first+n, 2*n {
		if index >= first+n {
			continue
		}
		if index == first {
			fresh := w.object(typeEntryArray, entryArrayHeader+n*w.width())
			if first == 0 {
				w.put(at, fresh)
			} else {
				w.put(array+objectHeader, fresh)
			}
			w.tails[list], array = fresh, fresh
		}
		w.slotAt(array+entryArrayHeader+(index-first)*w.width(), entry)
		return
	}
}

// add writes a record.
func (w *builder) add(real, mono uint64, boot byte, fields ...string) {
	var items []uint64
	for _, f := range fields {
		items = append(items, w.datum(f))
	}
	width := uint64(16)
	if w.compact {
		width = 4
	}
	off := w.object(typeEntry, entryHeader+width*uint64(len(items)))
	w.seqnum++
	w.put(off+16, w.seqnum)
	w.put(off+24, real)
	w.put(off+32, mono)
	w.b[off+40] = boot
	for i, item := range items {
		w.slotAt(off+entryHeader+uint64(i)*width, item)
	}
	n := w.entries()
	w.link(0, 176, n, off)
	for _, d := range items {
		uses := w.get(d + 56)
		if uses == 0 {
			w.put(d+40, off)
		} else {
			w.link(d, d+48, uses-1, off)
		}
		w.put(d+56, uses+1)
	}
	if n == 0 {
		w.put(168, w.seqnum)
		w.put(184, real)
	}
	w.put(160, w.seqnum)
	w.put(192, real)
	w.put(152, n+1)
}

// say adds a record of kubelet with message text; its time is µs 1e15 + at.
func (w *builder) say(at uint64, text string) {
	w.add(1e15+at, at, 1, "_TRANSPORT=stdout", "_PID=7", "_SYSTEMD_UNIT=kubelet.service", "SYSLOG_IDENTIFIER=kubelet", "MESSAGE="+text)
}

// write puts the file as it is now at path, in place.
func (w *builder) write(t testing.TB, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt(w.b, 0); err != nil {
		t.Fatal(err)
	}
}

// next is one poll: the messages it handed over.
func next(t testing.TB, r *Reader) []string {
	t.Helper()
	var got []string
	n, err := r.Next(func(rec *journal.Record) error {
		got = append(got, string(rec.Message))
		return nil
	})
	if err != nil || n != len(got) {
		t.Fatalf("%d records said, %d handed over: %v", n, len(got), err)
	}
	return got
}

// numbered are the messages "m FROM" … "m TO-1".
func numbered(from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("m %d", i))
	}
	return all
}
