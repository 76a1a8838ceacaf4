package cgroup

// Tests on the machine's own cgroups.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host"
)

func realTree(tb testing.TB) *Tree {
	tb.Helper()
	h, err := host.New("/")
	if err != nil {
		tb.Fatal(err)
	}
	tree, err := Detect(h)
	if err != nil {
		tb.Skipf("SKIPPED: no cgroups on this machine: %v", err)
	}
	return tree
}

// makeV1 makes a cgroup in a v1 hierarchy, which is removed after the test.
func makeV1(tb testing.TB, tree *Tree, c Controller) string {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("SKIPPED: making a cgroup needs root")
	}
	if h := tree.by[c]; h == nil || h.v2 {
		tb.Skipf("SKIPPED: this machine has no v1 hierarchy of %s (mode %s)", c, tree.Mode())
	}
	// Below our own, so that the test works in a container, too.
	own, err := tree.Of(os.Getpid(), c)
	if err != nil {
		tb.Fatal(err)
	}
	dir, err := os.MkdirTemp(tree.File(c, own, ""), "nodevitals-test-")
	if err != nil {
		tb.Skipf("SKIPPED: this machine's cgroups cannot be written: %v", err)
	}
	tb.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			tb.Error(err)
		}
	})
	return strings.TrimSuffix(own, "/") + "/" + filepath.Base(dir)
}

func put(tb testing.TB, file, content string) {
	tb.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func TestRealWalk(t *testing.T) {
	tree := realTree(t)
	t.Logf("mode %s", tree.Mode())
	paths := map[string]bool{}
	if err := tree.walk(t.Context(), tree.main, "/", func(path string) error { paths[path] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	own, err := tree.Place(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !paths[own] {
		t.Errorf("we are in %s, which the walk did not visit", own)
	}
}

func TestRealV1Walk(t *testing.T) {
	tree := realTree(t)
	path := makeV1(t, tree, ControllerMemory)
	want := []string{path}
	for _, sub := range []string{"/a", "/a/b", "/c"} {
		dir := tree.File(ControllerMemory, path+sub, "")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		want = append(want, path+sub)
	}
	var got []string
	if err := tree.Walk(t.Context(), ControllerMemory, func(p string) error {
		if p == path || strings.HasPrefix(p, path+"/") {
			got = append(got, p)
		}
		return nil
	}); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	// By its inode, as a container finds its own place.
	top := tree.File(ControllerMemory, "/", "")
	if own, err := findOwn(top, top+path+"/a/b"); err != nil || own != path+"/a/b" {
		t.Errorf("findOwn = %q, %v", own, err)
	}
}

func TestRealV1Memory(t *testing.T) {
	tree := realTree(t)
	path := makeV1(t, tree, ControllerMemory)
	if m, err := tree.Memory(path); err != nil || m.Limited() {
		t.Errorf("Memory = %+v, %v; want no limit", m, err)
	}
	put(t, tree.File(ControllerMemory, path, "memory.limit_in_bytes"), strconv.Itoa(8<<20))
	if m, err := tree.Memory(path); err != nil || m.Max != 8<<20 {
		t.Errorf("Memory = %+v, %v", m, err)
	}
	if e, err := tree.MemoryEvents(path); err != nil || e != (MemoryEvents{}) {
		t.Errorf("MemoryEvents = %+v, %v", e, err)
	}
	if ws, err := tree.WorkingSet(path); err != nil || ws != 0 {
		t.Errorf("WorkingSet = %d, %v", ws, err)
	}
}

// A thread of ours reaches a limit of 1 and is refused its fork.
func TestRealV1Refused(t *testing.T) {
	tree := realTree(t)
	path := makeV1(t, tree, ControllerPIDs)
	if _, _, err := tree.Limiter(path); !errors.Is(err, ErrAbsent) {
		t.Skipf("SKIPPED: this machine limits the cgroup that we are in (%v)", err)
	}
	back, err := tree.Of(os.Getpid(), ControllerPIDs)
	if err != nil {
		t.Fatal(err)
	}
	put(t, tree.File(ControllerPIDs, path, "pids.max"), "1")

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := syscall.Gettid()
	put(t, tree.File(ControllerPIDs, path, "tasks"), strconv.Itoa(tid))
	place, placeErr := tree.Of(tid, ControllerPIDs)
	// The program does not exist, so that even a fork that succeeds runs nothing.
	_, forkErr := syscall.ForkExec("/nonexistent/program", nil, nil)
	put(t, tree.File(ControllerPIDs, back, "tasks"), strconv.Itoa(tid))

	if placeErr != nil || place != path {
		t.Errorf("the thread is in %q, %v; want %q", place, placeErr, path)
	}
	if !errors.Is(forkErr, syscall.EAGAIN) {
		t.Fatalf("fork: %v, want EAGAIN", forkErr)
	}
	if r, err := tree.Refusals(path); err != nil || r.Count == 0 {
		t.Errorf("Refusals = %+v, %v", r, err)
	}
	if limiter, p, err := tree.Limiter(path); err != nil || limiter != path || p.Max != 1 {
		t.Errorf("Limiter = %s, %+v, %v", limiter, p, err)
	}
	if populated, err := tree.Populated(path); err != nil || populated {
		t.Errorf("Populated = %v, %v, with nobody in it", populated, err)
	}
}

func TestRealPressure(t *testing.T) {
	tree := realTree(t)
	b, err := tree.host.ReadFile("/proc/pressure/memory")
	if err != nil {
		t.Skipf("SKIPPED: this kernel keeps no pressure: %v", err)
	}
	if p, err := ParsePressure(b); err != nil || !p.HasFull {
		t.Errorf("%+v, %v from %s", p, err, b)
	}
	if tree.unified == nil {
		t.Skip("SKIPPED: no v2 hierarchy on this machine")
	}
	if _, err := tree.Pressure("/", "cpu"); err != nil {
		t.Error(err)
	}
}

func BenchmarkWalk5000(b *testing.B) {
	tree := realTree(b)
	path := makeV1(b, tree, ControllerMemory)
	for i := range 5000 {
		dir := tree.File(ControllerMemory, fmt.Sprintf("%s/%d", path, i), "")
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = os.Remove(dir) })
	}
	for _, c := range []struct {
		name  string
		visit func(string) error
	}{
		{"walk", func(string) error { return nil }},
		{"usage", func(p string) error { _, err := tree.Memory(p); return err }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := tree.Walk(b.Context(), ControllerMemory, c.visit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("filepath.WalkDir", func(b *testing.B) {
		for b.Loop() {
			if err := filepath.WalkDir(tree.File(ControllerMemory, "/", ""), func(_ string, _ os.DirEntry, err error) error { return err }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
