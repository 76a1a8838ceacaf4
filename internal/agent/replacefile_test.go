package agent

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReplaceFile: a file is replaced whole or not at all, whatever was left in the
// place where the next one is made.
func TestReplaceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodevitals.prom")
	for what, leave := range map[string]func(string) error{
		"nothing":             func(string) error { return nil },
		"a file":              func(p string) error { return os.WriteFile(p, []byte("left by a kill"), 0o600) },
		"a link":              func(p string) error { return os.Symlink("/dev/full", p) },
		"a FIFO nobody reads": func(p string) error { return unix.Mkfifo(p, 0o600) },
	} {
		if err := leave(path + ".new"); err != nil {
			t.Fatal(err)
		}
		if err := ReplaceFile(path, []byte(what), 0o644); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		raw, err := os.ReadFile(path)
		if err != nil || string(raw) != what {
			t.Errorf("it holds %q, %v; want %q", raw, err, what)
		}
		if left, _ := filepath.Glob(path + ".*"); len(left) != 0 {
			t.Errorf("%s: left behind: %v", what, left)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", what, info, err)
		}
	}
	folder := path + ".folder"
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceFile(folder, nil, 0o644); err == nil {
		t.Error("replaced a folder")
	}
	if left, _ := filepath.Glob(folder + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
