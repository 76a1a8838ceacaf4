package journalfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// storage is where a journald of a test keeps its journal.
type storage struct{ memory, disk string }

func newStorage(t *testing.T) storage {
	root := t.TempDir()
	return storage{filepath.Join(root, "run/log/journal"), filepath.Join(root, "var/log/journal")}
}

func (s storage) inMemory() string { return filepath.Join(s.memory, machine, "system.journal") }
func (s storage) onDisk() string   { return filepath.Join(s.disk, machine, "system.journal") }

func (s storage) reader(t *testing.T, c Cursor) *Reader {
	r := newReader(t, Options{}, s.disk, s.memory)
	r.SeekCursor(c)
	return r
}

// anew is the cursor of r as it is read from a file after a restart.
func anew(t *testing.T, r *Reader) (c Cursor) {
	t.Helper()
	b, err := json.Marshal(r.Cursor())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFlushToDisk: journald copies what it kept in memory to the disk; copies
// are not handed over again, before and after a restart.
func TestFlushToDisk(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			s := newStorage(t)
			m, d := newBuilder(1, true), newBuilder(2, true)
			m.write(t, s.inMemory())
			r := s.reader(t, Cursor{})
			equal(t, next(t, r), nil)
			for i := range 10 {
				m.say(uint64(i), fmt.Sprintf("m %d", i))
			}
			m.write(t, s.inMemory())
			equal(t, next(t, r), numbered(0, 10))
			for i := 10; i < 15; i++ {
				m.say(uint64(i), fmt.Sprintf("m %d", i))
			}
			m.write(t, s.inMemory())
			if restart {
				r = s.reader(t, anew(t, r))
			}
			for i := range 20 {
				d.say(uint64(i), fmt.Sprintf("m %d", i))
			}
			d.write(t, s.onDisk())
			equal(t, next(t, r), numbered(10, 20))
			if err := os.RemoveAll(s.memory); err != nil {
				t.Fatal(err)
			}
			d.say(20, "m 20")
			d.write(t, s.onDisk())
			equal(t, next(t, r), numbered(20, 21))
		})
	}
}

// TestFlushDuringAPoll: the copies are seen before the originals. journald has
// begun to copy; we have looked how far the file in memory goes when it writes
// some more and copies that, too, before we look at the file on the disk.
func TestFlushDuringAPoll(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			s := newStorage(t)
			m, d := newBuilder(1, true), newBuilder(2, true)
			say := func(w *builder, from, to int) {
				for i := from; i < to; i++ {
					w.say(uint64(1000+i/3), fmt.Sprintf("m %d", i)) // three records a µs
				}
			}
			say(m, 0, 19)
			say(d, 0, 1)
			m.write(t, s.inMemory())
			d.write(t, s.onDisk())
			r := s.reader(t, Cursor{})
			var got []string
			if _, err := r.Next(func(rec *journal.Record) error {
				if got = append(got, string(rec.Message)); len(got) == 1 {
					say(m, 19, 151)
					say(d, 1, 151)
					m.write(t, s.inMemory())
					d.write(t, s.onDisk())
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			equal(t, got, numbered(0, 151)) // so the copies were seen
			if restart {
				r = s.reader(t, anew(t, r))
			}
			equal(t, next(t, r), nil)
			say(m, 151, 154)
			m.write(t, s.inMemory())
			equal(t, next(t, r), numbered(151, 154))
			if restart {
				r = s.reader(t, anew(t, r))
			}
			say(d, 151, 160)
			d.write(t, s.onDisk())
			equal(t, next(t, r), numbered(154, 160))
		})
	}
}

// TestNamespacesAreApart: each journal namespace has a journald of its own; what
// one keeps in memory is no copy of what another has on the disk.
func TestNamespacesAreApart(t *testing.T) {
	s := newStorage(t)
	m, d := newBuilder(1, true), newBuilder(2, true)
	for i := range 20 {
		m.say(uint64(10*i), fmt.Sprintf("m %d", i))
	}
	m.write(t, s.inMemory())
	d.write(t, filepath.Join(s.disk, machine+".space", "system.journal"))
	r := s.reader(t, Cursor{})
	equal(t, next(t, r), numbered(0, 20))
	for i := range 5 {
		d.say(uint64(10*i), fmt.Sprintf("m %d", i))
	}
	d.write(t, filepath.Join(s.disk, machine+".space", "system.journal"))
	equal(t, next(t, r), numbered(0, 5))
}

