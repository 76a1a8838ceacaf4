package journalfile

import (
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// Query says which records Read hands over.
type Query struct {
	Match        Match
	Since, Until time.Time // both inclusive; zero: from the beginning, to the end
}

// Read hands over, oldest first, the records in dirs that q asks for; where q has
// a Match it finds them through the files' own lists. It ends with visit's
// error, if any. Health says what could not be read.
func Read(dirs []string, q Query, visit func(*journal.Record) error) (Health, error) {
	r := NewReader(dirs, Options{Match: q.Match, Until: q.Until})
	defer r.Close()
	r.indexed = true
	r.SeekTime(q.Since)
	_, err := r.Next(func(rec *journal.Record) error {
		if rec.Time.Before(q.Since) {
			return nil
		}
		return visit(rec)
	})
	return r.Health(time.Now()), err
}
