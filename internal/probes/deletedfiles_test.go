package probes

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/unprivileged"
)

// heldFile is a descriptor of a process: the text of its link, the id of its mount
// (below 80: the host's), and its file.
type heldFile struct {
	pid, fd, mount int
	link           string
	ino            uint64
	gib            int64
	linked, folder bool
}

// deletedNode is a node whose processes hold the files, with the stat of them.
func deletedNode(t *testing.T, held []heldFile) (*Node, func(string, *unix.Stat_t) error) {
	t.Helper()
	n := tree(t, map[string]string{"/proc/1/mountinfo": rootRW +
		"30 20 0:50 / /mnt/nfs rw - nfs4 srv:/x rw\n" +
		"31 20 8:16 / /data rw - ext4 /dev/sdb rw\n"})
	stats, known := map[string]unix.Stat_t{}, map[string]bool{}
	for _, h := range held {
		dir := fmt.Sprintf("/proc/%d", h.pid)
		if !known[dir] {
			known[dir] = true
			writeFile(t, n.Host.Root(), dir+"/stat", fmt.Sprintf("%d (proc%d) S 1 1 1%s\n", h.pid, h.pid, strings.Repeat(" 0", 46)))
			writeFile(t, n.Host.Root(), dir+"/mountinfo", // as a container has it
				"90 80 0:99 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/var/lib/containerd/snap/1/fs,workdir=/w\n"+
					"91 90 0:50 / /nfs rw - nfs4 srv:/x rw\n")
			symlink(t, n, fmt.Sprintf("mnt:[%d]", h.pid), dir+"/ns/mnt")
		}
		writeFile(t, n.Host.Root(), fmt.Sprintf("%s/fdinfo/%d", dir, h.fd), fmt.Sprintf("pos:\t0\nflags:\t02\nmnt_id:\t%d\n", h.mount))
		fd := fmt.Sprintf("%s/fd/%d", dir, h.fd)
		symlink(t, n, h.link, fd)
		st := unix.Stat_t{Dev: uint64(h.mount), Ino: h.ino, Mode: unix.S_IFREG, Blocks: h.gib << 21}
		if h.linked {
			st.Nlink = 1
		}
		if h.folder {
			st.Mode = unix.S_IFDIR
		}
		stats[n.Host.Path(fd)] = st
	}
	return n, func(path string, st *unix.Stat_t) error {
		s, ok := stats[path]
		switch {
		case !ok:
			return unix.ENOENT
		case s.Dev == 30 || s.Dev == 91 || s.Dev == 31 || s.Dev == 7:
			t.Errorf("%s (mount %d): asked for nothing, or on a server", path, s.Dev)
		}
		*st = s
		return nil
	}
}

