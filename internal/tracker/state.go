package tracker

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

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

// UnmarshalJSON replaces the state by a serialised one. Kinds that the
// catalogue no longer has are dropped.
func (t *Tracker) UnmarshalJSON(b []byte) error {
	var s saved
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("tracker state: %w", err)
	}
	clear(t.entries)
	clear(t.kinds)
	clear(t.perKind)
	for _, e := range s.Entries {
		if _, known := t.catalogue.Get(e.Kind); known {
			*t.entries[t.admit(e.Kind, e.Subject)] = e.entry
		}
	}
	for k, ks := range s.Kinds {
		if _, known := t.catalogue.Get(k); known && ks != nil {
			t.kinds[k] = ks
		}
	}
	return nil
}
