package journalfile

import (
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// Each hands over the records that m accepts, from the first that is not before
// since (zero: from the beginning), in the order in which they were written. The
// record is only good during the call. It ends with visit's error, if any; what
// could not be read is in Loss.
func (f *File) Each(m Match, since time.Time, visit func(*journal.Record) error) error {
	w := f.walkMatching(&m)
	if !since.IsZero() {
		w.seekTime(since)
	}
	var rec journal.Record
	for w.peek() {
		f.record(&w.cur, &rec)
		w.take()
		if rec.Time.Before(since) || !m.Accepts(&rec) {
			continue
		}
		if err := visit(&rec); err != nil {
			return err
		}
	}
	return nil
}
