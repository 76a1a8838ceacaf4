package journalfile

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"time"
)

// comeBack is for how long the position in a file that vanished is kept.
const comeBack = time.Minute

// mustList reports whether the folders are to be listed.
func (r *Reader) mustList(now time.Time) bool {
	if !r.started || len(r.folders) == 0 && now.Sub(r.listed) > time.Second {
		return true
	}
	if age := now.Sub(r.listed); age > listPace || age < 0 {
		return true
	}
	for _, d := range r.folders {
		if d.changed() {
			return true
		}
	}
	return false
}

// list compares the folders with what is known.
func (r *Reader) list(now time.Time) {
	for _, d := range r.folders {
		d.close()
	}
	l := look(r.dirs, now)
	r.folders, r.errs, r.listed = l.folders, l.errs, now
	known := map[inode]*followed{}
	ids := map[ID]*followed{}
	for _, f := range r.files {
		f.missing = true
		known[f.inode] = f
		if f.id != (ID{}) {
			ids[f.id] = f
		}
	}
	for _, at := range l.files {
		f := known[at.inode]
		if f != nil && (f.file != nil || f.path == at.path && f.err == nil) {
			f.moved(at)
			continue
		}
		r.discover(at, f, ids)
	}
	slices.SortStableFunc(r.files, func(a, b *followed) int {
		if a.volatile != b.volatile {
			if a.volatile {
				return -1
			}
			return 1
		}
		// journald may give records on both sides of a rotation the same time.
		return cmp.Or(cmp.Compare(a.header.Head, b.header.Head), cmp.Compare(a.header.HeadSeq, b.header.HeadSeq))
	})
	for id, d := range r.resume {
		switch {
		case d.when.IsZero():
			r.resume[id] = departed{d.pos, now}
		case now.Sub(d.when) > comeBack && len(l.errs) == 0 && len(r.files) > 0:
			delete(r.resume, id) // removed for good
		}
	}
	r.started = true
}

// moved takes in where a known file is now.
func (f *followed) moved(at found) {
	f.path, f.missing = at.path, false
	f.archived = !activeName(at.path)
	if f.file != nil {
		f.file.path, f.file.active = at.path, !f.archived
	}
}

// discover takes in a file that is new at its place. was is what this inode was
// known as, if anything.
func (r *Reader) discover(at found, was *followed, ids map[ID]*followed) {
	f := &followed{found: at, archived: !activeName(at.path)}
	file, err := open(at.path, r.scratch)
	if err != nil {
		if was != nil && was.err != nil && was.path == at.path {
			was.err, was.missing = err, false
			return
		}
		if !errors.Is(err, errYoung) && !errors.Is(err, fs.ErrNotExist) { // else it shows next time
			f.err = err
			r.files = append(r.files, f)
		}
		return
	}
	defer file.Close()
	f.id, f.header = file.header.FileID, file.header
	if known := ids[f.id]; known != nil {
		if known.missing { // renamed while it was closed
			known.inode, known.err = at.inode, nil
			known.volatile = at.volatile
			known.moved(at)
		}
		return // a copy of a file that is read already
	}
	if f.id != (ID{}) {
		ids[f.id] = f
	}
	r.files = append(r.files, f)
	r.newest = max(r.newest, f.header.Tail)
	if at.volatile {
		w := file.walkAll()
		if w.peek() {
			r.flush(f, w.cur.boot).Memory.began(w.cur.monotonic)
		}
	}
	if d, ok := r.resume[f.id]; ok {
		f.pos = d.pos
		delete(r.resume, f.id)
		f.done = f.archived && f.pos.Passed >= f.header.Entries
		return
	}
	if !r.opts.Until.IsZero() && micros(f.header.Head).After(r.opts.Until) {
		f.done = true
	}
	if r.started || r.continues || r.since.IsZero() {
		return
	}
	f.from = uint64(max(r.since.UnixMicro(), 1))
	if f.archived && !f.volatile && f.header.Tail < f.from && f.header.Tail != 0 {
		f.done = true
		f.pos = Position{File: f.id, Passed: f.header.Entries, Seqnum: f.header.TailSeq, Realtime: f.header.Tail}
	}
}

// forgetMissing drops the files that are no more; what was not read of them is lost.
func (r *Reader) forgetMissing() {
	r.files = slices.DeleteFunc(r.files, func(f *followed) bool {
		if !f.missing || f.file != nil && !f.done && slices.Contains(r.pending, f) {
			return false
		}
		if !f.done && f.pos.Passed < f.header.Entries {
			f.loss.Records += f.header.Entries - f.pos.Passed
			if f.loss.First == "" {
				f.loss.First = f.path + ": removed before it was read"
			}
		}
		r.closeFile(f)
		r.gone.add(f.loss)
		if f.pos.Passed > 0 {
			r.resume[f.id] = departed{f.pos, r.listed}
		}
		return true
	})
}
