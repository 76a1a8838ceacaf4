package journalfile

import (
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
)

const (
	// listPace is how often folders are listed although nothing shows that they
	// changed.
	listPace = 30 * time.Second
	// maxOpen bounds the open files: those that are being written, and one or a few
	// archived ones while a backlog is read.
	maxOpen = 128
)

// Options say what a Reader hands over.
type Options struct {
	// Match is which records are wanted; the zero Match wants all.
	Match Match
	// Until, unless zero, is the time after which none is wanted.
	Until time.Time
	// Now is the clock; nil is the system's.
	Now func() time.Time
}

// Reader follows the journal files of some folders by polling: every record
// once, across rotation, removal and copying from memory to disk.
type Reader struct {
	dirs      []string
	opts      Options
	indexed   bool            // look up matching records through the files' lists; for one pass
	since     time.Time       // of files that no cursor speaks of, skip what is older
	resume    map[ID]departed // files that are not there, or not yet seen
	continues bool            // a cursor was given
	scratch   *scratch

	listed  time.Time
	started bool // the first listing is done
	folders []*folder
	errs    map[string]error // of folders, by path
	files   []*followed      // those in memory first, then by the time of their first record
	pending []*followed
	open    int

	flushes    []*Flush // by their last use
	rec        journal.Record
	records    uint64
	suppressed uint64
	newest     uint64 // time of the newest record known of, in µs
	gone       Loss   // of files that are no more
}

// followed is one file that a Reader knows.
type followed struct {
	found
	id       ID
	header   Header
	file     *File // nil: closed
	walk     *walk // with file
	pos      Position
	archived bool
	done     bool   // all read, or not to be read
	missing  bool   // not in the last listing
	from     uint64 // skip leading records that are older, in µs since 1970; 0: none
	flush    *Flush // that of its last record
	loss     Loss   // of the file before it was closed
	err      error  // why it cannot be read
}

// departed is a file that may come back: a listing during which a file is
// renamed can miss it under both of its names.
type departed struct {
	pos  Position
	when time.Time // zero: the cursor spoke of it, and no listing has been
}

// NewReader follows the journal files in dirs (/var/log/journal and
// /run/log/journal, or folders with journal files right in them) from their
// beginnings; SeekTime and SeekCursor, called before the first Next, say otherwise.
func NewReader(dirs []string, o Options) *Reader {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Reader{dirs: dirs, opts: o, scratch: newScratch(), resume: map[ID]departed{}}
}

// SeekTime skips the records before t of the files that exist at the first Next.
// It is for a first start: with a cursor, what is not in it is new.
func (r *Reader) SeekTime(t time.Time) { r.since = t }

// SeekCursor goes on where a Reader stopped when it gave c.
func (r *Reader) SeekCursor(c Cursor) {
	for _, p := range c.Files {
		r.resume[p.File] = departed{pos: p}
	}
	for _, l := range c.Flushes {
		r.flushes = append(r.flushes, &l)
	}
	r.continues = r.continues || len(c.Files) > 0
}

// Cursor is how far this Reader has come.
func (r *Reader) Cursor() Cursor {
	var c Cursor
	for _, l := range r.flushes {
		c.Flushes = append(c.Flushes, *l)
	}
	for _, f := range r.files {
		if f.pos.Passed > 0 {
			c.Files = append(c.Files, f.pos)
		}
	}
	// Files that have not been seen again may only be out of reach for now.
	for _, d := range r.resume {
		c.Files = append(c.Files, d.pos)
	}
	slices.SortFunc(c.Files, func(a, b Position) int { return strings.Compare(string(a.File[:]), string(b.File[:])) })
	return c
}

// Close closes all files.
func (r *Reader) Close() {
	for _, f := range r.files {
		r.closeFile(f)
	}
	for _, d := range r.folders {
		d.close()
	}
	r.files, r.folders = nil, nil
}

// Next hands over all records that came since the last call, in the order of
// their times as far as each file's own order allows, and returns how many. A
// record is only good during the call. Next ends at the first error of visit, and
// returns it; the record in question is handed over again next time. That files
// or folders cannot be read is no error here: Health tells.
func (r *Reader) Next(visit func(*journal.Record) error) (int, error) {
	if now := r.opts.Now(); r.mustList(now) {
		r.list(now)
	}
	r.pending = r.pending[:0]
	for _, f := range r.files {
		if r.check(f) {
			r.pending = append(r.pending, f)
		}
	}
	n, err := r.merge(visit)
	r.forgetMissing()
	return n, err
}

// check reports whether there may be something new in f.
func (r *Reader) check(f *followed) bool {
	if f.done {
		return false
	}
	if f.file == nil {
		return f.err == nil && !f.missing
	}
	old := f.file.header.Entries
	if err := f.file.Refresh(); err != nil {
		r.fail(f, err)
		return false
	}
	f.header = f.file.header
	r.newest = max(r.newest, f.header.Tail)
	f.walk.refreshed()
	return f.walk.have || f.archived || f.missing || f.header.Entries != old || f.walk.waited != 0 || f.pos.Passed < f.header.Entries
}

