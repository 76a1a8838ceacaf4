// Package journal makes journal files with systemd's own programs and compares
// what our reader finds in them with what was written and with what journalctl
// says.
package journal

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/test/export"
)

const remote = "/lib/systemd/systemd-journal-remote"

// need skips the test, loudly, where a program is missing.
func need(tb testing.TB, programs ...string) {
	tb.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			tb.Skipf("SKIPPED: %v; test/install-deps installs it", err)
		}
	}
}

// generate returns records in the export format, and what they are.
func generate(tb testing.TB, o export.Options) ([]byte, []export.Record) {
	tb.Helper()
	var b bytes.Buffer
	if err := export.Generate(&b, o); err != nil {
		tb.Fatal(err)
	}
	all, err := export.Parse(bytes.NewReader(b.Bytes()))
	if err != nil {
		tb.Fatal(err)
	}
	if len(all) != o.Records {
		tb.Fatalf("%d records were generated, want %d", len(all), o.Records)
	}
	return b.Bytes(), all
}

// remoteCommand writes what comes on its standard input to a journal file.
func remoteCommand(tb testing.TB, path string, compact bool) *exec.Cmd {
	tb.Helper()
	need(tb, remote)
	cmd := exec.Command(remote, "-o", path, "-")
	value := "0"
	if compact {
		value = "1"
	}
	cmd.Env = append(os.Environ(), "SYSTEMD_JOURNAL_COMPACT="+value)
	return cmd
}

// makeJournal writes stream to a journal in dir.
func makeJournal(tb testing.TB, dir string, compact bool, stream []byte) {
	tb.Helper()
	cmd := remoteCommand(tb, filepath.Join(dir, "system.journal"), compact)
	cmd.Stdin = bytes.NewReader(stream)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %s", err, out)
	}
}

// journalctl is what systemd says is in dir.
func journalctl(tb testing.TB, dir string, args ...string) []export.Record {
	tb.Helper()
	need(tb, "journalctl")
	cmd := exec.Command("journalctl", append([]string{"--directory=" + dir, "--output=export", "--no-pager"}, args...)...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%v: %s", err, errs.String())
	}
	all, err := export.Parse(bytes.NewReader(out))
	if err != nil {
		tb.Fatal(err)
	}
	return all
}
