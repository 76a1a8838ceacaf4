package journalfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/test/unprivileged"
)

const machine = "fedcba9876543210fedcba9876543210"

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %d records %.300q, want %d %.300q", len(got), got, len(want), want)
	}
}

func newReader(t *testing.T, o Options, dirs ...string) *Reader {
	t.Helper()
	r := NewReader(dirs, o)
	t.Cleanup(r.Close)
	return r
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// archive does what journald does when it rotates.
func archive(t *testing.T, w *builder, path string, n int) {
	t.Helper()
	rename(t, path, strings.TrimSuffix(path, ".journal")+fmt.Sprintf("@%032x-%016x-%016x.journal", 7, n, n))
	w.state(Archived)
}

func TestFollowRotationAndVacuum(t *testing.T) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprintf("compact %v", compact), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, machine, "system.journal")
			w := newBuilder(1, compact)
			w.write(t, path)
			r := newReader(t, Options{}, dir)
			equal(t, next(t, r), nil)
			n := 0
			say := func(k int) []string {
				from := n
				for range k {
					w.say(uint64(1000*n), fmt.Sprintf("m %d", n))
					n++
				}
				return numbered(from, n)
			}
			for _, k := range []int{1, 3, 0, 1, 7, 100} {
				want := say(k)
				w.write(t, path)
				equal(t, next(t, r), want)
			}
			// Rotated between two polls, with records on both sides.
			want := say(5)
			w.write(t, path)
			archive(t, w, path, 1)
			first := filepath.Join(dir, machine)
			w = newBuilder(2, compact)
			want = append(want, say(4)...)
			w.write(t, path)
			equal(t, next(t, r), want)
			// Rotated, and the old file removed at once: the open file is read to its end.
			want = say(2)
			w.write(t, path)
			if err := os.RemoveAll(first); err != nil {
				t.Fatal(err)
			}
			w = newBuilder(3, compact)
			want = append(want, say(2)...)
			w.write(t, path)
			equal(t, next(t, r), want)
			if h := r.Health(time.UnixMicro(1e15).Add(time.Minute)); h.Blind != "" || h.Loss != (Loss{}) || h.Files != 1 || h.Records != uint64(n) {
				t.Fatalf("%+v, %d records", h, n)
			}
		})
	}
}

// TestRestartAnywhere: a reader that is stopped at any time, in the middle of a
// poll too, and started with its cursor reads on exactly where it stopped.
func TestRestartAnywhere(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	path := filepath.Join(dir, machine, "system.journal")
	var got []string
	w, n, files := newBuilder(1, true), 0, byte(1)
	w.write(t, path)
	state := []byte("{}")
	for range 300 {
		for range rnd.IntN(20) {
			w.say(uint64(1000*n), fmt.Sprintf("m %d", n))
			n++
		}
		w.write(t, path)
		if rnd.IntN(5) == 0 {
			archive(t, w, path, n)
			files++
			w = newBuilder(files, rnd.IntN(2) == 0)
			w.write(t, path)
		}
		var c Cursor
		if err := json.Unmarshal(state, &c); err != nil {
			t.Fatal(err)
		}
		r := NewReader([]string{dir}, Options{})
		r.SeekCursor(c)
		r.SeekTime(time.UnixMicro(2e15)) // for a first start, and without effect later
		if len(c.Files) == 0 {
			r.SeekTime(time.Time{})
		}
		stop, enough := rnd.IntN(40), errors.New("enough")
		if _, err := r.Next(func(rec *journal.Record) error {
			if stop--; stop < 0 {
				return enough
			}
			got = append(got, string(rec.Message))
			return nil
		}); err != nil && !errors.Is(err, enough) {
			t.Fatal(err)
		}
		var err error
		if state, err = json.Marshal(r.Cursor()); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	var c Cursor
	if err := json.Unmarshal(state, &c); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, Options{}, dir)
	r.SeekCursor(c)
	got = append(got, next(t, r)...)
	equal(t, got, numbered(0, n))
	if files < 10 {
		t.Fatalf("only %d files", files)
	}
}

