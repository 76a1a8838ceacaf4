package journalfile

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// inBytes is a file in memory.
type inBytes []byte

func (b inBytes) readAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(b)) {
		return 0, nil
	}
	return copy(p, b[off:]), nil
}

func (b inBytes) size() (uint64, error) { return uint64(len(b)), nil }
func (inBytes) close()                  {}

// readAll counts the records, and those with a message, that b yields.
func readAll(b []byte, m Match, since time.Time) (records, messages int, loss Loss, err error) {
	f, err := newFile("test.journal", inBytes(b), newScratch())
	if err != nil {
		return 0, 0, Loss{}, err
	}
	defer f.Close()
	err = f.Each(m, since, func(r *journal.Record) error {
		records++
		if len(r.Message) > MaxMessage {
			return fmt.Errorf("a message of %d bytes", len(r.Message))
		}
		if len(r.Message) > 0 {
			messages++
		}
		return nil
	})
	return records, messages, f.Loss(), err
}

// corruption does something to a file; it may shorten it.
type corruption struct {
	name  string
	times int
	do    func(r *rand.Rand, b []byte) []byte
}

func corruptions() []corruption {
	flip := func(r *rand.Rand, b []byte, n int) []byte {
		for range n {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return b
	}
	return []corruption{
		{"truncated", 6, func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] }},
		{"a flipped bit in the header", 6, func(r *rand.Rand, b []byte) []byte { flip(r, b[8:headerMax], 1); return b }},
		{"20 flipped bits", 4, func(r *rand.Rand, b []byte) []byte { return flip(r, b, 20) }},
		{"300 flipped bits", 4, func(r *rand.Rand, b []byte) []byte { return flip(r, b, 300) }},
		{"20,000 flipped bits", 2, func(r *rand.Rand, b []byte) []byte { return flip(r, b, 20_000) }},
		{"100 KiB of zeros", 4, func(r *rand.Rand, b []byte) []byte {
			clear(b[r.IntN(len(b)-100<<10):][:100<<10])
			return b
		}},
		{"a garbled object", 4, func(r *rand.Rand, b []byte) []byte {
			at := headerMax + r.IntN(len(b)/8-headerMax)*8&^7
			for i := range 16 {
				b[at+i] = byte(r.Uint32())
			}
			return b
		}},
		{"garbage behind the header", 1, func(r *rand.Rand, b []byte) []byte {
			for i := headerMax; i < len(b); i++ {
				b[i] = byte(r.Uint32())
			}
			return b
		}},
		{"lists gone", 2, func(_ *rand.Rand, b []byte) []byte {
			binary.LittleEndian.PutUint64(b[176:], 0)
			return b
		}},
		{"sizes that claim gigabytes", 2, func(r *rand.Rand, b []byte) []byte {
			for range 50 {
				at := headerMax + r.IntN(len(b)/8-headerMax)*8&^7
				binary.LittleEndian.PutUint64(b[at:], r.Uint64N(1<<34))
			}
			return b
		}},
	}
}

