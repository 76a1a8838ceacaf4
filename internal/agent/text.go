package agent

// This file gives back the memory that only the start needed.

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// segment is a part of the program's file that is mapped and never written.
type segment struct{ from, to uintptr }

// UnmapText drops the pages of the program's own text and constants from its
// address space. Two thirds of them are initialisation that never runs again (the
// tables of the API's types, regular expressions being compiled); those that do
// come back from the page cache, one minor fault each. The mount helper does the same.
func UnmapText() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for _, s := range textSegments(string(maps), exe) {
		// See madvise(2): of a private mapping of a file that was not written, nothing
		// is lost. That it may fail costs memory only.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, s.from, s.to-s.from, unix.MADV_DONTNEED)
	}
}

// textSegments are those of the file exe in maps, see proc_pid_maps(5), that
// cannot be written.
func textSegments(maps, exe string) []segment {
	var out []segment
	for line := range strings.Lines(maps) {
		f := strings.Fields(line)
		if len(f) != 6 || f[5] != exe || len(f[1]) != 4 || f[1][1] != '-' || f[1][3] != 'p' {
			continue
		}
		a, b, _ := strings.Cut(f[0], "-")
		from, err1 := strconv.ParseUint(a, 16, 64)
		to, err2 := strconv.ParseUint(b, 16, 64)
		if err1 == nil && err2 == nil && from < to {
			out = append(out, segment{uintptr(from), uintptr(to)})
		}
	}
	return out
}
