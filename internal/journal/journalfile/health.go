package journalfile

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
)

// StandsStill is how old the newest record may be: on a node that works,
// something logs more often than that.
const StandsStill = time.Hour

// maxProblems bounds the list of what is wrong with the files.
const maxProblems = 20

// Health says how well a Reader sees.
type Health struct {
	Files      int       // journal files in the folders
	Records    uint64    // handed over
	Newest     time.Time // of all records known of; zero if there is none
	Loss       Loss      // over all files
	Suppressed uint64    // messages that journald says it has dropped, among the records read
	// Problems says of files and folders what could not be read and why.
	Problems []string
	// Blind says why records are missing that are being written now; empty if none
	// are known to be.
	Blind string
}

// Health is how well the Reader sees at the time now.
func (r *Reader) Health(now time.Time) Health {
	h := Health{Files: len(r.files), Records: r.records, Suppressed: r.suppressed, Loss: r.gone}
	if r.newest != 0 {
		h.Newest = micros(r.newest)
	}
	var blind []string
	for _, dir := range slices.Sorted(maps.Keys(r.errs)) {
		blind = append(blind, unreadable(dir, r.errs[dir]))
	}
	for _, f := range r.files {
		loss := f.loss
		if f.file != nil {
			loss.add(f.file.loss)
		}
		h.Loss.add(loss)
		switch {
		case errors.Is(f.err, fs.ErrNotExist): // the next listing knows more
		case f.err != nil && f.archived:
			h.problem(unreadable(f.path, f.err))
		case f.err != nil:
			blind = append(blind, unreadable(f.path, f.err))
		case loss != Loss{}:
			h.problem(fmt.Sprintf("%s: %s; %d records and %d fields lost", f.path, loss.First, loss.Records, loss.Fields))
		}
	}
	if r.started && len(blind) == 0 {
		switch age := now.Sub(h.Newest); {
		case len(r.files) == 0:
			blind = append(blind, "no journal files in "+strings.Join(r.dirs, ", "))
		case h.Newest.IsZero():
			blind = append(blind, "the journal holds no record")
		case age > StandsStill:
			blind = append(blind, fmt.Sprintf("no record for %s: the newest is of %s", age.Truncate(time.Minute), h.Newest.UTC().Format(time.RFC3339)))
		}
	}
	for _, b := range blind {
		h.problem(b)
	}
	if len(blind) > 0 {
		h.Blind = blind[0]
	}
	if len(blind) > 1 {
		h.Blind += fmt.Sprintf(" (and %d more)", len(blind)-1)
	}
	return h
}

func (h *Health) problem(text string) {
	if len(h.Problems) < maxProblems {
		h.Problems = append(h.Problems, text)
	}
}

// unreadable says it once, although errors may name the path themselves.
func unreadable(path string, err error) string {
	var unsupported *UnsupportedError
	if errors.As(err, &unsupported) {
		return path + " " + unsupported.Error()
	}
	text := err.Error()
	for _, before := range []string{"open " + path + ": ", path + ": "} {
		text = strings.TrimPrefix(text, before)
	}
	return path + " is not readable: " + text
}
