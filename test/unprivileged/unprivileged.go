// Package unprivileged lets a test that runs as root meet files that are closed.
package unprivileged

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Test takes from the goroutine of t, if it is root's, the two capabilities that
// open every file (capabilities(7)): to others it is as to anyone whose files they
// are not, and a mode of 0 is refused. It lasts until the test ends.
func Test(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread() // capabilities are a thread's, and this one ends with the test
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	sets[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	if err := unix.Capset(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
}
