// Package export reads and writes systemd's export format, which is how tests
// make journal files and how they learn what is in one:
// https://systemd.io/JOURNAL_EXPORT_FORMATS/. Nothing outside tests imports it.
package export

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// Record is one record, as far as it is compared. Times are in µs.
type Record struct {
	Realtime, Monotonic           uint64
	Boot                          string
	Unit, About, Identifier, Comm string
	PID                           int
	Kernel                        bool
	Message                       string
}

// Parse reads all records.
func Parse(r io.Reader) ([]Record, error) {
	var all []Record
	var cur Record
	seen := false
	b := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := b.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			if seen {
				all = append(all, cur)
			}
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		line = line[:len(line)-1]
		if line == "" {
			if seen {
				all = append(all, cur)
			}
			cur, seen = Record{}, false
			continue
		}
		seen = true
		name, value, text := strings.Cut(line, "=")
		if !text { // binary: the length in 8 bytes, the value, a line end
			var n uint64
			if err := binary.Read(b, binary.LittleEndian, &n); err != nil {
				return nil, err
			}
			v := make([]byte, n+1)
			if _, err := io.ReadFull(b, v); err != nil {
				return nil, err
			}
			value = string(v[:n])
		}
		switch name {
		case "__REALTIME_TIMESTAMP":
			cur.Realtime, err = strconv.ParseUint(value, 10, 64)
		case "__MONOTONIC_TIMESTAMP":
			cur.Monotonic, err = strconv.ParseUint(value, 10, 64)
		case "_PID":
			cur.PID, err = strconv.Atoi(value)
		case "_BOOT_ID":
			cur.Boot = value
		case "_SYSTEMD_UNIT":
			cur.Unit = value
		case "UNIT":
			cur.About = value
		case "SYSLOG_IDENTIFIER":
			cur.Identifier = value
		case "_COMM":
			cur.Comm = value
		case "_TRANSPORT":
			cur.Kernel = value == "kernel"
		case "MESSAGE":
			cur.Message = value
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
	}
}

// Differs says in what r is not this record; empty if it is. Of the message only
// the first most bytes are compared.
func (e *Record) Differs(r *journal.Record, most int) string {
	unit, identifier := e.Unit, e.Identifier
	if e.PID == 1 && e.About != "" {
		unit = e.About
	}
	if identifier == "" {
		identifier = e.Comm
	}
	message := e.Message
	if len(message) > most {
		message = message[:most]
	}
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"time", uint64(r.Time.UnixMicro()), e.Realtime},
		{"boot time", uint64(r.Boot.Microseconds()), e.Monotonic},
		{"boot", strings.ReplaceAll(r.BootID, "-", ""), e.Boot},
		{"unit", r.Unit, unit},
		{"identifier", r.Identifier, identifier},
		{"pid", r.PID, e.PID},
		{"kernel", r.Kernel, e.Kernel},
		{"message", string(r.Message), message},
	} {
		if c.got != c.want {
			return fmt.Sprintf("%s is %.200v, want %.200v", c.what, c.got, c.want)
		}
	}
	return ""
}
