// Package build builds the programs of this repository for the tests.
package build

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Go runs the go command at the top of the repository, without cgo, as what is
// shipped is built. What it says is in the error.
func Go(args ...string) error {
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join(filepath.Dir(here), "../..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return nil
}

// Agent builds the agent as it is shipped, into a folder that lasts as long as the
// test.
func Agent(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "agent")
	if err := Go("build", "-ldflags", "-E nodevitals_entry", "-o", bin, "./cmd/agent"); err != nil {
		t.Fatal(err)
	}
	return bin
}
