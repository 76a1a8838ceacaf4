package journalfile

import (
	"math"
	"path/filepath"
	"slices"
)

// journald keeps its journal in memory (/run/log/journal) until /var can be
// written, and then copies it to the disk, which it calls a flush: each record
// once more, in the same order, in another file and with another number. (Where
// /var goes away again, it begins anew in memory: --relinquish-var of
// journalctl(1).) A copy has the boot and the times of its original.
//
// Either may be seen first: the copies may be there before we have looked at the
// end of the file in memory. So both sides are kept account of, and a record of
// one side that was handed over from the other is a copy. Since one journald
// writes all of them, in the order of the time since boot, an interval of that
// time says which these are, and a count tells those of one µs apart.

// maxFlushes bounds how many are remembered: one for each journald (each
// journal namespace has its own) and boot, of which the newest matters.
const maxFlushes = 16

// Flush is what was handed over of the records of one journald and one boot.
type Flush struct {
	Folder string `json:"folder"` // the machine ID, and a namespace's name behind a dot
	Boot   ID     `json:"boot"`
	Memory Side   `json:"memory,omitzero"`
	Disk   Side   `json:"disk,omitzero"`
}

// Side is what was handed over from one side since the other was ahead of it.
// Times are in µs since boot.
type Side struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	AtTo uint64 `json:"atTo"` // how many records of the time To; 0: none at all yet
	Met  uint64 `json:"met"`  // how many of these were met again on the other side
}

// uncounted is Side.AtTo where all records up to To were passed at once.
const uncounted = math.MaxUint64

// sides are that of the file at hand and the other one.
func (f *Flush) sides(volatile bool) (mine, other *Side) {
	if volatile {
		return &f.Memory, &f.Disk
	}
	return &f.Disk, &f.Memory
}

// has reports whether a record of the other side was handed over from this one.
func (s *Side) has(at uint64) bool {
	return s.AtTo != 0 && s.From <= at && (at < s.To || at == s.To && s.Met < s.AtTo)
}

// meet takes in that such a record is behind.
func (s *Side) meet(at uint64) {
	if at == s.To {
		s.Met++
	}
}

// began takes in that there are records from this time on.
func (s *Side) began(at uint64) {
	if s.AtTo == 0 && s.From == 0 {
		s.From = at
	}
	s.From = min(s.From, at)
}

// pass takes in that n records of this time are behind.
func (s *Side) pass(at, n uint64, other *Side) {
	switch {
	case s.AtTo == 0:
		s.began(at)
		s.To, s.AtTo = at, n
	case at > s.To:
		if other.AtTo != 0 && other.To > s.To && at > other.To {
			s.From = at // journald wrote to the other side meanwhile
		}
		s.To, s.AtTo, s.Met = at, n, 0
	case at == s.To && s.AtTo != uncounted:
		s.AtTo += n
	case at < s.From: // the clock that files are merged by has been set back
		s.From = at
	}
}

// flush is the account of the journald and the boot that a record of f is of.
func (r *Reader) flush(f *followed, boot ID) *Flush {
	if f.flush != nil && f.flush.Boot == boot {
		return f.flush
	}
	folder := filepath.Base(filepath.Dir(f.path))
	i := slices.IndexFunc(r.flushes, func(l *Flush) bool { return l.Boot == boot && l.Folder == folder })
	if i >= 0 {
		f.flush = r.flushes[i]
		r.flushes = append(slices.Delete(r.flushes, i, i+1), f.flush) // the last one used stays longest
		return f.flush
	}
	f.flush = &Flush{Folder: folder, Boot: boot}
	r.flushes = append(r.flushes, f.flush)
	if len(r.flushes) > maxFlushes {
		for _, other := range r.files {
			if other.flush == r.flushes[0] {
				other.flush = nil
			}
		}
		r.flushes = slices.Delete(r.flushes, 0, 1)
	}
	return f.flush
}
