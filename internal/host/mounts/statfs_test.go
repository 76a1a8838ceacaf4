package mounts

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		name        string
		st          unix.Statfs_t
		size, avail uint64
	}{
		{"reserved blocks", unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: 100, Bfree: 60, Bavail: 55, Files: 10, Ffree: 9}, 409600, 225280},
		{"f_bsize is the size of a read", unix.Statfs_t{Bsize: 1 << 20, Frsize: 4096, Blocks: 100, Bfree: 50, Bavail: 50}, 409600, 204800},
		{"no f_frsize", unix.Statfs_t{Bsize: 512, Blocks: 100, Bfree: 0, Bavail: 0, Files: 8, Ffree: 0}, 51200, 0},
		{"no room", unix.Statfs_t{Bsize: 4096}, 0, 0},
		{"more free than there is", unix.Statfs_t{Bsize: 1, Blocks: 10, Bfree: 20, Bavail: 20, Files: 1, Ffree: 2}, 10, 20},
		{"overflow", unix.Statfs_t{Bsize: 4096, Blocks: math.MaxUint64, Bfree: math.MaxUint64, Bavail: math.MaxUint64}, math.MaxUint64, math.MaxUint64},
		{"negative block size", unix.Statfs_t{Bsize: -4096, Frsize: -1, Blocks: 10}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := usage(&c.st)
			if u.Size != c.size || u.Avail != c.avail {
				t.Errorf("size %d, avail %d", u.Size, u.Avail)
			}
		})
	}
	if !usage(&unix.Statfs_t{Flags: unix.ST_RDONLY}).Readonly {
		t.Error("ST_RDONLY was not seen")
	}
}

func TestStatfsErrorNamesThePath(t *testing.T) {
	p := filepath.Join(t.TempDir(), "absent")
	_, err := Statfs(p)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), p) {
		t.Errorf("error %v", err)
	}
}

// The kernel's own escapes, sizes and flags, in a mount namespace of our own.
func TestRealMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: unshare(CLONE_NEWNS) and mount(2)")
	}
	dir := t.TempDir()
	if err := <-onOwnThread(func() error { return realMounts(t, dir) }); errors.Is(err, unix.EPERM) {
		t.Skipf("needs CAP_SYS_ADMIN: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// onOwnThread runs f on a thread that ends with it, namespace and all. The main
// thread will not do: it is what /proc/self shows of this process.
func onOwnThread(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good, unless this is the main thread
		if unix.Gettid() == unix.Getpid() {
			err := <-onOwnThread(f)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- f()
	}()
	return done
}

func realMounts(t *testing.T, dir string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	point := filepath.Join(dir, "a b\tc\nd\\e#f\\040")
	if err := os.Mkdir(point, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("odd name", point, "tmpfs", 0, "size=8m,nr_inodes=100"); err != nil {
		return err
	}
	table := func() Table {
		b, err := os.ReadFile("/proc/thread-self/mountinfo")
		if err != nil {
			t.Error(err)
		}
		table, err := Parse("mountinfo", b)
		if err != nil {
			t.Error(err)
		}
		return table
	}
	own := table()
	m, ok := own.At(filepath.Join(point, "x"))
	if !ok || m.Point != point || m.FSType != "tmpfs" || m.Source != "odd name" || m.Readonly() {
		t.Errorf("the new mount is %+v", m)
	}
	h, err := host.New("/")
	if err != nil {
		return err
	}
	if p, ok, why := own.Visible(h, m); !ok || p != point {
		t.Errorf("visible as %q, %v: %s", p, ok, why)
	}
	// The process's main thread is in another namespace, without that mount.
	process, err := Own()
	if err != nil {
		return err
	}
	if p, ok, _ := process.Visible(h, m); ok {
		t.Errorf("visible as %q in a namespace that does not have it", p)
	}
	u, err := Statfs(point)
	if err != nil {
		return err
	}
	if u.Size != 8<<20 || u.Inodes != 100 || u.Type != unix.TMPFS_MAGIC || u.Readonly {
		t.Errorf("an empty tmpfs of 8 MiB: %+v", u)
	}
	if err := os.WriteFile(filepath.Join(point, "f"), make([]byte, 6<<20), 0o600); err != nil {
		return err
	}
	if u, err = Statfs(point); err != nil {
		return err
	}
	if u.Free != 2<<20 || u.Avail != 2<<20 || u.InodesFree != 98 { // the folder and the file
		t.Errorf("6 of 8 MiB are used: %+v", u)
	}
	// A read-only mount point is no read-only file system; MS_REMOUNT alone makes one.
	if err := unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	if m, _ := table().At(point); m.Readonly() || !strings.HasPrefix(m.Options, "ro") {
		t.Errorf("a read-only mount point: %+v", m)
	}
	if err := unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	if m, _ := table().At(point); !m.Readonly() {
		t.Errorf("a read-only file system: %+v", m)
	}
	if u, err = Statfs(point); err != nil || !u.Readonly {
		t.Errorf("statfs does not show it: %+v, %v", u, err)
	}
	return nil
}

func TestReadOnThisHost(t *testing.T) {
	h, err := host.New("/")
	if err != nil {
		t.Fatal(err)
	}
	table, err := Read(h)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := table.At("/"); !ok {
		t.Errorf("no mount at / in %s", table.From)
	}
	own, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	m, ok := own.At("/proc/self/stat")
	if !ok || m.FSType != "proc" {
		t.Errorf("/proc is %+v", m)
	}
	if p, ok, why := own.Visible(h, m); !ok || p != m.Point {
		t.Errorf("/proc: %q, %s", p, why)
	}
}
