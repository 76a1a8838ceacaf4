package probes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// gib makes a file system of 1000 GiB and a million inodes, of which so many percent
// are available, with another 5 % of space reserved for root.
func gib(space, inodes uint64) mounts.Usage {
	return mounts.Usage{
		Size: 1050 << 30, Free: (space*10 + 50) << 30, Avail: space * 10 << 30,
		Inodes: 1_000_000, InodesFree: inodes * 10_000,
	}
}

func ext4(point string, u mounts.Usage) fileSystem {
	return fileSystem{
		mount: mounts.Mount{Major: 8, Minor: 1, Root: "/", Point: point, Options: "rw", FSType: "ext4", Source: "/dev/sda1", SuperOptions: "rw"},
		roles: []string{"root", "logs"}, usage: u, touches: []problem.Ref{problem.NewRef(problem.RefMount, point)},
	}
}

func TestEvaluateFilesystems(t *testing.T) {
	th := NewFilesystems().Thresholds
	with := func(f fileSystem, change func(*fileSystem)) fileSystem {
		change(&f)
		return f
	}
	for _, tc := range []struct {
		name          string
		fs            fileSystem
		space, inodes problem.Severity
		none          problem.Severity // of NoSpaceLeft
	}{
		{"healthy", ext4("/", gib(50, 50)), 0, 0, 0},
		{"look-alike: image garbage collection swings around 15 %", ext4("/", gib(15, 50)), 0, 0, 0},
		{"space warning", ext4("/", gib(14, 50)), problem.Warning, 0, 0},
		{"space critical", ext4("/", gib(9, 50)), problem.Critical, 0, 0},
		{"inodes warning", ext4("/", gib(50, 9)), 0, problem.Warning, 0},
		{"inodes critical", ext4("/", gib(50, 4)), 0, problem.Critical, 0},
		{"full, though not for root", ext4("/", gib(0, 50)), problem.Critical, 0, problem.Critical},
		{"no inodes", ext4("/", gib(50, 0)), 0, problem.Critical, problem.Critical},
		{"neither", ext4("/", gib(0, 0)), problem.Critical, problem.Critical, problem.Critical},
		{"look-alike: squashfs", with(ext4("/", gib(0, 0)), func(f *fileSystem) { f.mount.FSType = "squashfs" }), 0, 0, 0},
		{"look-alike: an overlay of images alone", with(ext4("/", gib(0, 0)), func(f *fileSystem) { f.mount.FSType = "overlay" }), 0, 0, 0},
		{"overlay with an upper folder", with(ext4("/", gib(9, 50)), func(f *fileSystem) {
			f.mount.FSType, f.mount.SuperOptions = "overlay", "rw,lowerdir=/l,upperdir=/u,workdir=/w"
		}), problem.Critical, 0, 0},
		{"look-alike: read-only image (dm-verity)", with(ext4("/", gib(0, 0)), func(f *fileSystem) { f.mount.SuperOptions = "ro" }), 0, 0, 0},
		{"a read-only mount point is still judged", with(ext4("/", gib(9, 50)), func(f *fileSystem) {
			f.mount.Options, f.usage.Readonly = "ro", true
		}), problem.Critical, 0, 0},
		{"look-alike: btrfs has no number of inodes", with(ext4("/", gib(50, 0)), func(f *fileSystem) { f.usage.Inodes = 0 }), 0, 0, 0},
		{"look-alike: a full XFS has no inodes because it has no space", with(ext4("/", gib(9, 0)), func(f *fileSystem) {
			f.mount.FSType = "xfs"
		}), problem.Critical, 0, 0},
		{"look-alike: nothing to fill", with(ext4("/", mounts.Usage{}), func(f *fileSystem) { f.mount.FSType = "ramfs" }), 0, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := evaluateFilesystems([]fileSystem{tc.fs}, th)
			low := checkSeverity(t, r, problem.FilesystemSpaceLow, "/", tc.space)
			checkSeverity(t, r, problem.FilesystemInodesLow, "/", tc.inodes)
			checkSeverity(t, r, problem.NoSpaceLeft, "/", tc.none)
			if tc.space != 0 && low.Refused != (tc.fs.usage.Avail == 0) {
				t.Errorf("refused: %v", low.Refused)
			}
		})
	}
}