// TestLateSlot: the number of records may be visible before the last record is
// (memory order, on arm64): it is waited for, and lost only if it never comes.
func TestLateSlot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "system.journal")
	w := newBuilder(1, false)
	for i := range 10 {
		w.say(uint64(i), fmt.Sprintf("m %d", i))
	}
	slot := w.tails[0] + entryArrayHeader + (9-builderSlots)*w.width()
	off := w.get(slot)
	w.put(slot, 0)
	w.write(t, path)
	r := newReader(t, Options{}, filepath.Dir(path))
	equal(t, next(t, r), numbered(0, 9))
	equal(t, next(t, r), nil)
	w.put(slot, off)
	w.write(t, path)
	equal(t, next(t, r), numbered(9, 10))
	w.say(10, "m 10")
	slot += w.width()
	off = w.get(slot)
	w.put(slot, 0)
	w.write(t, path)
	equal(t, next(t, r), nil)
	w.say(11, "m 11")
	w.write(t, path)
	equal(t, next(t, r), numbered(11, 12))
	if h := r.Health(time.Now()); h.Loss.Records != 1 || !strings.Contains(h.Loss.First, "empty slot") {
		t.Fatalf("%+v (slot %#x)", h.Loss, off)
	}
}

func TestMergeOfFilesAndMachines(t *testing.T) {
	dir := t.TempDir()
	var want []string
	files := []*builder{newBuilder(1, true), newBuilder(2, false), newBuilder(3, true)}
	for i := range 300 {
		files[i*7%3].say(uint64(i), fmt.Sprintf("m %d", i))
		want = append(want, fmt.Sprintf("m %d", i))
	}
	files[0].write(t, filepath.Join(dir, machine, "system.journal"))
	files[1].write(t, filepath.Join(dir, machine, "user-1000.journal"))
	files[2].write(t, filepath.Join(dir, strings.Repeat("ab", 16)+".space", "system@0005f-00.journal~"))
	files[2].write(t, filepath.Join(dir, "remote", "remote-node-2.journal")) // of another machine
	r := newReader(t, Options{}, dir)
	equal(t, next(t, r), want)
	if h := r.Health(time.Now()); h.Files != 3 {
		t.Fatalf("%+v", h)
	}
	// A copy of a file is not another file.
	files[0].write(t, filepath.Join(dir, machine, "copy.journal"))
	equal(t, next(t, r), nil)
}

func TestSeekTime(t *testing.T) {
	dir := t.TempDir()
	old, now := newBuilder(1, true), newBuilder(2, true)
	for i := range 100 {
		old.say(uint64(1000*i), fmt.Sprintf("m %d", i))
	}
	for i := 100; i < 200; i++ {
		now.say(uint64(1000*i), fmt.Sprintf("m %d", i))
	}
	for from, at := range map[int]uint64{0: 0, 1: 1, 57: 57_000, 100: 99_500, 150: 150_000, 199: 199_000, 200: 200_000} {
		old.state(Archived)
		old.write(t, filepath.Join(dir, "system@00-00.journal"))
		now.write(t, filepath.Join(dir, "system.journal"))
		r := newReader(t, Options{}, dir)
		r.SeekTime(time.UnixMicro(int64(1e15 + at)))
		equal(t, next(t, r), numbered(from, 200))
	}
}

func TestPollsWithoutGarbage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "system.journal")
	w := newBuilder(1, true)
	w.say(0, "m 0")
	w.write(t, path)
	now := time.Now()
	r := newReader(t, Options{Now: func() time.Time { return now.Add(10 * time.Second) }}, dir)
	next(t, r)
	visit := func(*journal.Record) error { return nil }
	if n := testing.AllocsPerRun(100, func() {
		if _, err := r.Next(visit); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("an idle poll makes %v allocations", n)
	}
	// Nor does a poll that finds one record like those before.
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var states [][]byte
	for range 150 {
		w.say(5, "m 0")
		states = append(states, slices.Clone(w.b))
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := f.WriteAt(states[0], 0); err != nil {
			t.Error(err)
		}
		states = states[1:]
		if n, err := r.Next(visit); err != nil || n != 1 {
			t.Errorf("%d records, %v", n, err)
		}
	}); n > 0 {
		t.Errorf("a poll with one record makes %v allocations", n)
	}
}

