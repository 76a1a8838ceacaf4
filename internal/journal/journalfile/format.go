package journalfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// What stands where in a file: see the package's references. All numbers are
// little-endian; all objects begin at multiples of 8.

const (
	signature = "LPKSHHRH"
	// headerMin is the header of the first version of the format; headerMax is
	// all of it that is known. What newer versions append is not needed.
	headerMin, headerMax = 208, 272
)

// The kinds of object that matter.
const (
	typeData       = 1
	typeField      = 2
	typeEntry      = 3
	typeEntryArray = 6
	typeLast       = 7
)

// The sizes of objects without their variable part, in bytes.
const (
	objectHeader      = 16
	dataHeader        = 64
	dataHeaderCompact = 72
	fieldHeader       = 40
	entryHeader       = 64
	entryArrayHeader  = 24
)

// How an object is compressed (the low bits of its flags).
const (
	compressedXZ   = 1
	compressedLZ4  = 2
	compressedZSTD = 4
	compressedMask = 7
)

// The header's incompatible flags: a reader that does not know one must not read.
const (
	flagXZ = 1 << iota
	flagLZ4
	flagKeyedHash
	flagZSTD
	flagCompact
	flagsKnown = 1<<iota - 1
)

// State is what the writer last said it was doing.
type State uint8

// The states of a file.
const (
	Offline  State = 0 // closed properly, or idle
	Online   State = 1 // being written; in a file that nobody writes: it crashed
	Archived State = 2 // never written again
)

// Header is the beginning of a file.
type Header struct {
	State            State
	Incompatible     uint32 // flags
	FileID           ID
	MachineID        ID
	SeqnumID         ID     // the series that the records' sequence numbers belong to
	Entries          uint64 // how many records it says it holds
	Head, Tail       uint64 // the time of the first and the last record, in µs since 1970
	HeadSeq, TailSeq uint64
	size             uint64
	fieldHash        uint64
	fieldHashSize    uint64
	entryArray       uint64
	tailObject       uint64
}

// Compact reports whether offsets are kept in 32 bits (systemd 252 and later).
func (h *Header) Compact() bool { return h.Incompatible&flagCompact != 0 }

// ID is one of the 128-bit numbers of systemd.
type ID [16]byte

// String is the ID as systemd writes it, 32 hexadecimal digits.
func (id ID) String() string { return fmt.Sprintf("%x", id[:]) }

// UUID is the ID with dashes, as /proc/sys/kernel/random/boot_id has it.
func (id ID) UUID() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

var (
	// ErrNotJournal is returned for a file that does not begin as a journal does.
	ErrNotJournal = errors.New("not a journal file")
	// errYoung: a file so new that its header has not been written.
	errYoung = fmt.Errorf("%w (yet): the header is empty", ErrNotJournal)
)

// UnsupportedError says that a file uses what this reader does not know.
type UnsupportedError struct {
	Flags uint32 // only the unknown ones
}

func (e *UnsupportedError) Error() string {
	var bits []string
	for b := range 32 {
		if f := uint32(1) << b; e.Flags&f != 0 {
			bits = append(bits, fmt.Sprintf("%#x", f))
		}
	}
	return "uses unknown incompatible flag " + strings.Join(bits, ", ") + ": written by a newer systemd than this reader knows"
}

// damage is an error in the file's own structure.
type damage struct {
	offset uint64
	what   string
}

func (e *damage) Error() string { return fmt.Sprintf("damaged at offset %#x: %s", e.offset, e.what) }

// parseHeader reads the beginning of a file.
func parseHeader(b []byte) (Header, error) {
	if len(b) < headerMin || b[0] == 0 && len(strings.Trim(string(b[:8]), "\x00")) == 0 {
		if len(strings.Trim(string(b), "\x00")) == 0 {
			return Header{}, errYoung
		}
		return Header{}, ErrNotJournal
	}
	if string(b[:8]) != signature {
		return Header{}, ErrNotJournal
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	h := Header{
		Incompatible: binary.LittleEndian.Uint32(b[12:]),
		State:        State(b[16]),
		FileID:       ID(b[24:40]),
		MachineID:    ID(b[40:56]),
		SeqnumID:     ID(b[72:88]),
		size:         u64(88),
		fieldHash:    u64(120), fieldHashSize: u64(128),
		tailObject: u64(136),
		Entries:    u64(152),
		TailSeq:    u64(160), HeadSeq: u64(168),
		entryArray: u64(176),
		Head:       u64(184), Tail: u64(192),
	}
	if unknown := h.Incompatible &^ flagsKnown; unknown != 0 {
		return h, &UnsupportedError{unknown}
	}
	return h, nil
}
