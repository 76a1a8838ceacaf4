// Package unprivileged lets a test that runs as root see files as others do.
package unprivileged

import (
	"os"
	"path/filepath"
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

// Open lets every user reach dir, which is the test's own: it and what is above it,
// up to the folder of temporary files, which is everybody's and stays as it is.
func Open(t testing.TB, dir string) {
	t.Helper()
	for top := filepath.Clean(os.TempDir()); dir != top && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
