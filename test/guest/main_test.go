// Package guest makes the failures that the kernel of the machine at hand cannot
// make, or that would be the whole machine's: in a virtual machine with Debian's
// kernel, in which there is nothing but this test binary, as PID 1, and the agent.
//
// Each test boots a guest of its own and goes on inside of it; what it says there
// comes over a serial line. QEMU emulates the processor where it must, so that no
// virtualisation is needed. `make guest` runs them.
package guest

import (
	"os"
	"testing"

	"github.com/nodevitals/nodevitals/test/helper"
)

// insideEnv is set inside a guest: the kernel hands what it does not know of its
// command line to PID 1, in the environment.
const insideEnv = "NODEVITALS_GUEST"

func TestMain(m *testing.M) {
	if os.Getpid() == 1 && os.Getenv(insideEnv) != "" {
		beInit(m)
	}
	helper.Main(m, map[string]func(){"user": user, "writer": writer})
}

// inside boots a guest with some kernel modules that runs this one test, and takes
// over what becomes of it. It reports whether this is the guest already.
func inside(t *testing.T, modules ...string) bool {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		return true
	}
	boot(t, modules)
	return false
}