// merge hands over what the pending files hold, the oldest record first.
func (r *Reader) merge(visit func(*journal.Record) error) (int, error) {
	n := 0
	for len(r.pending) > 0 {
		i, bound, mayTie := r.oldest()
		if i < 0 {
			break
		}
		f := r.pending[i]
		if f.file == nil {
			if err := r.openFile(f); err != nil {
				r.fail(f, err)
				r.pending = slices.Delete(r.pending, i, i+1)
			}
			continue // only now its first record's time is known
		}
		for f.walk.peek() && (f.walk.cur.realtime < bound || mayTie && f.walk.cur.realtime == bound) {
			handed, err := r.hand(f, visit)
			if err != nil {
				return n, err
			}
			if handed {
				n++
			}
		}
	}
	return n, nil
}

// oldest finds the pending file whose next record is the oldest, and the time
// from which on another one's turn comes. Files that have nothing more leave.
func (r *Reader) oldest() (index int, bound uint64, mayTie bool) {
	index, bound = -1, math.MaxUint64
	least, second := uint64(math.MaxUint64), -1
	kept := r.pending[:0]
	for _, f := range r.pending {
		at := f.header.Head
		if f.file != nil {
			if !f.walk.peek() {
				r.finish(f)
				continue
			}
			at = f.walk.cur.realtime
		}
		kept = append(kept, f)
		i := len(kept) - 1
		switch {
		case index < 0 || at < least:
			bound, second = least, index
			least, index = at, i
		case at < bound || second < 0:
			bound, second = at, i
		}
	}
	r.pending = kept
	// Of equal times the file that stands first goes first: memory before disk.
	return index, bound, second < 0 || index < second
}

// hand passes one record on, if it is wanted.
func (r *Reader) hand(f *followed, visit func(*journal.Record) error) (bool, error) {
	e := &f.walk.cur
	if f.from != 0 && e.realtime >= f.from {
		f.from = 0
	}
	mine, other := r.flush(f, e.boot).sides(f.volatile)
	copied := other.has(e.monotonic)
	wanted := f.from == 0 && !copied && (r.opts.Until.IsZero() || !micros(e.realtime).After(r.opts.Until))
	if wanted {
		f.file.record(e, &r.rec)
		if wanted = r.opts.Match.Accepts(&r.rec); wanted {
			if err := visit(&r.rec); err != nil {
				return false, err
			}
			r.records++
		}
		r.suppressed += suppressed(&r.rec)
	}
	if copied {
		other.meet(e.monotonic)
	} else {
		mine.pass(e.monotonic, 1, other)
	}
	r.newest = max(r.newest, e.realtime)
	f.walk.take()
	f.pos = f.walk.position()
	return wanted, nil
}

// suppressed is how many messages journald says it has dropped: services that
// log faster than its rate limit allows.
func suppressed(rec *journal.Record) uint64 {
	if rec.Identifier != "systemd-journald" {
		return 0
	}
	var n uint64
	if _, err := fmt.Sscanf(string(rec.Message), "Suppressed %d messages from", &n); err != nil {
		return 0
	}
	return n
}

// finish closes a file that nobody will write to any more.
func (r *Reader) finish(f *followed) {
	f.pos = f.walk.position()
	if f.archived || f.missing {
		f.done = true
		f.pos.Passed = max(f.pos.Passed, f.header.Entries)
		r.closeFile(f)
	}
}

// errMoved: another file has taken its place since the folder was listed; the
// next listing finds both.
var errMoved = fmt.Errorf("it was renamed: %w", fs.ErrNotExist)

var errTooManyOpen = fmt.Errorf("not read: %d journal files are open already", maxOpen)

// openFile opens f and goes to where its reading has come.
func (r *Reader) openFile(f *followed) error {
	if r.open >= maxOpen {
		return errTooManyOpen
	}
	file, err := open(f.path, r.scratch)
	if err != nil {
		return err
	}
	if file.header.FileID != f.id {
		file.Close()
		return errMoved
	}
	r.open++
	f.file, f.header = file, file.header
	f.walk = file.walkAll()
	if r.indexed {
		f.walk = file.walkMatching(&r.opts.Match)
	}
	switch {
	case f.pos.Passed > 0:
		f.walk.resume(f.pos)
	case f.from != 0:
		if last := f.walk.seekTime(micros(f.from)); last.offset != 0 {
			mine, other := r.flush(f, last.boot).sides(f.volatile)
			mine.pass(last.monotonic, uncounted, other)
		}
	}
	return nil
}

func (r *Reader) closeFile(f *followed) {
	if f.file == nil {
		return
	}
	f.loss.add(f.file.loss)
	f.file.Close()
	f.file, f.walk = nil, nil
	r.open--
}

// fail gives f up until the next listing.
func (r *Reader) fail(f *followed, err error) {
	f.err = err
	r.closeFile(f)
}

// add takes in what else was lost.
func (l *Loss) add(o Loss) {
	l.Records += o.Records
	l.Fields += o.Fields
	if l.First == "" {
		l.First = o.First
	}
}
