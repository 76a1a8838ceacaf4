package journalfile

import (
	"encoding/binary"
	"io"
)

// salvage finds records without a list of them: from one object to the next,
// and where there is no valid object, 8 bytes further. It serves where the list
// of records is broken.
type salvage struct {
	offset uint64 // where to look next
	after  uint64 // the sequence number of the last record before it; 0: none
}

// plausible: what stands at off can be a record of this file.
func (f *File) plausible(e *entry, after uint64) bool {
	item := uint64(16)
	if f.header.Compact() {
		item = 4
	}
	return e.seqnum > after && (f.header.TailSeq == 0 || e.seqnum <= f.header.TailSeq) && e.realtime != 0 &&
		e.boot != ID{} && e.size > entryHeader && (e.size-entryHeader)%item == 0
}

// next returns the next record, io.EOF at the end.
func (f *File) nextSalvaged(s *salvage) (entry, error) {
	end := f.size
	if f.live() { // behind its tail a record may be half written
		end = min(end, f.header.tailObject)
	}
	for s.offset%8 == 0 && s.offset < end && end-s.offset >= objectHeader {
		b, err := f.at(s.offset, objectHeader)
		if err != nil {
			return entry{}, err
		}
		kind, size := b[0], binary.LittleEndian.Uint64(b[8:])
		reserved := binary.LittleEndian.Uint64(b) >> 16
		if kind == 0 || kind > typeLast || reserved != 0 || size < objectHeader || size > f.size-s.offset {
			s.offset += 8
			continue
		}
		if kind == typeEntry {
			e, err := f.entry(s.offset)
			if err != nil || !f.plausible(&e, s.after) {
				s.offset += 8
				continue
			}
			s.offset, s.after = s.offset+(size+7)&^7, e.seqnum
			return e, nil
		}
		s.offset += (size + 7) &^ 7
	}
	return entry{}, io.EOF
}