func TestHealth(t *testing.T) {
	now := time.UnixMicro(1e15).Add(time.Minute)
	good := func(t *testing.T, dir string) {
		w := newBuilder(1, true)
		w.say(0, "m 0")
		w.write(t, filepath.Join(dir, machine, "system.journal"))
	}
	for name, tc := range map[string]struct {
		make  func(t *testing.T, dir string)
		after time.Duration
		blind string
		told  string // among the problems
	}{
		"all is well": {make: good},
		"empty":       {make: func(*testing.T, string) {}, blind: "no journal files in "},
		"stands still": {
			make: good, after: 3 * time.Hour, blind: "no record for 3h1m0s: the newest is of 2001-09-09T01:46:40Z",
		},
		"unknown flag": {make: func(t *testing.T, dir string) {
			w := newBuilder(1, true)
			w.b[12] |= 0x40
			w.write(t, filepath.Join(dir, machine, "system.journal"))
		}, blind: "/system.journal uses unknown incompatible flag 0x40: written by a newer systemd"},
		"an old file of another make": {make: func(t *testing.T, dir string) {
			good(t, dir)
			w := newBuilder(2, true)
			w.b[13] |= 0x3
			w.write(t, filepath.Join(dir, machine, "system@00-00.journal"))
		}, told: "uses unknown incompatible flag 0x100, 0x200"},
		"no journal at all": {make: func(t *testing.T, dir string) {
			good(t, dir)
			if err := os.WriteFile(filepath.Join(dir, "x.journal"), []byte(strings.Repeat("no journal", 100)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, blind: "x.journal is not readable: not a journal file"},
		"a folder in place of a file": {make: func(t *testing.T, dir string) {
			good(t, dir)
			if err := os.Mkdir(filepath.Join(dir, "x@y.journal"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, told: "x@y.journal is not readable: not a journal file"},
		"too new": {make: func(t *testing.T, dir string) {
			good(t, dir)
			if err := os.WriteFile(filepath.Join(dir, "user-0.journal"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		"a file in place of the folder": {make: func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, blind: " is not readable: not a directory"},
		"no right to read": {make: func(t *testing.T, dir string) {
			unprivileged.Test(t)
			good(t, dir)
			if err := os.Chmod(filepath.Join(dir, machine, "system.journal"), 0); err != nil {
				t.Fatal(err)
			}
		}, blind: "system.journal is not readable: permission denied"},
		"no right to the folder": {make: func(t *testing.T, dir string) {
			unprivileged.Test(t)
			if err := os.Chmod(dir, 0); err != nil {
				t.Fatal(err)
			}
		}, blind: "journal is not readable: permission denied"},
		"damaged": {make: func(t *testing.T, dir string) {
			w := newBuilder(1, true)
			for i := range 10 {
				w.say(uint64(i), "x")
			}
			put32(w, w.tails[0]+entryArrayHeader+4, 12)
			w.write(t, filepath.Join(dir, "system.journal"))
		}, told: "system.journal: damaged at offset 0xc: no object can begin here; 1 records and 0 fields lost"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "journal")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			tc.make(t, dir)
			r := newReader(t, Options{}, dir)
			next(t, r)
			h := r.Health(now.Add(tc.after))
			if (h.Blind == "") != (tc.blind == "") || !strings.Contains(h.Blind, tc.blind) {
				t.Errorf("blind: %q, want %q", h.Blind, tc.blind)
			}
			if all := strings.Join(h.Problems, "\n"); !strings.Contains(all, tc.told) || tc.told == "" && tc.blind == "" && all != "" {
				t.Errorf("problems: %q, want %q", h.Problems, tc.told)
			}
		})
	}
}

func put32(w *builder, at uint64, v uint32) {
	for i := range 4 {
		w.b[at+uint64(i)] = byte(v >> (8 * i))
	}
}

func TestRemovedBeforeRead(t *testing.T) {
	dir := t.TempDir()
	w := newBuilder(1, true)
	for i := range 10 {
		w.say(uint64(i), fmt.Sprintf("m %d", i))
	}
	path := filepath.Join(dir, "system@00-00.journal")
	w.state(Archived)
	w.write(t, path)
	r := newReader(t, Options{}, dir)
	n, enough := 0, errors.New("enough")
	if _, err := r.Next(func(*journal.Record) error {
		if n++; n > 4 {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	// With the file open, the rest is still read.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	equal(t, next(t, r), numbered(4, 10))
	if h := r.Health(time.Now()); h.Loss != (Loss{}) || h.Files != 0 {
		t.Fatalf("%+v", h)
	}
}

func TestSuppressedMessagesAreCounted(t *testing.T) {
	dir := t.TempDir()
	w := newBuilder(1, true)
	for i, text := range []string{"Suppressed 17 messages from kubelet.service", "Journal started", "Suppressed 5 messages from init.scope"} {
		w.add(1e15+uint64(i), uint64(i), 1, "SYSLOG_IDENTIFIER=systemd-journald", "MESSAGE="+text)
	}
	w.say(9, "Suppressed 1000 messages from me")
	w.write(t, filepath.Join(dir, "system.journal"))
	r := newReader(t, Options{}, dir)
	next(t, r)
	if h := r.Health(time.Now()); h.Suppressed != 22 {
		t.Fatalf("%d", h.Suppressed)
	}
}

// TestMissedByOneListing: a file that is renamed while its folder is listed can
// be missed under both names. When it is back it is not read anew, not even by a
// reader that was started meanwhile.
func TestMissedByOneListing(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "x")
	path := filepath.Join(dir, "system.journal")
	w := newBuilder(1, true)
	for i := range 10 {
		w.say(uint64(i), fmt.Sprintf("m %d", i))
	}
	w.write(t, path)
	newBuilder(2, true).write(t, filepath.Join(dir, "user-1.journal"))
	r := newReader(t, Options{}, dir)
	equal(t, next(t, r), numbered(0, 10))
	rename(t, path, elsewhere)
	equal(t, next(t, r), nil)
	again := newReader(t, Options{}, dir)
	again.SeekCursor(r.Cursor())
	equal(t, next(t, again), nil)
	w.say(10, "m 10")
	w.write(t, elsewhere)
	rename(t, elsewhere, filepath.Join(dir, "system@00-00.journal"))
	equal(t, next(t, r), numbered(10, 11))
	equal(t, next(t, again), numbered(10, 11))
}

// TestRestartInADamagedFile: also where records had to be found without a list,
// a restart neither loses nor repeats any.
func TestRestartInADamagedFile(t *testing.T) {
	dir := t.TempDir()
	w := newBuilder(1, true)
	for i := range 60 {
		w.say(uint64(i), fmt.Sprintf("m %d", i))
	}
	w.state(Archived)
	w.put(w.get(176)+objectHeader, 0) // the list ends after its first array
	w.write(t, filepath.Join(dir, "system@00-00.journal"))
	for stop := range 61 {
		r := newReader(t, Options{}, dir)
		n, enough := 0, errors.New("enough")
		if _, err := r.Next(func(*journal.Record) error {
			if n++; n > stop {
				return enough
			}
			return nil
		}); err != nil && !errors.Is(err, enough) {
			t.Fatal(err)
		}
		again := newReader(t, Options{}, dir)
		again.SeekCursor(r.Cursor())
		equal(t, next(t, again), numbered(stop, 60))
		if h := again.Health(time.Now()); stop < 60 && (h.Loss.Records != 0 || h.Loss.First == "") {
			t.Fatalf("%+v", h.Loss)
		}
	}
}
