package probes

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: the errors that ext4 has found in its own structures. It keeps them
// in the file system itself: an old number says nothing of now.

const ext4Folder = "/sys/fs/ext4"

// ext4Record are what one file system tells of its errors
// (Documentation/ABI/testing/sysfs-fs-ext4).
type ext4Record struct {
	count uint64
	last  uint64 // when, in s since 1970; 0: never, or the kernel does not say
	what  string // the function that found the last one; empty if not known
}

// corruption judges the ext4 file systems that are mounted; ext2 and ext3 are
// among them, which the same driver serves.
func (p *Disks) corruption(h *host.Host) ([]problem.Verdict, error) {
	names, err := h.ReadDirNames(ext4Folder)
	if errors.Is(err, fs.ErrNotExist) {
		names, err = nil, nil // of other file systems the log tells
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	boot := h.Clock.Wall().Add(-h.Clock.Boot())
	first := map[string]ext4Record{}
	var out []problem.Verdict
	for _, name := range names {
		e, err := readExt4Errors(h, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // "features", or unmounted meanwhile
		}
		if err != nil {
			out = append(out, problem.Verdict{Kind: problem.FilesystemCorruption, Subject: name, State: problem.Unknown, Message: err.Error()})
			continue
		}
		base, known := p.errors[name]
		if !known || e.count < base.count { // new, or repaired and mounted again
			base = e
		}
		first[name] = base
		if v, ok := evaluateExt4(name, base, e, boot); ok {
			out = append(out, v)
		}
	}
	p.errors = first
	return out, nil
}

func readExt4Errors(h *host.Host, name string) (e ext4Record, err error) {
	dir := ext4Folder + "/" + name
	if e.count, err = readUint(h, dir+"/errors_count"); err != nil || e.count == 0 {
		return e, err
	}
	// Not all kernels have these.
	e.last, _ = readUint(h, dir+"/last_error_time")
	e.what, _ = h.ReadString(dir + "/last_error_func")
	return e, nil
}

// evaluateExt4 tells errors of this boot, or that came since the first look
// (whatever the clock said then), from those that were there before.
func evaluateExt4(name string, first, now ext4Record, boot time.Time) (problem.Verdict, bool) {
	risen := now.count > first.count
	if !risen && (now.last == 0 || time.Unix(int64(min(now.last, 1<<62)), 0).Before(boot)) {
		return problem.Verdict{}, false
	}
	evidence := fmt.Sprintf("%s/%s/errors_count: %d", ext4Folder, name, now.count)
	if now.last != 0 {
		evidence += fmt.Sprintf(", the last one %s", time.Unix(int64(min(now.last, 1<<62)), 0).UTC().Format(time.RFC3339))
	}
	if now.what != "" {
		evidence += " in " + now.what
	}
	return problem.Verdict{
		Kind: problem.FilesystemCorruption, Subject: name, State: problem.Wrong, Severity: problem.Critical, Scope: problem.NodeScope,
		Message:  fmt.Sprintf("ext4 on %s has found errors in its structures since the node was started", name),
		Evidence: []string{evidence},
		Touches:  []problem.Ref{problem.NewRef(problem.RefDevice, name)},
	}, true
}
