package journalfile

import (
	"encoding/hex"
	"fmt"
)

// Position is how far one file has been read.
type Position struct {
	File   ID     `json:"file"`
	Passed uint64 `json:"passed"` // how many records are behind
	// The last record read, to go on from if the file's list is damaged; its time
	// is in µs since 1970.
	Offset   uint64 `json:"offset"`
	Seqnum   uint64 `json:"seqnum"`
	Realtime uint64 `json:"realtime"`
}

// Cursor is how far a Reader has read: it says so of every file that there is,
// since each has its own order. It is plain data, to be kept as JSON.
type Cursor struct {
	Files    []Position `json:"files,omitempty"`
	Volatile Volatile   `json:"volatile,omitzero"`
}

// Volatile is what was read of the journal in memory (/run/log/journal):
// journald copies it to the disk when /var becomes writable, and copies must
// not count as new. Times are in µs since boot.
type Volatile struct {
	Boot ID     `json:"boot"`
	From uint64 `json:"from"` // the first record there was
	To   uint64 `json:"to"`   // the last record read
}

// holds reports whether the record was read from memory already.
func (v *Volatile) holds(e *entry) bool {
	return v.To != 0 && e.boot == v.Boot && e.monotonic >= v.From && e.monotonic <= v.To
}

// began takes in the first record of a file in memory.
func (v *Volatile) began(e *entry) {
	if v.Boot != e.boot {
		*v = Volatile{Boot: e.boot, From: e.monotonic}
	}
	v.From = min(v.From, e.monotonic)
}

// read takes in a record of a file in memory that is behind.
func (v *Volatile) read(e *entry) {
	if v.Boot != e.boot { // the file was empty when it was found
		v.began(e)
	}
	v.To = max(v.To, e.monotonic)
}

// MarshalText is the ID as systemd writes it.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads 32 hexadecimal digits.
func (id *ID) UnmarshalText(b []byte) error {
	if n, err := hex.Decode(id[:], b[:min(len(b), 2*len(id))]); err != nil || n != len(id) || len(b) != 2*n {
		return fmt.Errorf("%q is not an ID of 32 hexadecimal digits", b)
	}
	return nil
}
