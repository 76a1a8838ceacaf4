package limits

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// XFS shuts down, which its mount never shows: only the kernel's log tells, and
// the probe's silence does not end it. Mounted anew, it is over.
func TestXFSShutdown(t *testing.T) {
	dir := t.TempDir()
	image := makeImage(t, "mkfs.xfs", 320<<20, "-q", "-f")
	mountImage(t, image, dir, "xfs", "")
	bin := buildAgent(t)
	found := func() *problem.Problem {
		s, _ := once(t, exec.Command(bin, "--once", "-o", "json", "--since", "5m"))
		if !slices.ContainsFunc(s.Logs, func(l problem.LogStatus) bool { return l.Source == "kmsg" && l.Blind == "" }) {
			t.Skipf("SKIPPED: the kernel's log cannot be read here: %+v", s.Logs)
		}
		i := slices.IndexFunc(s.Problems, func(p problem.Problem) bool { return p.Kind == problem.ReadonlyFilesystem && p.Subject == dir })
		if i < 0 {
			return nil
		}
		return &s.Problems[i]
	}
	if p := found(); p != nil {
		t.Fatalf("healthy, and yet %+v", p)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	// XFS_IOC_GOINGDOWN is _IOR('X', 125, uint32_t); 2 is NOLOGFLUSH (fs/xfs/libxfs/xfs_fs.h).
	const goingDown, noLogFlush = 0x8004587d, 2
	err = unix.IoctlSetPointerInt(int(d.Fd()), goingDown, noLogFlush)
	_ = d.Close()
	if err != nil {
		t.Fatal(err)
	}
	p := found()
	if p == nil || p.Severity != problem.Critical || !slices.Contains(p.Touches, problem.NewRef(problem.RefMount, dir)) {
		t.Fatalf("%+v", p)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	mountImage(t, image, dir, "xfs", "")
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o644); errors.Is(err, unix.EIO) {
		t.Skip("SKIPPED: another mount namespace holds the file system that has shut down")
	}
	if p := found(); p != nil {
		t.Errorf("it was mounted again, and yet %+v", p)
	}
}
