package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

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
	BootID string `json:"bootID"`
	// Saved is when, as boot time.
	Saved   time.Duration   `json:"saved"`
	Cursors cursors         `json:"cursors"`
	Tracker json.RawMessage `json:"tracker"`
	// Kube is what was published to the API server; it also holds after a reboot.
	Kube json.RawMessage `json:"kube,omitempty"`
}

// maxState bounds the state file, in bytes. What the tracker and the cursors keep
// is bounded to a few hundred KiB; a file of more than this is no state of ours.
const maxState = 16 << 20

// readState reads the file at path.
func readState(path string) ([]byte, error) {
	// O_NONBLOCK: what stands in the file's place may be one that makes a reader wait.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err == nil && len(raw) > maxState {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxState>>20)
	}
	return raw, err
}

// decodeState reads what readState returned, and the tracker's part of it into t. A
// missing file is a first start; an error says why there is nothing to go on from.
func decodeState(path string, raw []byte, err error, bootID string, now time.Duration, t *tracker.Tracker) (savedState, bool, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return savedState{}, false, nil
	}
	if err != nil {
		return savedState{}, false, err
	}
	var s savedState
	if err := json.Unmarshal(raw, &s); err != nil {
		return savedState{}, false, fmt.Errorf("%s: %w", path, err)
	}
	if s.Version != stateVersion {
		return savedState{}, false, fmt.Errorf("%s is of version %d, this agent reads %d", path, s.Version, stateVersion)
	}
	if s.BootID != bootID {
		s.Cursors.Kmsg = 0
		return s, true, nil
	}
	if err := json.Unmarshal(s.Tracker, t); err != nil {
		return savedState{}, false, fmt.Errorf("%s: %w", path, err)
	}
	t.Away(now - s.Saved)
	return s, true, nil
}

// encodeState is the content of the state file.
func encodeState(bootID string, now time.Duration, c cursors, t *tracker.Tracker, kube json.RawMessage) ([]byte, error) {
	inner, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return json.Marshal(savedState{stateVersion, bootID, now, c, inner, kube})
}

// writeState replaces the file at path, and makes its folder if need be.
func writeState(path string, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return ReplaceFile(path, raw, 0o600)
}
