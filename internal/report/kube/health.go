package kube

// This file: how the writing itself is doing, for people. It is said in the log
// when it begins to fail, fails in another way, or works again.

import (
	"log/slog"
	"time"
)

type health struct {
	log       *slog.Logger
	what      string // is done
	last      result // of the failure that was logged last; empty while all is well
	note      string // the newest failure
	failures  int    // in a row
	notBefore time.Time
}

func (h *health) failed(f *failure, advice string) {
	h.failures++
	h.note = "cannot " + h.what + ": " + f.text
	if advice != "" {
		h.note += " (" + advice + ")"
	}
	if f.result != h.last {
		h.log.Warn(h.note, "result", string(f.result))
		h.last = f.result
	}
}

func (h *health) worked() {
	if h.last != "" {
		h.log.Info("can "+h.what+" again", "failures", h.failures)
	}
	*h = health{log: h.log, what: h.what}
}

// Notes are what people should know about the publishing itself: why it fails, or
// who else writes. Safe for concurrent use.
func (r *Reporter) Notes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var notes []string
	for _, n := range []string{r.npd, r.writing.note, r.telling.note} {
		if n != "" {
			notes = append(notes, n)
		}
	}
	return notes
}
