package limits

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
)

// This file: small file systems of the tests' own, to be filled and broken.

// tmpfs mounts a file system in memory with the options until the test ends.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	mount(t, "tmpfs", dir, "tmpfs", options)
	return dir
}

// ext4 makes an ext4 file system of 32 MiB in an image, and mounts it at dir until
// the test ends.
func ext4(t *testing.T, dir, options string) {
	t.Helper()
	mountImage(t, makeImage(t, "mkfs.ext4", 32<<20, "-q", "-F"), dir, "ext4", options)
}

// makeImage makes a file of a size with a file system in it.
func makeImage(t *testing.T, program string, size int64, args ...string) string {
	t.Helper()
	needRoot(t)
	mkfs, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("SKIPPED: no such image can be made: %v", err)
	}
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, append(args, image)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", mkfs, err, out)
	}
	return image
}

// mountImage mounts an image by a loop device.
func mountImage(t *testing.T, path, dir, fsType, options string) {
	t.Helper()
	image, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = image.Close() }()
	loop := loopDevice(t, image)
	mount(t, loop.Name(), dir, fsType, options)
	// The mount holds the device now, which the kernel frees with it.
	if err := loop.Close(); err != nil {
		t.Fatal(err)
	}
}

// loopDevice puts the image on a loop device that is freed with its last user.
func loopDevice(t *testing.T, image *os.File) *os.File {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("SKIPPED: this machine has no loop devices: %v", err)
	}
	defer func() { _ = control.Close() }()
	for range 20 { // somebody else may take the free one first
		free, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Skipf("SKIPPED: no loop device is free: %v", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", free), os.O_RDWR, 0)
		if err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{
			Fd: uint32(image.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			return loop
		}
		_ = loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			t.Fatalf("%s: %v", loop.Name(), err)
		}
	}
	t.Fatal("all loop devices are in use")
	return nil
}

func mount(t *testing.T, source, dir, fsType, options string) {
	t.Helper()
	if err := unix.Mount(source, dir, fsType, 0, options); err != nil {
		t.Skipf("SKIPPED: %s cannot be mounted here: %v", fsType, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: the test has done so
			t.Errorf("%s stays mounted: %v", dir, err)
		}
	})
}

// fill writes a file until so many bytes are available, or until it is refused to.
func fill(t *testing.T, file string, leave uint64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	block := make([]byte, 64<<10)
	for usage(t, filepath.Dir(file)).Avail > leave || leave == 0 {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); errors.Is(err, syscall.ENOSPC) { // ext4 gives blocks late
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func usage(t *testing.T, dir string) mounts.Usage {
	t.Helper()
	u, err := mounts.Statfs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}