func TestDeletedFilesRun(t *testing.T) {
	n, stat := deletedNode(t, []heldFile{
		{pid: 100, fd: 3, mount: 20, link: "/var/log/app.log (deleted)", ino: 5, gib: 40},
		{pid: 100, fd: 4, mount: 20, link: "/var/log/app.log (deleted)", ino: 5, gib: 40},                        // the same again
		{pid: 200, fd: 1, mount: 20, link: "/var/log/app.log (deleted)", ino: 5, gib: 40},                        // and inherited
		{pid: 200, fd: 2, mount: 90, link: "/tmp/#77 (deleted)", ino: 5, gib: 30},                                // in a container
		{pid: 200, fd: 5, mount: 91, link: "/nfs/x (deleted)", ino: 6, gib: 900},                                 // never touched
		{pid: 200, fd: 6, mount: 30, link: "/mnt/nfs/x (deleted)", ino: 6, gib: 900},                             // never touched
		{pid: 200, fd: 7, mount: 31, link: "/data/x (deleted)", ino: 6, gib: 900},                                // has room
		{pid: 200, fd: 8, mount: 7, link: "/memfd:x (deleted)", ino: 6, gib: 900},                                // mounted nowhere
		{pid: 200, fd: 9, mount: 20, link: "/var/log/current", ino: 7, gib: 900, linked: true},                   // not deleted
		{pid: 200, fd: 10, mount: 20, link: "/var/log/name of it (deleted)", ino: 8, gib: 900, linked: true},     // has another name
		{pid: 200, fd: 11, mount: 20, link: "/var/log/folder (deleted)", ino: 9, gib: 900, folder: true},         // no file
		{pid: 300, fd: 1, mount: 20, link: "/var/lib/containerd/db (deleted)", ino: 10, gib: 1},                  // little
		{pid: 300, fd: 2, mount: 12345, link: "/gone/with/its/mount (deleted)", ino: 11, gib: 900, folder: true}, // no table has it
		{pid: 300, fd: 12, mount: 20, link: "socket:[99]", ino: 12, gib: 900},
		{pid: 300, fd: 13, mount: 20, link: "/", ino: 2, gib: 900},
	})
	watched := NewFilesystems()
	watched.Thresholds.Paths = []string{"/data"}
	writeFile(t, n.Host.Root(), "/data/x", "")
	left := uint64(9)
	watched.usage = func(m mounts.Mount) (mounts.Usage, error) {
		if m.Point == "/data" {
			return gib(50, 50), nil
		}
		return gib(left, 50), nil
	}
	p := NewDeletedFiles(watched)
	p.stat = stat
	r, err := p.Run(t.Context(), n)
	if err != nil || r.Partial != "" {
		t.Fatal(r, err)
	}
	v := checkSeverity(t, r, problem.DeletedFilesHoldSpace, "/", problem.Warning)
	if want := "deleted files that are still open take 7 % of / (root)"; v.Message != want {
		t.Errorf("%q, want %q", v.Message, want)
	}
	if m := r.Measurements[0]; m.Resource != "deleted_bytes" || m.Used != 71<<30 || m.Max != 1000<<30 {
		t.Errorf("measured %+v", m)
	}
	var held []string
	for _, h := range v.Holders {
		held = append(held, fmt.Sprintf("%s %g GiB", h.Process, h.Amount/(1<<30)))
	}
	if got, want := strings.Join(held, ", "), "proc100 40 GiB, proc200 30 GiB, proc300 1 GiB"; got != want {
		t.Errorf("held by %s, want %s", got, want)
	}
	if len(r.Verdicts) != 1 {
		t.Errorf("%+v", r.Verdicts)
	}

	left = 20 // with room again, nobody's descriptors are looked at
	p.stat = func(path string, _ *unix.Stat_t) error {
		t.Errorf("stat of %s", path)
		return errors.New("no")
	}
	if r, err = p.Run(t.Context(), n); err != nil || len(r.Verdicts)+len(r.Measurements) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestEvaluateDeletedFiles(t *testing.T) {
	f := ext4("/", gib(5, 50))
	for gib, want := range map[float64]int{0: 0, 20: 0, 50: 0, 51: 1, 900: 1} {
		_, vs := evaluateDeletedFiles(f, []consumer{{amount: gib / 2 * (1 << 30)}, {amount: gib / 2 * (1 << 30)}}, NewDeletedFiles(nil).Thresholds)
		if len(vs) != want {
			t.Errorf("%g GiB of 1000: %+v", gib, vs)
		}
	}
}

// Without the right to look at others' descriptors, silence means nothing.
func TestDeletedFilesDenied(t *testing.T) {
	n, stat := deletedNode(t, []heldFile{{pid: 100, fd: 3, mount: 20, link: "/x (deleted)", ino: 5, gib: 1}})
	watched := NewFilesystems()
	watched.usage = func(mounts.Mount) (mounts.Usage, error) { return gib(5, 50), nil }
	p := NewDeletedFiles(watched)
	p.stat = stat
	closed := n.Host.Path("/proc/100/fd")
	if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(closed, 0o700) }) // else it cannot be removed
	unprivileged.Test(t)
	r, err := p.Run(t.Context(), n)
	if err != nil || !strings.Contains(r.Partial, "1 processes may not be read") {
		t.Errorf("%+v, %v", r, err)
	}
}
