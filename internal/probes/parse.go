package probes

// Small parsers that several probes share.

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// bounded is the beginning of a file's content, for an error message.
func bounded(raw []byte) string {
	const most = 120
	if len(raw) > most {
		return string(raw[:most]) + "…"
	}
	return string(raw)
}

// readUint reads a file that holds one number.
func readUint(h *host.Host, path string) (uint64, error) {
	var buf [64]byte // some are read of each of thousands of cgroups
	b, err := h.ReadSmall(path, buf[:])
	if err != nil {
		return 0, err
	}
	b = bytes.TrimSpace(b)
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a number", path, bounded(b))
	}
	return n, nil
}

// lineValue is the first number after key, at the beginning of a line, in a file
// of lines "key number": /proc/vmstat, /proc/meminfo (where the key ends with a
// colon), a cgroup's flat files.
func lineValue(raw []byte, key string) (uint64, bool) {
	for line := range bytes.Lines(raw) {
		rest, ok := bytes.CutPrefix(line, []byte(key))
		if !ok || len(rest) == 0 || rest[0] != ' ' && rest[0] != '\t' {
			continue
		}
		if f := bytes.Fields(rest); len(f) > 0 {
			n, err := strconv.ParseUint(string(f[0]), 10, 64)
			return n, err == nil
		}
		return 0, false
	}
	return 0, false
}

// coarse renders a counter so that a message does not change at every run:
// exact below 100, else two digits.
func coarse(n uint64) string {
	if n < 100 {
		return strconv.FormatUint(n, 10)
	}
	unit := uint64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return strconv.FormatUint(n/unit*unit, 10) + "+"
}

// risen is by how much a counter has risen. One that went back was reset, and
// begins anew.
func risen(prev, cur uint64) uint64 {
	if cur < prev {
		return 0
	}
	return cur - prev
}

// gone reports whether err says that a process or cgroup, or a file of it, is not
// there (any more).
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}
