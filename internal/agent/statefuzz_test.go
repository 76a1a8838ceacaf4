package agent

import (
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/tracker"
)

// FuzzState: whatever the state file holds, the agent starts, and what it made of it
// can be written and read again.
func FuzzState(f *testing.F) {
	for _, s := range []string{
		"", "{}", `{"version":2,"bootID":"b","tracker":{}}`, `{"version":2,"bootID":"b","saved":-1,"cursors":{"text":{"/x":{"inode":1,"offset":-5}}},"tracker":{"entries":null}}`,
	} {
		f.Add([]byte(s))
	}
	if raw, err := encodeState("b", time.Hour, cursors{Kmsg: 7}, tracker.New(problem.Builtin(), false), nil); err == nil {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		told := tracker.New(problem.Builtin(), false)
		s, _, err := decodeState("file", raw, nil, "b", 2*time.Hour, told)
		if err != nil {
			return
		}
		told.Tick(2 * time.Hour)
		again, err := encodeState("b", 2*time.Hour, s.Cursors, told, s.Kube)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", raw, err)
		}
		if _, _, err := decodeState("file", again, nil, "b", 2*time.Hour, tracker.New(problem.Builtin(), false)); err != nil {
			t.Errorf("%q was read, and %q was made of it: %v", raw, again, err)
		}
	})
}
