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
	Files   []Position `json:"files,omitempty"`
	Flushes []Flush    `json:"flushes,omitempty"`
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
