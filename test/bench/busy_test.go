package main

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
)

func TestTreePathsLookLikePods(t *testing.T) {
	for _, n := range []int{1, 3, 20, 5000} {
		seen := map[string]bool{".": true}
		paths := treePaths("x", n)
		for _, p := range paths {
			if !seen[path.Dir(p)] || seen[p] {
				t.Fatalf("%s comes before its parent, or twice", p)
			}
			seen[p] = true
			if _, isContainer := cgroup.ContainerOf("/" + p); isContainer != isLeaf(p) {
				t.Errorf("%s: a container's for the agent: %v; a leaf: %v", p, isContainer, isLeaf(p))
			}
			if _, isPod := cgroup.PodOf("/" + p); isPod != strings.Contains(p, "/pod") {
				t.Errorf("%s: a pod's for the agent: %v", p, isPod)
			}
		}
		if len(paths) != n {
			t.Errorf("%d paths, want %d", len(paths), n)
		}
	}
}

// What is made is there, and afterwards is not.
func TestBusyIsUndone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not tested: only root makes cgroups")
	}
	l := load{name: "nodevitals-bench-test", processes: 5, descriptors: 7, cgroups: 20}
	b, err := newBusy(within(t, time.Minute), ownHost(t), l)
	closed := false
	t.Cleanup(func() {
		if !closed {
			_ = b.close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(b.holes) > 0 {
		for _, h := range b.holes {
			// None, not ours to change, or (EBUSY) those of a container, in whose
			// own cgroup v2 makes no others while it has processes.
			if !errors.Is(h, fs.ErrNotExist) && !errors.Is(h, fs.ErrPermission) && !errors.Is(h, unix.EROFS) && !errors.Is(h, unix.EBUSY) {
				t.Fatal(h)
			}
		}
		t.Skipf("not tested: no cgroups can be made here: %v", b.holes)
	}
	for i, p := range b.processes {
		// While it is loaded it has its libraries open, too. What our own parent has
		// left open for us comes on top.
		var fds []os.DirEntry
		for end := time.Now().Add(10 * time.Second); ; <-time.After(5 * time.Millisecond) {
			fds, err = os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.Process.Pid), "fd"))
			if len(fds) <= l.descriptors+inherited(t) || time.Now().After(end) {
				break
			}
		}
		if err != nil || len(fds) < l.descriptors || len(fds) > l.descriptors+inherited(t) {
			t.Errorf("process %d has %d descriptors (%v), want %d", i, len(fds), err, l.descriptors)
		}
		in, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Process.Pid), "cgroup"))
		if err != nil || !strings.Contains(string(in), b.tree.leafs[i%len(b.tree.leafs)]) {
			t.Errorf("process %d is in %s (%v), want in %s", i, in, err, b.tree.leafs[i%len(b.tree.leafs)])
		}
	}
	for _, root := range b.tree.roots {
		if got := folders(t, filepath.Join(root, l.name)); got != l.cgroups {
			t.Errorf("%d cgroups in %s, want %d", got, root, l.cgroups)
		}
	}
	limit, err := os.ReadFile(filepath.Join(b.tree.roots[0], b.tree.leafs[0], "pids.max"))
	if err != nil || strings.TrimSpace(string(limit)) != strconv.Itoa(containerPIDs) {
		t.Errorf("pids.max is %q (%v), want %d", limit, err, containerPIDs)
	}

	closed = true
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	for _, root := range b.tree.roots {
		if _, err := os.Stat(filepath.Join(root, l.name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", filepath.Join(root, l.name), err)
		}
	}
	for _, p := range b.processes {
		if p.ProcessState == nil {
			t.Errorf("process %d was not waited for", p.Process.Pid)
		}
	}
}

// inherited counts our descriptors that our children inherit, the standard streams aside.
func inherited(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range fds {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		// That of the listing itself is closed by now.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && fd > 2 && flags&unix.FD_CLOEXEC == 0 {
			n++
		}
	}
	return n
}

func folders(t *testing.T, root string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
