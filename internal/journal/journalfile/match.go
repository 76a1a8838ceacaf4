package journalfile

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// Match says which records are wanted: those of any of the units, of any of the
// identifiers, and the kernel's. The zero Match wants all.
type Match struct {
	Units       []string // as in journal.Record.Unit: "kubelet.service"
	Identifiers []string // as in journal.Record.Identifier: "kubelet"
	Kernel      bool
}

// All reports whether m wants every record.
func (m *Match) All() bool { return len(m.Units) == 0 && len(m.Identifiers) == 0 && !m.Kernel }

// Accepts reports whether m wants the record.
func (m *Match) Accepts(r *journal.Record) bool {
	return m.All() || m.Kernel && r.Kernel || r.Unit != "" && slices.Contains(m.Units, r.Unit) ||
		r.Identifier != "" && slices.Contains(m.Identifiers, r.Identifier)
}

// wants says of a field whether records that have it may be accepted.
func (m *Match) wants(field []byte) bool {
	switch kind, value := classify(field); kind {
	case fieldUnit, fieldAbout:
		return slices.Contains(m.Units, string(value))
	case fieldIdentifier, fieldComm:
		return slices.Contains(m.Identifiers, string(value))
	case fieldKernel:
		return m.Kernel
	}
	return false
}

// fields are the names of the fields that m is decided by.
func (m *Match) fields() []string {
	var names []string
	if len(m.Units) > 0 {
		names = append(names, "_SYSTEMD_UNIT", "UNIT")
	}
	if len(m.Identifiers) > 0 {
		names = append(names, "SYSLOG_IDENTIFIER", "_COMM")
	}
	if m.Kernel {
		names = append(names, "_TRANSPORT")
	}
	return names
}

// walkMatching goes through the records that m may accept, found through the
// file's own lists; if those cannot be read, through all.
func (f *File) walkMatching(m *Match) *walk {
	if m.All() {
		return f.walkAll()
	}
	chains, err := f.matching(m)
	if err != nil {
		f.loss.note(err)
		return f.walkAll()
	}
	return &walk{file: f, chains: chains, offsets: make([]uint64, len(chains)), indexed: true}
}

// maxSteps bounds the search for values: damaged tables may lead to the same
// lists again and again. A busy node's file holds some thousand values.
const maxSteps = 1 << 20

var errTooManySteps = errors.New("the table of fields leads to too many values")

// matching finds the DATA objects that m wants, and their lists. No hash is
// computed: the table of field names is short, and each name leads to the list
// of its values, of which the fields in question have some hundreds at most.
func (f *File) matching(m *Match) ([]chain, error) {
	var chains []chain
	names, steps := m.fields(), 0
	table, size := f.header.fieldHash, f.header.fieldHashSize
	if size > f.size || table > f.size-size {
		return nil, &damage{table, "the table of fields is beyond the end of the file"}
	}
	for bucket := table; bucket+16 <= table+size; bucket += 16 {
		off, err := f.u64(bucket)
		if err != nil {
			return nil, err
		}
		for off != 0 {
			if steps++; steps > maxSteps {
				return nil, errTooManySteps
			}
			size, _, err := f.object(off, typeField, fieldHeader)
			if err != nil {
				return nil, err
			}
			b, err := f.at(off, min(size, fieldHeader+64))
			if err != nil {
				return nil, err
			}
			next, head := binary.LittleEndian.Uint64(b[24:]), binary.LittleEndian.Uint64(b[32:])
			if slices.Contains(names, string(b[fieldHeader:])) {
				if chains, err = f.matchingValues(m, head, chains, &steps); err != nil {
					return nil, err
				}
			}
			if next != 0 && next <= off {
				return nil, &damage{off, "the list of fields leads back"}
			}
			off = next
		}
	}
	return chains, nil
}

// matchingValues appends the lists of those values that m wants; off is the
// newest value of a field, and each leads to the one before.
func (f *File) matchingValues(m *Match, off uint64, chains []chain, steps *int) ([]chain, error) {
	for off != 0 {
		if *steps++; *steps > maxSteps {
			return nil, errTooManySteps
		}
		if _, _, err := f.object(off, typeData, f.dataHeader()); err != nil {
			return nil, err
		}
		b, err := f.at(off, dataHeader)
		if err != nil {
			return nil, err
		}
		older := binary.LittleEndian.Uint64(b[32:])
		c := chain{
			first: binary.LittleEndian.Uint64(b[40:]),
			array: binary.LittleEndian.Uint64(b[48:]),
			total: binary.LittleEndian.Uint64(b[56:]),
		}
		field, err := f.payload(off, maxField)
		if err != nil {
			return nil, err
		}
		if m.wants(field) && c.total > 0 {
			chains = append(chains, c)
		}
		if older != 0 && older >= off {
			return nil, &damage{off, "the list of values leads back"}
		}
		off = older
	}
	return chains, nil
}