// TestFlushAnywhere: whatever journald does between two reads of a file, each
// record is handed over once: to a reader that follows, and to one that is
// stopped in the middle of a poll and started anew.
func TestFlushAnywhere(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newStorage(t)
			d := &journald{t: t, storage: s, rnd: rand.New(rand.NewPCG(seed, 1))}
			d.relinquish()
			follower := s.reader(t, Cursor{})
			var saved Cursor
			got := [2]map[string]int{{}, {}}
			stop := errors.New("enough")
			for range 120 {
				for range d.rnd.IntN(12) {
					d.step()
				}
				restarted := s.reader(t, saved)
				for i, r := range []*Reader{follower, restarted} {
					end := d.rnd.IntN(60)
					if _, err := r.Next(func(rec *journal.Record) error {
						if end--; end < 0 {
							return stop
						}
						got[i][string(rec.Message)]++
						if d.rnd.IntN(4) == 0 {
							d.step()
						}
						return nil
					}); err != nil && !errors.Is(err, stop) {
						t.Fatal(err)
					}
				}
				saved = anew(t, restarted)
				restarted.Close()
			}
			for i, r := range []*Reader{follower, s.reader(t, saved)} {
				for _, m := range next(t, r) {
					got[i][m]++
				}
			}
			for i, got := range got {
				for n := range d.said {
					if m := fmt.Sprintf("m %d", n); got[m] != 1 {
						t.Errorf("reader %d: %q came %d times", i, m, got[m])
					}
				}
			}
			if d.flushes < 3 || d.said < 100 {
				t.Fatalf("only %d flushes and %d records", d.flushes, d.said)
			}
		})
	}
}

// journald does what journald does, at random.
type journald struct {
	storage
	t             *testing.T
	rnd           *rand.Rand
	said, flushes int
	files         int // so many were begun
	clock         uint64
	memory, disk  *builder
	inPhase       []uint64 // the times of the records in memory, of which
	from          int      // the first has this number
	copied        int      // copied to the disk; -1: it is not being flushed
}

func (j *journald) step() {
	switch n := j.rnd.IntN(40); {
	case j.memory != nil && j.copied >= 0:
		j.flushOne()
	case n == 0 && j.memory != nil:
		j.copied = 0
		if j.disk == nil {
			j.disk = j.begin(nil)
			j.disk.write(j.t, j.onDisk())
		}
	case n == 1 && j.memory == nil:
		j.relinquish()
	case n == 2 && j.memory != nil:
		archive(j.t, j.memory, j.inMemory(), j.files)
		j.memory = j.begin(j.memory)
		j.memory.write(j.t, j.inMemory())
	case n == 3 && j.disk != nil:
		j.rotateDisk()
	default:
		j.log()
	}
}

// begin begins a file that goes on where another one ends, if there is one.
func (j *journald) begin(after *builder) *builder {
	j.files++
	w := newBuilder(byte(j.files), true)
	w.b[25] = byte(j.files >> 8)
	if after != nil {
		w.seqnum = after.seqnum
	}
	return w
}

// log writes a record; several have the same time, as those of one turn of
// journald's loop have.
func (j *journald) log() {
	j.clock += uint64(j.rnd.IntN(3)) / 2
	w, path := j.disk, j.onDisk()
	if j.memory != nil {
		w, path = j.memory, j.inMemory()
		j.inPhase = append(j.inPhase, j.clock)
	}
	w.say(1000+j.clock, fmt.Sprintf("m %d", j.said))
	w.write(j.t, path)
	j.said++
}

// flushOne copies one record to the disk, and ends the flush after the last one.
func (j *journald) flushOne() {
	if j.copied < len(j.inPhase) {
		j.disk.say(1000+j.inPhase[j.copied], fmt.Sprintf("m %d", j.from+j.copied))
		j.disk.write(j.t, j.onDisk())
		j.copied++
		if j.rnd.IntN(40) == 0 {
			j.rotateDisk()
		}
		return
	}
	if err := os.RemoveAll(j.storage.memory); err != nil {
		j.t.Fatal(err)
	}
	j.memory, j.inPhase, j.copied = nil, nil, -1
	j.flushes++
	j.clock++ // another turn of the loop
}

func (j *journald) rotateDisk() {
	archive(j.t, j.disk, j.onDisk(), j.files)
	j.disk.write(j.t, filepath.Join(j.storage.disk, machine, fmt.Sprintf("system@%032x-%016x-%016x.journal", 7, j.files, j.files)))
	j.disk = j.begin(j.disk)
	j.disk.write(j.t, j.onDisk())
}

// relinquish begins anew in memory.
func (j *journald) relinquish() {
	j.clock++
	j.memory, j.copied, j.from = j.begin(nil), -1, j.said
	j.memory.write(j.t, j.inMemory())
}

func TestFlushesAreForgotten(t *testing.T) {
	r := newReader(t, Options{}, t.TempDir())
	f := &followed{found: found{path: "/run/log/journal/x/system.journal"}}
	r.files = append(r.files, f)
	for i := range byte(40) {
		l := r.flush(f, ID{i})
		if l != r.flush(f, ID{i}) || l != r.flush(&followed{found: f.found}, ID{i}) {
			t.Fatal("another one at the second look")
		}
		r.flush(&followed{found: f.found}, ID{0}).Memory.To++ // in use all the time
	}
	boots := map[byte]uint64{}
	for _, l := range r.Cursor().Flushes {
		boots[l.Boot[0]] = l.Memory.To
	}
	if got := slices.Sorted(maps.Keys(boots)); len(got) != maxFlushes || got[0] != 0 || got[1] != 25 || boots[0] != 40 {
		t.Fatalf("%v", boots)
	}
}
