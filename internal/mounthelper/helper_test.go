package mounthelper

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	ServeIfAsked(func() {})
	os.Exit(m.Run())
}

func newHelper(t *testing.T) *Helper {
	t.Helper()
	h := New(t.TempDir())
	t.Cleanup(h.Close)
	return h
}

func deviceAt(t *testing.T, path string) Device {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return Device{unix.Major(st.Dev), unix.Minor(st.Dev)}
}

// end asks, and waits for how the call ends.
func end(t *testing.T, h *Helper, c Call) error {
	t.Helper()
	done, err := h.Ask(c)
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		t.Fatal("no answer")
		return nil
	}
}

func TestAsk(t *testing.T) {
	h := newHelper(t)
	dir := t.TempDir()
	d := deviceAt(t, dir)
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/proc", link); err != nil {
		t.Fatal(err)
	}
	other := Device{d.Major + 1, d.Minor}
	for _, tc := range []struct {
		name string
		call Call
		want error
	}{
		{"answers", Call{Device: d, Path: dir}, Answered{}},
		{"answers, and is noted", Call{Device: d, Path: dir, Unkillable: true}, Answered{}},
		{"another is mounted there", Call{Device: other, Path: dir}, ErrForeign},
		{"a link is not followed", Call{Device: deviceAt(t, "/proc"), Path: link}, ErrForeign},
		{"nothing is there", Call{Device: d, Path: dir + "/none"}, syscall.ENOENT},
	} {
		if err := end(t, h, tc.call); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	if _, err := h.Ask(Call{Device: d, Path: "/" + strings.Repeat("x", maxPath)}); err == nil {
		t.Error("a path that is too long is asked")
	}
	if left, err := os.ReadDir(h.dir); err != nil || len(left) > 0 {
		t.Errorf("%v; notes are left: %v", err, left)
	}
}

// An answer that is there at once is not taken for a refusal.
func TestAskOften(t *testing.T) {
	h := newHelper(t)
	for range 500 {
		done, err := h.Ask(Call{Device: deviceAt(t, "/"), Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, Answered{}) {
			t.Fatal(err)
		}
	}
}

// A helper that is gone is started again.
func TestHelperDies(t *testing.T) {
	h := newHelper(t)
	c := Call{Device: deviceAt(t, "/"), Path: "/"}
	if err := end(t, h, c); !errors.Is(err, Answered{}) {
		t.Fatal(err)
	}
	first := h.PID()
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); h.PID() == first; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("its end is not noticed")
		}
	}
	if err := end(t, h, c); !errors.Is(err, Answered{}) || h.PID() == first {
		t.Errorf("%v, process %d after %d", err, h.PID(), first)
	}
}

// What keeps nothing of ours open: the helper has no descriptor but the socket.
func TestHelperIsDetached(t *testing.T) {
	h := newHelper(t)
	if err := end(t, h, Call{Device: deviceAt(t, "/"), Path: "/"}); !errors.Is(err, Answered{}) {
		t.Fatal(err)
	}
	dir := "/proc/" + itoa(h.PID())
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(dir + "/fd/" + fd.Name())
		if err == nil && !strings.HasPrefix(to, "socket:") && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/fs/cgroup") {
			t.Errorf("it has %s open", to)
		}
	}
	if comm, err := os.ReadFile(dir + "/comm"); err != nil || string(comm) != "agent-mounts\n" {
		t.Errorf("it is called %q, %v", comm, err)
	}
	if cwd, err := os.Readlink(dir + "/cwd"); err != nil || cwd != "/" {
		t.Errorf("it is in %q, %v", cwd, err)
	}
}

func TestNoRoom(t *testing.T) {
	h := newHelper(t)
	full := errors.New("full")
	h.Room = func(threads int) error {
		if threads < MaxStuck {
			t.Errorf("room for %d threads", threads)
		}
		return full
	}
	if err := end(t, h, Call{Device: deviceAt(t, "/"), Path: "/"}); !errors.Is(err, full) || h.PID() != 0 {
		t.Errorf("%v, process %d", err, h.PID())
	}
}

// A call that another agent has in a file system: it is not asked again, and counts.
func TestOthersCalls(t *testing.T) {
	h := newHelper(t)
	d := deviceAt(t, "/")
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Second)
	fd, err := record(h.dir, d) // as another helper would: the lock is this descriptor's
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"7:7", "x", "1:2:3"} { // no lock, or no device
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := h.Stuck()
	if err != nil || len(all) != 1 || all[0].Device != d || all[0].PID != os.Getpid() || all[0].Since.Before(before) {
		t.Errorf("%+v, %v", all, err)
	}
	if err := end(t, h, Call{Device: d, Path: "/"}); !errors.Is(err, ErrAsked) {
		t.Errorf("%v", err)
	}
	h.others = MaxStuck
	if err := end(t, h, Call{Device: Device{7, 7}, Path: "/"}); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	erase(h.dir, d, fd)
	if all, err := h.Stuck(); err != nil || len(all) > 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if err := end(t, h, Call{Device: d, Path: "/"}); !errors.Is(err, Answered{}) {
		t.Errorf("%v", err)
	}
}

// Where it cannot be noted, only those are asked who let go of their tasks.
func TestUnkept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := New(file)
	t.Cleanup(h.Close)
	d := deviceAt(t, "/")
	var unkept *UnkeptError
	if err := end(t, h, Call{Device: d, Path: "/", Unkillable: true}); !errors.As(err, &unkept) || !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("%v", err)
	}
	if err := end(t, h, Call{Device: d, Path: "/"}); !errors.Is(err, Answered{}) {
		t.Errorf("%v", err)
	}
}
