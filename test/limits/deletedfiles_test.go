package limits

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// holder is a helper that fills a file up to a size, deletes it and keeps it open,
// twice, as a log that was rotated away. Orders: "hold SIZE FILE", "close".
func holder() {
	var held []int
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var size int64
		var file string
		if n, _ := fmt.Sscanf(in.Text(), "hold %d %s", &size, &file); n == 2 {
			fd, err := unix.Open(file, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
			if err != nil {
				fail(err)
			}
			if err := unix.Fallocate(fd, 0, 0, size); err != nil {
				fail(err)
			}
			again, err := unix.Dup(fd)
			if err != nil {
				fail(err)
			}
			if err := unix.Unlink(file); err != nil {
				fail(err)
			}
			held = append(held, fd, again)
		} else {
			for _, fd := range held {
				_ = unix.Close(fd)
			}
			held = nil
		}
		fmt.Println("done")
	}
}

// A deleted file fills a file system, which df shows and du does not; also one that
// a container wrote into its own root file system.
func TestDeletedFiles(t *testing.T) {
	for _, tc := range []struct {
		name string
		dir  func(t *testing.T, fs string) string // where the file is written
	}{
		{"on the host", func(_ *testing.T, fs string) string { return fs }},
		{"in a container", func(t *testing.T, fs string) string {
			for _, d := range []string{"lower", "upper", "work"} {
				if err := os.Mkdir(filepath.Join(fs, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			root := t.TempDir()
			mount(t, "overlay", root, "overlay", fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", fs))
			return root
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := t.TempDir()
			ext4(t, fs, "")
			dir := tc.dir(t, fs)
			n, watched := node(t), probes.NewFilesystems()
			watched.Thresholds.Paths = []string{fs}
			p := probes.NewDeletedFiles(watched)
			silent(t, look(t, p, n), problem.DeletedFilesHoldSpace, fs)

			h := start(t, "holder", nil)
			size := usage(t, fs).Avail * 93 / 100
			h.say(fmt.Sprintf("hold %d %s", size, filepath.Join(dir, "app.log")))
			if wrong(look(t, watched, n), problem.FilesystemSpaceLow, fs) == nil {
				t.Fatal("the file system is not low on space")
			}
			r := look(t, p, n)
			v := wrong(r, problem.DeletedFilesHoldSpace, fs)
			if v == nil || v.Severity != problem.Warning {
				t.Fatalf("%+v", r)
			}
			if len(v.Holders) != 1 || v.Holders[0].PID != h.cmd.Process.Pid || v.Holders[0].Amount < float64(size) || v.Holders[0].Amount > float64(size)*1.01 {
				t.Errorf("held by %+v, want pid %d with %d bytes, once", v.Holders, h.cmd.Process.Pid, size)
			}

			h.say("close")
			silent(t, look(t, p, n), problem.DeletedFilesHoldSpace, fs)
			h.end() // before its file system is unmounted
		})
	}
}
