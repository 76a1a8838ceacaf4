package host

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hostile is a host whose owner would like us to read our own secret.
func hostile(t *testing.T) (h *Host, secret string) {
	t.Helper()
	top := t.TempDir()
	secret = filepath.Join(top, "secret")
	root := filepath.Join(top, "host")
	for _, dir := range []string{"proc", "etc", "var/log", "data"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{
		secret: "ours", filepath.Join(root, "proc/loadavg"): "", filepath.Join(root, "data/file"): "theirs",
		// What an absolute link means on the host.
		filepath.Join(root, "etc/shadow"): "the host's",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"absolute": secret, "up": "../secret", "far-up": strings.Repeat("../", 40) + secret[1:], "folder": top,
		"shadow": "/etc/shadow", "inside": "/data", "round": "round", "magic": "/proc/self/root",
	} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	return h, secret
}

// TestLinksStayInside: no link of a host that is mounted somewhere leads into our
// own files, with openat2 and without.
func TestLinksStayInside(t *testing.T) {
	for _, old := range []bool{false, true} {
		h, secret := hostile(t)
		if !old && h.Unconfined() != "" {
			t.Logf("SKIPPED in part: %s", h.Unconfined())
			continue
		}
		if old {
			h.unconfined = "the test says so"
		}
		for _, p := range []string{"/absolute", "/up", "/far-up", "/folder/secret", "/magic" + secret, "/data/../../secret", "/round", "/fifo"} {
			if b, err := h.ReadFile(p); err == nil && len(b) > 0 {
				t.Errorf("without openat2 %t: %s has %q", old, p, b)
			}
			if b, err := h.ReadSmall(p, make([]byte, 100)); err == nil && len(b) > 0 {
				t.Errorf("without openat2 %t: %s has %q", old, p, b)
			}
		}
		for p, want := range map[string]string{"/shadow": "the host's", "/inside/file": "theirs", "/data/file": "theirs", "/../data/file": "theirs"} {
			if b, err := h.ReadFile(p); err != nil || string(b) != want {
				t.Errorf("without openat2 %t: %s has %q, %v; want %q", old, p, b, err, want)
			}
		}
		if names, err := h.ReadDirNames("/folder"); err == nil {
			t.Errorf("without openat2 %t: lists our own %q", old, names)
		}
		if names, err := h.ReadDirNames("/inside"); err != nil || !slices.Equal(names, []string{"file"}) {
			t.Errorf("without openat2 %t: lists %q, %v", old, names, err)
		}
	}
}

// TestRootThatIsALink: the root itself may be one, it is ours.
func TestRootThatIsALink(t *testing.T) {
	h, _ := hostile(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(h.root, link); err != nil {
		t.Fatal(err)
	}
	linked, err := New(link)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := linked.ReadString("/data/file"); b != "theirs" || err != nil {
		t.Errorf("%q %v", b, err)
	}
}

// TestEachName: a folder with more names than are read at a time is handed on whole, or
// as far as it is wanted.
func TestEachName(t *testing.T) {
	const files = 1300
	root := t.TempDir()
	for i := range files {
		if err := os.WriteFile(filepath.Join(root, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h, err := New("/")
	if err != nil {
		t.Fatal(err)
	}
	if names, err := h.ReadDirNames(root); err != nil || len(names) != files {
		t.Errorf("%d names, %v", len(names), err)
	}
	seen := 0
	if err := h.EachName(root, func(string) bool { seen++; return seen < 700 }); err != nil || seen != 700 {
		t.Errorf("%d names, %v", seen, err)
	}
	if err := h.EachName(root+"/0", func(string) bool { return true }); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
}
