package tracker

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// saved is the serialised form; its fields are the file format.
type saved struct {
	Entries []savedEntry                `json:"entries"`
	Kinds   map[problem.Kind]*kindState `json:"kinds"`
}

type savedEntry struct {
	Kind    problem.Kind `json:"kind"`
	Subject string       `json:"subject,omitempty"`
	entry
}

// MarshalJSON serialises the state, so that a restart of the agent goes on
// where it stopped. Times are boot times: the file is only good for this boot.
func (t *Tracker) MarshalJSON() ([]byte, error) {
	s := saved{Kinds: t.kinds}
	for id, e := range t.entries {
		s.Entries = append(s.Entries, savedEntry{id.Kind, id.Subject, *e})
	}
	slices.SortFunc(s.Entries, func(a, b savedEntry) int {
		return strings.Compare(string(a.Kind)+"\x00"+a.Subject, string(b.Kind)+"\x00"+b.Subject)
	})
	return json.Marshal(s)
}

// UnmarshalJSON goes on from a serialised state. What is expected of probes (Expect)
// is still to come: what they saw in the last run is no verdict of this one, and what
// no probe decides any more is over. Kinds that the catalogue no longer has are dropped.
func (t *Tracker) UnmarshalJSON(b []byte) error {
	var s saved
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("tracker state: %w", err)
	}
	clear(t.entries)
	clear(t.perKind)
	for _, e := range s.Entries {
		if _, known := t.catalogue.Get(e.Kind); !known {
			continue
		}
		if e.Level == problem.Wrong {
			e.unknown(problem.Unknown, starting)
		}
		if t.kinds[e.Kind] == nil {
			e.unknown(problem.NotApplicable, "no probe decides it any more")
		}
		*t.entries[t.admit(e.Kind, e.Subject)] = e.entry
	}
	for k, ks := range t.kinds {
		if old := s.Kinds[k]; old != nil {
			ks.LastGood, ks.Decided = old.LastGood, old.Decided
		}
	}
	return nil
}

// awayMost is how long the agent may have been away for two runs to count as
// consecutive, one before and one after: replacing a pod takes less.
const awayMost = 5 * time.Minute

// Away says that nothing was looked at for d, before a state is gone on from.
// Problems and lines stay; what takes several runs in a row begins anew.
func (t *Tracker) Away(d time.Duration) {
	if d <= awayMost {
		return
	}
	for _, e := range t.entries {
		e.Wrong, e.Crit, e.Below, e.Fines = streak{}, streak{}, 0, 0
	}
}
