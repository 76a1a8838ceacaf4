package journalfile

import (
	"errors"
	"io"
	"time"
)

// walk goes through a file's records in the order in which they were written:
// all of them, or those of some lists. It gets over damage and counts it.
type walk struct {
	file    *File
	chains  []chain
	offsets []uint64 // the next record of each chain; 0: to be fetched
	indexed bool     // chains are lists of matching records, not the one of all
	rescue  *salvage // instead of the chains, once they were found broken
	cur     entry    // the record at hand
	have    bool
	last    entry  // the record taken last
	waited  uint64 // the file's number of records when an empty slot was met; 0: none
	rescued uint64 // records found by rescue
	counted bool   // the end was reached, and what is missing was counted
}

func (f *File) walkAll() *walk {
	return &walk{file: f, chains: []chain{f.all()}, offsets: make([]uint64, 1)}
}

// refreshed takes in that the file has grown.
func (w *walk) refreshed() {
	if w.indexed {
		return
	}
	c := &w.chains[0]
	c.total = w.file.header.Entries
	if c.array == 0 {
		c.array = w.file.header.entryArray
	}
}

// passed is how many records are behind, read or lost; 0 where the walk is only
// through some of them.
func (w *walk) passed() uint64 {
	if w.indexed {
		return 0
	}
	n := w.chains[0].passed + w.rescued
	if w.have && n > 0 {
		n-- // the one at hand
	}
	return n
}

// peek makes the next record the one at hand. It is false at the end, for now.
func (w *walk) peek() bool {
	for !w.have {
		off, err := w.advance()
		if err == nil && off != 0 {
			if w.cur, err = w.file.entry(off); err == nil {
				w.have = true
				return true
			}
			// Behind the end that the file tells of, nothing was promised.
			if w.indexed || w.chains[0].passed <= w.chains[0].total {
				w.file.loss.Records++
				w.file.loss.note(err)
			}
			continue
		}
		if err == nil { // rescued: w.cur is set
			w.have = true
			return true
		}
		if !w.recover(err) {
			return false
		}
	}
	return true
}

// take ends the use of the record at hand.
func (w *walk) take() { w.last, w.have, w.waited = w.cur, false, 0 }

// advance returns the offset of the next record, 0 if it has set w.cur itself.
func (w *walk) advance() (uint64, error) {
	if w.rescue != nil {
		e, err := w.file.nextSalvaged(w.rescue)
		if err == nil {
			w.cur = e
			w.rescued++
		}
		return 0, err
	}
	if !w.indexed {
		return w.file.next(&w.chains[0])
	}
	return w.nextOfMany()
}

// nextOfMany merges the chains; a record that several have comes once.
func (w *walk) nextOfMany() (uint64, error) {
	var least uint64
	for i := range w.chains {
		if w.offsets[i] == 0 {
			off, err := w.file.next(&w.chains[i])
			if errors.Is(err, io.EOF) {
				continue
			}
			if err != nil {
				return 0, err
			}
			w.offsets[i] = off
		}
		if least == 0 || w.offsets[i] < least {
			least = w.offsets[i]
		}
	}
	if least == 0 {
		return 0, io.EOF
	}
	for i := range w.offsets {
		if w.offsets[i] == least {
			w.offsets[i] = 0
		}
	}
	return least, nil
}

// recover gets over err; it is false if there is no more, for now.
func (w *walk) recover(err error) bool {
	f := w.file
	switch {
	case errors.Is(err, io.EOF):
		w.countMissing()
		return false
	case errors.Is(err, errWait):
		// Of a file that is being written, the number of records may be visible before
		// the slot. One poll later it must be there, or a crash has lost it.
		if f.live() && (w.waited == 0 || w.waited == f.header.Entries) {
			w.waited = f.header.Entries
			f.stale = true
			return false
		}
		w.waited = 0
		if w.indexed {
			f.loss.note(&damage{f.header.fieldHash, "an empty slot in a list of matching records"})
			w.scanFrom()
			return true
		}
		c := &w.chains[0]
		c.slot++
		c.passed++
		f.loss.Records++
		f.loss.note(&damage{c.array, "an empty slot in the list of records"})
		return true
	case w.rescue != nil:
		f.loss.note(err)
		w.countMissing()
		return false
	case w.indexed:
		// The index is broken, the list of all records perhaps not.
		f.loss.note(err)
		w.scanFrom()
		return true
	}
	f.loss.note(err)
	w.startRescue()
	return true
}

// startRescue looks for records behind the last one, without the lists.
func (w *walk) startRescue() {
	w.rescue = &salvage{offset: (max(w.file.header.size, headerMin) + 7) &^ 7}
	if w.last.offset != 0 {
		w.rescue = &salvage{offset: w.last.offset + (w.last.size+7)&^7, after: w.last.seqnum}
	}
}

// seekTime passes the records before t, as far as the lists allow it: after a
// step of the clock some records before t may follow. It returns the last record
// that was passed.
func (w *walk) seekTime(t time.Time) (last entry) {
	us := uint64(max(t.UnixMicro(), 0))
	for i := range w.chains {
		// An error shows again at the next step, and is dealt with there.
		off, _ := w.file.seek(&w.chains[i], func(e *entry) bool { return e.realtime < us })
		if e, err := w.file.entry(off); err == nil && e.offset > last.offset {
			last = e
		}
	}
	if !w.indexed {
		w.last = last
	}
	return last
}

// position is how far the walk has come.
func (w *walk) position() Position {
	return Position{File: w.file.header.FileID, Passed: w.passed(), Offset: w.last.offset, Seqnum: w.last.seqnum, Realtime: w.last.realtime}
}

// resume goes to where a walk through the same file once was.
func (w *walk) resume(p Position) {
	f, c := w.file, &w.chains[0]
	w.last = entry{offset: p.Offset, seqnum: p.Seqnum, realtime: p.Realtime}
	if p.Passed == 0 {
		return
	}
	e, err := f.entry(p.Offset)
	if err == nil && e.seqnum == p.Seqnum {
		w.last = e
	}
	err = f.skip(c, p.Passed)
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, errWait) {
		return
	}
	f.loss.note(err)
	w.rescued = p.Passed - min(c.passed, p.Passed)
	// Then the records behind it had been found without the list.
	if w.last.size == 0 {
		w.last = entry{}
	}
	w.startRescue()
	w.rescue.after = max(w.rescue.after, p.Seqnum)
}

// scanFrom goes on with all records behind the last one: more than asked for,
// but whoever asked looks at each.
func (w *walk) scanFrom() {
	w.indexed = false
	w.chains = []chain{w.file.all()}
	last := w.last.offset
	// An error shows again at the next step, and is dealt with there.
	_, _ = w.file.seek(&w.chains[0], func(e *entry) bool { return e.offset <= last })
}

// countMissing counts, once, what a file that nobody writes has promised and
// not kept.
func (w *walk) countMissing() {
	f := w.file
	if w.counted || f.live() || w.indexed {
		return
	}
	w.counted = true
	c := &w.chains[0]
	if seen := c.passed + w.rescued; w.rescue != nil && seen < c.total {
		f.loss.Records += c.total - seen
	}
}