func TestFilesystemMessage(t *testing.T) {
	r := evaluateFilesystems([]fileSystem{ext4("/", gib(8, 50))}, NewFilesystems().Thresholds)
	v := checkSeverity(t, r, problem.FilesystemSpaceLow, "/", problem.Critical)
	if want := "/ (root, logs) has 8 % of its 1000 GiB left"; v.Message != want {
		t.Errorf("%q, want %q", v.Message, want)
	}
	if want := "df -B1 /: 987842478080 bytes used, 85899345920 available"; v.Evidence[0] != want {
		t.Errorf("%q, want %q", v.Evidence[0], want)
	}
	if m := r.Measurements[0]; m.Resource != "filesystem_bytes" || m.Max != 1000<<30 || m.Used != 920<<30 {
		t.Errorf("measured %+v", m)
	}
}

func TestFilesystemsNotApplicable(t *testing.T) {
	f := ext4("/", gib(0, 0))
	f.mount.FSType = "erofs"
	r := evaluateFilesystems([]fileSystem{f}, NewFilesystems().Thresholds)
	var kinds []problem.Kind
	for _, v := range r.Verdicts {
		if v.State != problem.NotApplicable || v.Message == "" || v.Subject != "" {
			t.Errorf("%+v", v)
		}
		kinds = append(kinds, v.Kind)
	}
	if want := []problem.Kind{problem.FilesystemSpaceLow, problem.NoSpaceLeft, problem.FilesystemInodesLow}; !slices.Equal(kinds, want) {
		t.Errorf("not applicable: %v, want %v", kinds, want)
	}
}

// diskNode is a node with kubelet, containerd and etcd on several file systems.
func diskNode(t *testing.T) *Node {
	t.Helper()
	n := tree(t, map[string]string{
		"/proc/1/mountinfo": strings.Join([]string{
			"20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
			"21 20 0:5 / /proc rw - proc proc rw",
			"22 20 8:16 / /data rw - xfs /dev/sdb rw",
			"23 20 8:1 /var/log /var/log rw - ext4 /dev/sda1 rw",
			"24 20 0:50 / /mnt/nfs rw - nfs4 srv:/x rw",
			"25 20 253:0 / /var/lib/kubelet rw - ext4 /dev/mapper/vg-kubelet rw",
			"26 25 0:60 / /var/lib/kubelet/pods/1/volumes/kubernetes.io~secret/token rw - tmpfs tmpfs rw",
			"",
		}, "\n"),
		"/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n",
		"/var/log/syslog":              "",
		"/data/containerd/x":           "",
		"/mnt/nfs/here":                "",
	})
	symlink(t, n, "/data/containerd", "/var/lib/containerd") // absolute: inside the host's root
	symlink(t, n, "../../mnt/nfs/etcd", "/var/lib/etcd")
	symlink(t, n, "loop", "/var/lib/docker")
	symlink(t, n, "docker", "/var/lib/loop")
	symlink(t, n, "../../devices/pci0000:00/block/sda/sda1", "/sys/dev/block/8:1")
	symlink(t, n, "../../devices/virtual/block/dm-0", "/sys/dev/block/253:0")
	return n
}

func symlink(t *testing.T, n *Node, target, at string) {
	t.Helper()
	p := n.Host.Path(at)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, p); err != nil {
		t.Fatal(err)
	}
}

// df prints 42 % for such an ext4 with 5 % reserved for root: 40/(40+55).
func TestSpaceOf(t *testing.T) {
	space := spaceOf(mounts.Usage{Size: 100, Free: 60, Avail: 55})
	if used := 1 - space.fraction(); used < 0.42 || used > 0.4211 || space.total() != 95 {
		t.Errorf("%+v", space)
	}
	if got := spaceOf(mounts.Usage{Size: 10, Free: 20, Avail: 20}); got.used != 0 {
		t.Errorf("more free than there is: %+v", got)
	}
}