// TestDamagedFiles: whatever happens to a file, reading it ends, takes little
// memory, and if records are missing it says so.
func TestDamagedFiles(t *testing.T) {
	const seed = 20
	const memory = 64 << 20
	tried, worst := 0, uint64(0)
	for li, layout := range layouts() {
		whole := unxz(t, filepath.Join(fixtureDir, layout+".xz"))
		work := make([]byte, len(whole))
		for ci, c := range corruptions() {
			for i := range c.times {
				name := fmt.Sprintf("%s: %s, %d", layout, c.name, i)
				copy(work, whole)
				b := c.do(rand.New(rand.NewPCG(seed, uint64(li*10_000+ci*100+i))), work)
				tried++
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				records, messages, loss, err := readAll(b, Match{}, time.Time{})
				runtime.ReadMemStats(&after)
				// All that was ever allocated is more than was held at any time. (xz makes
				// garbage: 600 KiB a long message.)
				if n := after.TotalAlloc - before.TotalAlloc; !strings.Contains(layout, "XZ") {
					worst = max(worst, n)
					if n > memory {
						t.Errorf("%s: %d MiB were allocated", name, n>>20)
					}
				}
				if err == nil && records < 2000 && loss.Records == 0 {
					t.Errorf("%s: %d records and no word of the rest: %+v", name, records, loss)
				}
				// (That a flipped bit turned MESSAGE into NESSAGE cannot be seen.)
				if err == nil && records == 2000 && messages < 1995 && loss.Fields == 0 {
					t.Errorf("%s: %d messages and no word of the rest: %+v", name, messages, loss)
				}
				if records > 2000 {
					t.Errorf("%s: %d records of 2000", name, records)
				}
				// The same through the lists of matching records, and from the middle.
				if _, _, _, err := readAll(b, Match{Units: []string{"kubelet.service"}, Kernel: true}, time.UnixMicro(1_790_000_050_000_000)); err != nil && !strings.Contains(err.Error(), "journal") {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	t.Logf("%d files; at most %d KiB were allocated for one", tried, worst>>10)
	if tried < 200 {
		t.Errorf("only %d files", tried)
	}
}

// TestWhatCanBeSaved: how much of a damaged file is read.
func TestWhatCanBeSaved(t *testing.T) {
	whole := unxz(t, filepath.Join(fixtureDir, "dev-ZSTD-c1.journal.xz"))
	h, err := parseHeader(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name          string
		do            func(b []byte) []byte
		records, lost int
	}{
		{"nothing happened", func(b []byte) []byte { return b }, 2000, 0},
		{"crashed: never closed", func(b []byte) []byte { b[16] = byte(Online); return b }, 2000, 0},
		{"no list of records", func(b []byte) []byte { clear(b[176:184]); return b }, 2000, 0},
		{"a list that leads back", func(b []byte) []byte {
			binary.LittleEndian.PutUint64(b[h.entryArray+16:], h.entryArray)
			return b
		}, 2000, 0},
		{"a slot that leads nowhere", func(b []byte) []byte { clear(b[h.entryArray+24 : h.entryArray+28]); return b }, 1999, 1},
		{"a slot that leads to something else", func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[h.entryArray+24:], uint32(h.entryArray))
			return b
		}, 1999, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			records, _, loss, err := readAll(tc.do(append([]byte(nil), whole...)), Match{}, time.Time{})
			if err != nil || records != tc.records || loss.Records != uint64(tc.lost) {
				t.Fatalf("%d records, want %d; lost %+v, want %d; %v", records, tc.records, loss, tc.lost, err)
			}
		})
	}
	// The half that is left of a file yields about half.
	first := uint64(binary.LittleEndian.Uint32(whole[h.entryArray+entryArrayHeader:]))
	records, messages, loss, err := readAll(whole[:(first+h.tailObject)/2], Match{}, time.Time{})
	if err != nil || records < 900 || messages < 900 || records+int(loss.Records) != 2000 {
		t.Fatalf("half a file: %d records, %d messages, lost %+v, %v", records, messages, loss, err)
	}
}

// TestTruncatedWhileRead: a file that shrinks below us is an error, not a crash.
func TestTruncatedWhileRead(t *testing.T) {
	dir := t.TempDir()
	path := fixture(t, dir, "dev-ZSTD-c0.journal")
	r := newReader(t, Options{}, dir)
	n := 0
	if _, err := r.Next(func(*journal.Record) error {
		if n++; n == 100 {
			return os.Truncate(path, 300<<10)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	h := r.Health(time.Now())
	if n < 100 || n+int(h.Loss.Records) != 2000 {
		t.Fatalf("%d records, %+v", n, h.Loss)
	}
}

func TestInflateBombs(t *testing.T) {
	var z inflater
	for _, tc := range []struct {
		how    byte
		packed string
	}{
		{compressedZSTD, ""},
		{compressedZSTD, "\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x0f\x01\x00\x00"}, // claims exabytes
		{compressedLZ4, "\xff\xff\xff\xff\xff\xff\xff\xff\x00"},
		{compressedLZ4, "\x00\x00\x00\x00"},
		{compressedXZ, "\xfd7zXZ\x00"},
		{compressedXZ, strings.Repeat("x", 100)},
		{3, "x"},
	} {
		if b, err := z.inflate(tc.how, []byte(tc.packed)); err == nil {
			t.Errorf("%d %q: %d bytes without an error", tc.how, tc.packed, len(b))
		}
	}
	// 32 MiB of nothing in a few KiB, honestly packed.
	var packed []byte
	packed = append(packed, binary.LittleEndian.AppendUint64(nil, 32<<20)...)
	if _, err := z.inflate(compressedLZ4, append(packed, make([]byte, 1000)...)); !errors.Is(err, errTooLarge) {
		t.Errorf("%v", err)
	}
}

// FuzzFile: no bytes make the reader crash, loop, or hand over what it should
// not. The input is a list of changes to a small valid file, 4 bytes each: it
// gets deeper than bytes that must first of all become a journal file.
func FuzzFile(f *testing.F) {
	var files [][]byte
	for i := range 4 {
		w := newBuilder(1, i%2 == 1)
		for i := range 12 {
			w.say(uint64(i), fmt.Sprintf("m %d", i/2))
		}
		w.add(1e15+20, 20, 1, "_TRANSPORT=kernel", "MESSAGE=x")
		if i >= 2 {
			w.state(Archived)
		}
		files = append(files, w.b)
	}
	f.Add(byte(0), []byte{})
	f.Add(byte(1), []byte{0, 152 / 8, 1, 3}) // more records than there are
	f.Add(byte(2), []byte{0, 176 / 8, 0, 0}) // no list of records
	f.Add(byte(3), []byte{1, 0, 2, 100, 0, 20, 3, 0})
	f.Fuzz(func(t *testing.T, which byte, changes []byte) {
		b := append([]byte(nil), files[which%4]...)
		for ; len(changes) >= 4; changes = changes[4:] {
			at := (int(changes[0])<<8 | int(changes[1])) * 8 % (len(b) - 8)
			value := uint64(changes[3])
			switch changes[2] % 6 {
			case 0, 1:
				binary.LittleEndian.PutUint64(b[at:], value)
			case 2:
				binary.LittleEndian.PutUint64(b[at:], value*8*uint64(len(b))/2048&^7) // somewhere in the file
			case 3:
				binary.LittleEndian.PutUint64(b[at:], ^value)
			case 4:
				b[at+int(value%8)] ^= 1 << (value >> 5)
			case 5:
				b = b[:max(at, 16)]
			}
		}
		for _, m := range []Match{{}, {Units: []string{"kubelet.service"}, Identifiers: []string{"kubelet"}, Kernel: true}} {
			for _, since := range []time.Time{{}, time.UnixMicro(1e15 + 6)} {
				// A record takes 64 bytes, and a slot 4: no file yields more than that.
				if records, _, _, err := readAll(b, m, since); records > len(b)/4 {
					t.Fatalf("%d records in %d bytes (%v)", records, len(b), err)
				}
			}
		}
	})
}

// FuzzHeader: nor does a header.
func FuzzHeader(f *testing.F) {
	f.Add(newBuilder(1, true).b[:headerMax])
	f.Add(make([]byte, headerMax))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err == nil && h.Incompatible&^flagsKnown != 0 {
			t.Fatalf("%+v", h)
		}
		_, _, _, _ = readAll(b, Match{Kernel: true}, time.Time{})
	})
}

// FuzzInflate: nor do compressed bytes.
func FuzzInflate(f *testing.F) {
	f.Add(byte(compressedZSTD), []byte("\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello"))
	f.Add(byte(compressedLZ4), []byte("\x05\x00\x00\x00\x00\x00\x00\x00\x50hello"))
	f.Add(byte(compressedXZ), []byte("\xfd7zXZ\x00"))
	var z inflater
	f.Fuzz(func(t *testing.T, how byte, packed []byte) {
		b, err := z.inflate(how, packed)
		if err == nil && len(b) > maxInflated {
			t.Fatalf("%d bytes", len(b))
		}
	})
}

// FuzzCursor: nor does a cursor that was tampered with.
func FuzzCursor(f *testing.F) {
	w := newBuilder(1, true)
	for i := range 20 {
		w.say(uint64(i), fmt.Sprintf("m %d", i))
	}
	f.Add([]byte(`{"files":[{"file":"01000000000000000000000000000000","passed":3,"offset":272,"seqnum":3,"realtime":1}],"flushes":[{"folder":"m","boot":"01000000000000000000000000000000","memory":{"from":1,"to":2,"atTo":1}}]}`))
	f.Add([]byte(`{"files":[{"file":"01000000000000000000000000000000","passed":18446744073709551615,"offset":18446744073709551608}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Cursor
		if json.Unmarshal(b, &c) != nil {
			return
		}
		for _, p := range c.Files {
			file, err := newFile("system.journal", inBytes(w.b), newScratch())
			if err != nil {
				t.Fatal(err)
			}
			walk, n := file.walkAll(), 0
			walk.resume(p)
			for walk.peek() {
				walk.take()
				n++
			}
			if n > 20 {
				t.Fatalf("%d records of 20", n)
			}
		}
	})
}
