package journalfile

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/nodevitals/nodevitals/test/export"
	"github.com/ulikunitz/xz"
)

// fixtureDir holds the journal files of systemd 257.
const fixtureDir = "../../../test/fixtures/journals"

func unxz(tb testing.TB, path string) []byte {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := xz.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// fixture unpacks a journal file into dir.
func fixture(tb testing.TB, dir, name string) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, unxz(tb, filepath.Join(fixtureDir, name+".xz")), 0o644); err != nil {
		tb.Fatal(err)
	}
	return path
}

func oracle(tb testing.TB) []export.Record {
	tb.Helper()
	all, err := export.Parse(bytes.NewReader(unxz(tb, filepath.Join(fixtureDir, "oracle.export.xz"))))
	if err != nil {
		tb.Fatal(err)
	}
	return all
}
