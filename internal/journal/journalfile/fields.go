package journalfile

import (
	"encoding/binary"
	"strconv"
)

// Which fields of a record matter, and what was learned of their objects: a
// file keeps each NAME=VALUE once, so that most of a record's fields are known
// from the records before.

type fieldKind uint8

// What a field means here; for the names see systemd.journal-fields(7).
const (
	fieldOther      fieldKind = iota
	fieldMessage              // MESSAGE
	fieldUnit                 // _SYSTEMD_UNIT
	fieldAbout                // UNIT: the unit that a message of systemd is about
	fieldIdentifier           // SYSLOG_IDENTIFIER
	fieldComm                 // _COMM, for want of an identifier
	fieldPID                  // _PID
	fieldKernel               // _TRANSPORT=kernel
)

// classify tells what a field (NAME=VALUE) means, and its value.
func classify(field []byte) (fieldKind, []byte) {
	has := func(prefix string) bool { return len(field) >= len(prefix) && string(field[:len(prefix)]) == prefix }
	switch {
	case has("MESSAGE="):
		return fieldMessage, field[len("MESSAGE="):]
	case has("_SYSTEMD_UNIT="):
		return fieldUnit, field[len("_SYSTEMD_UNIT="):]
	case has("UNIT="):
		return fieldAbout, field[len("UNIT="):]
	case has("SYSLOG_IDENTIFIER="):
		return fieldIdentifier, field[len("SYSLOG_IDENTIFIER="):]
	case has("_COMM="):
		return fieldComm, field[len("_COMM="):]
	case has("_PID="):
		return fieldPID, field[len("_PID="):]
	case string(field) == "_TRANSPORT=kernel":
		return fieldKernel, nil
	}
	return fieldOther, nil
}

const (
	slotBits = 12
	// fieldSlots: a node's records repeat some hundreds of values.
	fieldSlots = 1 << slotBits
	// maxField bounds a field that is kept; unit names have at most 255 bytes.
	maxField = 320
)

// fieldCache is what was learned of DATA objects. Each has one slot, by its
// offset, and evicts what was there.
type fieldCache struct {
	keys   [fieldSlots]uint64
	kinds  [fieldSlots]fieldKind
	values [fieldSlots]fieldValue
}

type fieldValue struct {
	text   string
	number int
}

// fieldKey identifies the object at off of a file; never 0, since no file has
// the number 0.
func fieldKey(file uint32, off uint64) uint64 { return uint64(file)<<40 | off&(1<<40-1) }

// fieldSlot is the slot of a key: Fibonacci hashing.
func fieldSlot(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> (64 - slotBits) }

// learn reads the DATA object at off and keeps what will be asked again.
func (f *File) learn(off uint64) (fieldKind, error) {
	b, err := f.payload(off, maxField)
	if err != nil {
		return 0, err
	}
	kind, text := classify(b)
	var value fieldValue
	switch kind {
	case fieldMessage:
		return kind, nil
	case fieldOther:
		// Only what several records have will be met again.
		b, err := f.at(off, dataHeader)
		if err != nil || binary.LittleEndian.Uint64(b[56:]) < 2 {
			return kind, err
		}
	case fieldPID:
		value.number, _ = strconv.Atoi(string(text))
	default:
		value.text = string(text)
	}
	key := fieldKey(f.number, off)
	slot := fieldSlot(key)
	c := &f.fields
	c.keys[slot], c.kinds[slot], c.values[slot] = key, kind, value
	return kind, nil
}
