package limits

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

const diskPath = "NODEVITALS_TEST_DISK"

// diskReader reads a block of a disk at each order, from the disk itself. While
// that does not answer, nobody can kill it.
func diskReader() {
	disk, err := unix.Open(os.Getenv(diskPath), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		fail(err)
	}
	// Direct I/O wants aligned memory, which a mapping is.
	block, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		fail(err)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println("asking")
		_, err := unix.Pread(disk, block, 0)
		fmt.Println("answered", err)
	}
}

// A disk stops to answer: one that lies in a file whose server stops to. Nothing
// is mounted from it, and nobody but the helper reads it.
func TestDiskHung(t *testing.T) {
	needRoot(t)
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	server := start(t, "fuse-server", nil, fuseDir+"="+file, fuseFile+"=yes")
	if said := server.line(); said != "mounted" {
		t.Skipf("SKIPPED: no FUSE here: %s", strings.TrimPrefix(said, "skip: "))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(file, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	image, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	loop := loopDevice(t, image)
	reader := start(t, "disk-reader", nil, diskPath+"="+loop.Name())
	t.Cleanup(func() { // whatever happens, the server goes on first: all that follows asks it
		server.say("answer")
		_, _ = loop.Close(), image.Close()
	})

	disk := filepath.Base(loop.Name())
	n, p, late := node(t), probes.NewDisks(), probes.NewPressure()
	p.Thresholds.Silence = time.Second
	late.Thresholds.Disk.For = time.Millisecond
	well := func(when string) {
		t.Helper()
		for range 2 {
			silent(t, look(t, p, n), problem.DiskHung, disk)
		}
		t.Log(when)
	}
	ask := func() {
		t.Helper()
		if said := reader.say("read"); said != "asking" {
			t.Fatal(said)
		}
	}
	answered := func() {
		t.Helper()
		if said := reader.line(); said != "answered <nil>" {
			t.Fatal(said)
		}
	}

	ask()
	answered()
	well("while it answers")
	look(t, late, n)

	server.say("hang")
	ask()
	server.say("held 1")
	silent(t, look(t, p, n), problem.DiskHung, disk) // it may have come right now
	r := look(t, p, n)                               // which waits until it is certain
	v := wrong(r, problem.DiskHung, disk)
	if v == nil || v.Severity != problem.Warning || !v.Refused || v.Scope != problem.NodeScope {
		t.Fatalf("%+v", r.Verdicts)
	}
	if !strings.Contains(v.Evidence[0], disk+" has 1 requests in flight") || !slices.Contains(v.Touches, problem.NewRef(problem.RefDevice, disk)) {
		t.Errorf("%+v", v)
	}
	if len(r.Verdicts) != 1 {
		t.Errorf("the other disks of this machine: %+v", r.Verdicts)
	}

	server.say("answer")
	answered()
	well("after it went on")

	// The request took a second at least: the disk was late.
	if v := wrong(look(t, late, n), problem.IOStall, disk); v == nil || v.Severity != problem.Warning || !strings.Contains(v.Evidence[0], "the 1 reads and writes that "+disk) {
		t.Fatalf("%+v", v)
	}
	ask()
	answered()
	silent(t, look(t, late, n), problem.IOStall, disk)
}

// ext4 finds itself damaged while it is watched, and goes on.
func TestFilesystemCorruption(t *testing.T) {
	dir := t.TempDir()
	ext4(t, dir, "errors=continue")
	n, p, disk := node(t), probes.NewDisks(), sourceOf(t, dir)
	silent(t, look(t, p, n), problem.FilesystemCorruption, disk)
	if err := os.WriteFile(filepath.Join("/sys/fs/ext4", disk, "trigger_fs_error"), []byte("test"), 0); err != nil {
		t.Skipf("SKIPPED: this kernel cannot make an ext4 error on demand: %v", err)
	}
	for _, p := range []*probes.Disks{p, probes.NewDisks()} { // seen at the first look, too
		// The kernel counts it a moment after (flush_stashed_error_work).
		r := until(t, p, n, func(r problem.Result) bool { return wrong(r, problem.FilesystemCorruption, disk) != nil })
		v := wrong(r, problem.FilesystemCorruption, disk)
		if v.Severity != problem.Critical || v.Scope != problem.NodeScope ||
			!strings.Contains(v.Evidence[0], "/sys/fs/ext4/"+disk+"/errors_count: 1, the last one ") || !strings.HasSuffix(v.Evidence[0], " in trigger_test_error") {
			t.Fatalf("%+v", v)
		}
		for _, ref := range []problem.Ref{problem.NewRef(problem.RefMount, dir), problem.RefNode} {
			if !slices.Contains(v.Touches, ref) {
				t.Errorf("does not touch %s: %v", ref, v.Touches)
			}
		}
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	silent(t, look(t, p, n), problem.FilesystemCorruption, disk)
}
