package mounthelper

// This file keeps the helper small.

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fixed is below where a program lies that is linked to a fixed address. Only such a
// one is known to have written nowhere but into its writable part.
const fixed = 1 << 32

// dropProgram unmaps the program's code and constants, much of which its start has
// touched, and returns free memory. The kernel has the file cached, and maps again
// the little that the helper uses.
func dropProgram() {
	debug.FreeOSMemory()
	raw, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(raw)) {
		// 00400000-00bfa000 r-xp 00000000 fe:00 1234 /usr/bin/agent
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "r-xp" && f[1] != "r--p" || f[4] == "0" {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		a, err1 := strconv.ParseUint(from, 16, 64)
		b, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil && a < b && b < fixed {
			_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, uintptr(a), uintptr(b-a), unix.MADV_DONTNEED)
		}
	}
}
