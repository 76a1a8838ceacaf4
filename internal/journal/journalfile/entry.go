package journalfile

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// maxItems is how many fields of a record are looked at; journald refuses
// records with more than 1024.
const maxItems = 4096

// entry is the fixed part of an ENTRY object.
type entry struct {
	offset, size uint64
	seqnum       uint64
	realtime     uint64 // µs since 1970
	monotonic    uint64 // µs since boot
	boot         ID
}

// entry reads the fixed part of the record at off.
func (f *File) entry(off uint64) (entry, error) {
	size, _, err := f.object(off, typeEntry, entryHeader)
	if err != nil {
		return entry{}, err
	}
	b, err := f.at(off, entryHeader)
	if err != nil {
		return entry{}, err
	}
	return entry{
		offset: off, size: size,
		seqnum:    binary.LittleEndian.Uint64(b[16:]),
		realtime:  binary.LittleEndian.Uint64(b[24:]),
		monotonic: binary.LittleEndian.Uint64(b[32:]),
		boot:      ID(b[40:56]),
	}, nil
}

// readItems reads where the record's fields are into f.items.
func (f *File) readItems(e *entry) error {
	width := uint64(16) // the offset and a hash
	if f.header.Compact() {
		width = 4
	}
	n := min((e.size-entryHeader)/width, maxItems)
	b, err := f.at(e.offset+entryHeader, n*width)
	if err != nil {
		return err
	}
	f.items = f.items[:0]
	if f.header.Compact() {
		for ; len(b) >= 4; b = b[4:] {
			f.items = append(f.items, uint64(binary.LittleEndian.Uint32(b)))
		}
		return nil
	}
	for ; len(b) >= 16; b = b[16:] {
		f.items = append(f.items, binary.LittleEndian.Uint64(b))
	}
	return nil
}

// record reads the fields of a record into rec. What cannot be read is left out
// and counted; the message is good until the next call.
func (f *File) record(e *entry, rec *journal.Record) {
	*rec = journal.Record{
		Time: micros(e.realtime), Boot: boot(e.monotonic), BootID: f.bootID(e.boot),
		Source: "journal",
	}
	if err := f.readItems(e); err != nil {
		f.loseField(err)
		return
	}
	var message uint64
	var about, comm fieldValue
	cache := &f.fields
	// Backwards, since the newest objects come last and are near; of two fields of
	// one name the first one counts, as in libsystemd.
	for i := len(f.items) - 1; i >= 0; i-- {
		key := fieldKey(f.number, f.items[i])
		slot := fieldSlot(key)
		kind := cache.kinds[slot]
		if cache.keys[slot] != key {
			var err error
			if kind, err = f.learn(f.items[i]); err != nil {
				f.loseField(err)
				continue
			}
		}
		switch kind {
		case fieldOther:
		case fieldMessage:
			message = f.items[i]
		case fieldUnit:
			rec.Unit = cache.values[slot].text
		case fieldAbout:
			about = cache.values[slot]
		case fieldIdentifier:
			rec.Identifier = cache.values[slot].text
		case fieldComm:
			comm = cache.values[slot]
		case fieldPID:
			rec.PID = cache.values[slot].number
		case fieldKernel:
			rec.Kernel = true
		}
	}
	// What systemd itself says of a unit is that unit's, as journalctl -u has it.
	// From anybody else UNIT= is a mere claim.
	if rec.PID == 1 && about.text != "" {
		rec.Unit = about.text
	}
	if rec.Identifier == "" {
		rec.Identifier = comm.text
	}
	if message == 0 {
		return
	}
	// Last, so that it is still there when rec is handed over.
	b, err := f.payload(message, MaxMessage+uint64(len("MESSAGE=")))
	if err != nil {
		f.loseField(err)
		return
	}
	_, rec.Message = classify(b)
}

func (f *File) loseField(err error) {
	f.loss.Fields++
	f.loss.note(err)
}

func (f *File) bootID(id ID) string {
	s, ok := f.boots[id]
	if !ok {
		const plenty = 1000 // a damaged file may hold any number
		if len(f.boots) > plenty {
			clear(f.boots)
		}
		s = id.UUID()
		f.boots[id] = s
	}
	return s
}

// payload returns the first `most` bytes of the DATA object at off, a field's
// NAME=VALUE, uncompressed; good until the next call.
func (f *File) payload(off, most uint64) ([]byte, error) {
	header := f.dataHeader()
	size, flags, err := f.object(off, typeData, header)
	if err != nil {
		return nil, err
	}
	if flags&compressedMask == 0 {
		return f.at(off+header, min(size-header, most))
	}
	if key := fieldKey(f.number, off); f.inflated != key {
		f.inflated = 0
		packed, err := f.at(off+header, size-header)
		if err != nil {
			return nil, err
		}
		if _, err := f.inflater.inflate(flags, packed); err != nil {
			return nil, &damage{off, err.Error()}
		}
		f.inflated = key
	}
	b := f.inflater.out
	return b[:min(uint64(len(b)), most)], nil
}

// micros is a time in µs since 1970; boot a time in µs since boot. What a
// damaged file may hold is cut down to what can be represented.
func micros(us uint64) time.Time { return time.UnixMicro(int64(min(us, math.MaxInt64))) }

func boot(us uint64) time.Duration {
	return time.Duration(min(us, math.MaxInt64/uint64(time.Microsecond)) * uint64(time.Microsecond))
}
