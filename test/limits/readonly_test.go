package limits

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// A file system turns read-only while it is watched, and writable again.
func TestReadonlyFlip(t *testing.T) {
	dir := t.TempDir()
	ext4(t, dir, "")
	n, p := node(t), probes.NewReadonly()
	silent(t, look(t, p, n), problem.ReadonlyFilesystem, dir)
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	for range 2 { // it stays so
		v := wrong(look(t, p, n), problem.ReadonlyFilesystem, dir)
		if v == nil || v.Severity != problem.Critical || v.Scope != problem.NodeScope || !strings.Contains(v.Message, "has become read-only") {
			t.Fatalf("%+v", v)
		}
	}
	silent(t, look(t, probes.NewReadonly(), n), problem.ReadonlyFilesystem, dir) // by design, for all who see it first
	remount(0)
	silent(t, look(t, p, n), problem.ReadonlyFilesystem, dir)
}

// ext4 finds itself damaged and takes no more writes: seen at the first look.
func TestReadonlyAfterError(t *testing.T) {
	dir := t.TempDir()
	ext4(t, dir, "errors=remount-ro")
	n := node(t)
	silent(t, look(t, probes.NewReadonly(), n), problem.ReadonlyFilesystem, dir)
	trigger := filepath.Join("/sys/fs/ext4", sourceOf(t, dir), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("test"), 0); err != nil {
		t.Skipf("SKIPPED: this kernel cannot make an ext4 error on demand: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o644); err == nil {
		t.Fatal("the file system still takes writes")
	}
	v := wrong(look(t, probes.NewReadonly(), n), problem.ReadonlyFilesystem, dir)
	if v == nil || v.Severity != problem.Critical || len(v.Evidence) != 2 || !strings.HasSuffix(v.Evidence[1], "errors_count: 1") {
		t.Fatalf("%+v", v)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	silent(t, look(t, probes.NewReadonly(), n), problem.ReadonlyFilesystem, dir)
}

// A file system is shut down, as it does itself when its journal fails.
func TestReadonlyShutdown(t *testing.T) {
	dir := t.TempDir()
	ext4(t, dir, "")
	n := node(t)
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	// EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32); 2 is NOLOGFLUSH (fs/ext4/ext4.h).
	const shutdown, noLogFlush = 0x8004587d, 2
	err = unix.IoctlSetPointerInt(int(d.Fd()), shutdown, noLogFlush)
	_ = d.Close()
	if err != nil {
		t.Skipf("SKIPPED: this kernel cannot shut ext4 down: %v", err)
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(table) {
		if bytes.Contains(line, []byte(" "+dir+" ")) && !bytes.Contains(line, []byte("shutdown")) {
			t.Skipf("SKIPPED: this kernel does not show that ext4 was shut down (new in Linux 6.15): %s", line)
		}
	}
	v := wrong(look(t, probes.NewReadonly(), n), problem.ReadonlyFilesystem, dir)
	if v == nil || v.Severity != problem.Critical || !strings.Contains(v.Message, "has shut itself down") {
		t.Fatalf("%+v", v)
	}
}

// sourceOf is the name of the device that is mounted at dir.
func sourceOf(t *testing.T, dir string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(link)
}