func TestFilesystemsRun(t *testing.T) {
	n := diskNode(t)
	p := NewFilesystems()
	p.Thresholds.Paths = []string{"/var/log/syslog", "/no/such/path"}
	p.usage = func(m mounts.Mount) (mounts.Usage, error) {
		switch m.Point {
		case "/", "/var/log":
			return gib(20, 20), nil
		case "/data":
			return gib(3, 90), nil
		case "/var/lib/kubelet":
			return gib(90, 7), nil
		}
		t.Errorf("asked %s (%s)", m.Point, m.FSType)
		return mounts.Usage{}, errors.New("no")
	}
	r, err := p.Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	v := checkSeverity(t, r, problem.FilesystemSpaceLow, "/data", problem.Critical)
	if !strings.HasPrefix(v.Message, "/data (containerd) has 3 %") {
		t.Error(v.Message)
	}
	checkSeverity(t, r, problem.FilesystemSpaceLow, "/", 0)
	v = checkSeverity(t, r, problem.FilesystemInodesLow, "/var/lib/kubelet", problem.Warning)
	if want := problem.NewRef(problem.RefDevice, "dm-0"); !slices.Contains(v.Touches, want) {
		t.Errorf("touches %v, without %s", v.Touches, want)
	}
	unknown := map[string]string{}
	for _, v := range r.Verdicts {
		if v.State == problem.Unknown && v.Kind == problem.FilesystemSpaceLow {
			unknown[v.Subject] = v.Message
		}
	}
	for subject, want := range map[string]string{
		"/mnt/nfs":        "/mnt/nfs (etcd): not looked at: nfs4 may hang",
		"/no/such/path":   "file does not exist",
		"/var/lib/docker": "too many levels of symbolic links",
	} {
		if !strings.Contains(unknown[subject], want) {
			t.Errorf("%s: %q, want %q", subject, unknown[subject], want)
		}
	}
	if len(unknown) != 3 {
		t.Errorf("unknown: %v", unknown)
	}
	for _, m := range r.Measurements {
		if m.Resource == "filesystem_bytes" && m.Subject == "/" {
			want := []problem.Ref{"device:8:1", "device:sda1", "device:sda", "mount:/", "mount:/var/log"}
			if !slices.Equal(m.Touches, want) {
				t.Errorf("touches %v, want %v", m.Touches, want)
			}
		}
	}
	if len(r.Measurements) != 6 {
		t.Errorf("%d measurements of three file systems: %+v", len(r.Measurements), r.Measurements)
	}
}

func TestPlace(t *testing.T) {
	n := diskNode(t)
	v, err := viewMounts(n.Host, func(mounts.Mount) (mounts.Usage, error) { return mounts.Usage{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{
		"/":                   "/",
		"/var/log/syslog":     "/var/log",
		"/var/lib/containerd": "/data",
		"/var/lib/etcd/db":    "/mnt/nfs",
		"/data/../var/log":    "/var/log",
	} {
		m, err := v.place(p)
		if err != nil || m.Point != want {
			t.Errorf("%s: on %q (%v), want %q", p, m.Point, err, want)
		}
	}
	for _, p := range []string{"/none", "/var/log/syslog/x", "/data/containerd/y"} {
		if m, err := v.place(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: on %q, %v, want that it does not exist", p, m.Point, err)
		}
	}
}

// Mounts that are not what they seem to be from here are not touched.
func TestFilesystemsNotVisible(t *testing.T) {
	n := diskNode(t)
	r, err := NewFilesystems().Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, v := range r.Verdicts {
		if v.State != problem.Unknown {
			t.Errorf("%+v", v)
		}
		if strings.Contains(v.Message, "not visible here") {
			seen++
		}
	}
	if seen == 0 || len(r.Measurements) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestFilesystemsHealthyHere(t *testing.T) {
	r, err := NewFilesystems().Run(t.Context(), nodeAt(t, "/"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range r.Verdicts {
		if v.State == problem.Wrong {
			t.Errorf("%+v", v)
		}
	}
	if len(r.Measurements) == 0 {
		t.Errorf("nothing measured: %+v", r)
	}
}
