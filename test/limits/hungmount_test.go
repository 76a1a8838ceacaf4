package limits

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// hungKinds are the problems that a hung FUSE mount is.
func hungKinds() []problem.Kind {
	return []problem.Kind{problem.MountNotAnswering, problem.FUSEServerNotAnswering, problem.TasksStuckOnMount}
}

// A FUSE server stops to answer, with three tasks of two programs waiting for it,
// and goes on; then it stops again, and its connection is aborted.
func TestHungFUSEMount(t *testing.T) {
	needRoot(t)
	fusectl(t)
	dir := t.TempDir()
	server := start(t, "fuse-server", nil, fuseDir+"="+dir)
	if said := server.line(); said != "mounted" {
		t.Skipf("SKIPPED: no FUSE here: %s", said)
	}
	n, p := node(t), probes.NewStuckMounts()
	n.Once = true // does not wait for long
	table, err := mounts.Read(n.Host)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := table.At(dir)
	if !ok || m.Point != dir || m.FSType != fuseType {
		t.Fatalf("mounted as %+v", m)
	}
	connection := fmt.Sprintf("/sys/fs/fuse/connections/%d", m.Minor)
	var users []*helper
	for _, comm := range []string{"stuck-a", "stuck-a", "stuck-b"} {
		users = append(users, start(t, "fuse-user", nil, fuseDir+"="+dir, fuseComm+"="+comm))
	}
	abort := func() error { return os.WriteFile(connection+"/abort", []byte("1"), 0) }
	// First of all that is cleaned up, since without it nobody who waits can end.
	t.Cleanup(func() {
		_ = abort()
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	})

	well := func(when string) {
		t.Helper()
		for range 2 {
			r := look(t, p, n)
			for _, kind := range hungKinds() {
				silent(t, r, kind, dir)
			}
			for _, v := range r.Verdicts {
				if v.Subject == dir {
					t.Errorf("%s: %+v", when, v)
				}
			}
		}
	}
	ask := func() {
		t.Helper()
		for _, u := range users {
			if said := u.say("ask"); said != "asking" {
				t.Fatalf("said %q", said)
			}
		}
	}
	answers := func(want string) {
		t.Helper()
		for _, u := range users {
			if said := u.line(); !strings.HasPrefix(said, "answered "+want) {
				t.Errorf("said %q, want %q", said, want)
			}
		}
	}
	hang := func() {
		t.Helper()
		server.say("hang")
		ask()
		server.say("held 3")
	}

	ask()
	answers("<nil>")
	well("while it answers")

	hang()
	if v := wrong(look(t, p, n), problem.MountNotAnswering, dir); v != nil {
		t.Errorf("condemned at first sight: %+v", v)
	}
	r := look(t, p, n)
	for _, kind := range hungKinds() {
		v := wrong(r, kind, dir)
		if v == nil {
			t.Fatalf("%s is not reported: %+v", kind, r.Verdicts)
		}
		if !strings.Contains(v.Message, fmt.Sprintf("%s (%s, %s)", dir, fuseType, fuseSource)) || !strings.Contains(v.Message, "3 ") {
			t.Errorf("message %q", v.Message)
		}
		held := map[string]float64{}
		for _, h := range v.Holders {
			held[h.Process] += h.Amount
		}
		if held["stuck-a"] != 2 || held["stuck-b"] != 1 || len(held) != 2 {
			t.Errorf("held by %+v", v.Holders)
		}
		if !slices.Contains(v.Touches, problem.NewRef(problem.RefMount, dir)) {
			t.Errorf("touches %v", v.Touches)
		}
	}
	waiting := connection + "/waiting: 3"
	if v := wrong(r, problem.FUSEServerNotAnswering, dir); len(v.Evidence) != 1 || !strings.HasPrefix(v.Evidence[0], waiting) {
		t.Errorf("evidence %q lacks %q", v.Evidence, waiting)
	}

	server.say("answer")
	answers("<nil>")
	well("after the server went on")

	hang()
	look(t, p, n)
	if wrong(look(t, p, n), problem.MountNotAnswering, dir) == nil {
		t.Error("the second time is not reported")
	}
	if err := abort(); err != nil {
		t.Fatal(err)
	}
	answers(unix.ECONNABORTED.Error())
	well("after the connection was aborted")
}

// fusectl mounts the control file system for the time of a test, unless it is.
func fusectl(t *testing.T) {
	t.Helper()
	const point = "/sys/fs/fuse/connections"
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(table, []byte(" "+point+" ")) {
		return
	}
	if err := unix.Mount("fusectl", point, "fusectl", 0, ""); err != nil {
		t.Skipf("SKIPPED: fusectl cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(point, 0); err != nil {
			t.Error(err)
		}
	})
}

// A machine that is well has no hung mounts.
func TestStuckMountsOnThisMachine(t *testing.T) {
	n, p := node(t), probes.NewStuckMounts()
	n.Once = true
	for range 2 {
		r, err := p.Run(t.Context(), n)
		if err != nil {
			t.Logf("hungmounts: %v", err)
			if !strings.Contains(err.Error(), "not applicable") {
				t.Error(err)
			}
		}
		for _, v := range r.Verdicts {
			if v.State == problem.Wrong {
				t.Errorf("%+v", v)
			}
		}
	}
}
