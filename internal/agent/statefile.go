package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nodevitals/nodevitals/internal/tracker"
)

// stateVersion is the version of the state file's format. A file of another one
// is not read.
const stateVersion = 2

// savedState is what a restart needs: how far each log was read, and what the
// tracker made of it. Both are in one file that is replaced whole, so that no
// record counts twice after a clean stop and none is lost after any other.
type savedState struct {
	Version int `json:"version"`
	// BootID is the boot that the tracker's times are of. After a reboot only the
	// cursors of files on disk hold.
	BootID  string          `json:"bootID"`
	Cursors cursors         `json:"cursors"`
	Tracker json.RawMessage `json:"tracker"`
}

// loadState reads the file at path into t and returns the cursors. A missing file
// is a first start; an error says why there is nothing to go on from.
func loadState(path, bootID string, t *tracker.Tracker) (cursors, bool, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cursors{}, false, nil
	}
	if err != nil {
		return cursors{}, false, err
	}
	var s savedState
	if err := json.Unmarshal(raw, &s); err != nil {
		return cursors{}, false, fmt.Errorf("%s: %w", path, err)
	}
	if s.Version != stateVersion {
		return cursors{}, false, fmt.Errorf("%s is of version %d, this agent reads %d", path, s.Version, stateVersion)
	}
	if s.BootID != bootID {
		s.Cursors.Kmsg = 0
		return s.Cursors, true, nil
	}
	if err := json.Unmarshal(s.Tracker, t); err != nil {
		return cursors{}, false, fmt.Errorf("%s: %w", path, err)
	}
	return s.Cursors, true, nil
}

// saveState replaces the file at path. It is on disk, whole, when this returns
// without an error, whatever happens to the machine then.
func saveState(path, bootID string, c cursors, t *tracker.Tracker) error {
	inner, err := json.Marshal(t)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(savedState{stateVersion, bootID, c, inner})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".state-*")
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
