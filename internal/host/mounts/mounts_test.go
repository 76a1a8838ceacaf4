package mounts

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host"
)

func fixture(t *testing.T, name string) (*host.Host, Table) {
	t.Helper()
	h, err := host.New(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	table, err := Read(h)
	if err != nil {
		t.Fatal(err)
	}
	return h, table
}

func podTable(t *testing.T) Table {
	t.Helper()
	b, err := os.ReadFile("testdata/pod-mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	table, err := Parse("pod", b)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func at(t *testing.T, table Table, p string) Mount {
	t.Helper()
	m, ok := table.At(p)
	if !ok {
		t.Fatalf("At(%q): nothing", p)
	}
	return m
}

func TestParseLine(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       Mount
		err        string
	}{
		{
			name: "no optional field", line: "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard",
			want: Mount{27, 1, 254, 0, "/", "/", "rw,relatime", "ext4", "/dev/vda", "rw,discard"},
		},
		{
			name: "three optional fields", line: "3 2 0:31 /a /b ro shared:1 master:2 unbindable - nfs4 srv:/x rw,hard",
			want: Mount{3, 2, 0, 31, "/a", "/b", "ro", "nfs4", "srv:/x", "rw,hard"},
		},
		{
			name: "escapes", line: `3 2 0:31 / /mnt/a\040b\011c\012d\134e\043 rw - tmpfs my\040tmp rw`,
			want: Mount{3, 2, 0, 31, "/", "/mnt/a b\tc\nd\\e#", "rw", "tmpfs", "my tmp", "rw"},
		},
		{
			name: "backslash that escapes nothing", line: `3 2 0:31 / /mnt/a\9zz\04 rw - tmpfs t rw`,
			want: Mount{3, 2, 0, 31, "/", `/mnt/a\9zz\04`, "rw", "tmpfs", "t", "rw"},
		},
		{
			name: "empty source", line: "3 2 0:31 / /x rw - tmpfs  rw",
			want: Mount{3, 2, 0, 31, "/", "/x", "rw", "tmpfs", "", "rw"},
		},
		{
			name: "space in the options", line: "3 2 0:31 / /x rw - odd s rw,name=a b",
			want: Mount{3, 2, 0, 31, "/", "/x", "rw", "odd", "s", "rw,name=a b"},
		},
		{
			name: "a mount point named hyphen", line: "3 2 0:31 / /- rw - tmpfs - rw",
			want: Mount{3, 2, 0, 31, "/", "/-", "rw", "tmpfs", "-", "rw"},
		},
		{name: "empty", line: "", err: "fewer than 6"},
		{name: "cut", line: "27 1 254:0 / / rw,relatime - ext4", err: "no file system"},
		{name: "no separator", line: "27 1 254:0 / / rw,relatime shared:1 ext4 /dev/vda rw", err: "no file system"},
		{name: "device", line: "27 1 254 / / rw - ext4 /dev/vda rw", err: "major:minor"},
		{name: "large device", line: "27 1 99999999999:0 / / rw - ext4 /dev/vda rw", err: "major:minor"},
		{name: "ID", line: "x 1 254:0 / / rw - ext4 /dev/vda rw", err: "mount ID"},
		{name: "parent", line: "1 x 254:0 / / rw - ext4 /dev/vda rw", err: "parent ID"},
		{name: "relative", line: "1 1 254:0 / mnt rw - ext4 /dev/vda rw", err: "not absolute"},
		{name: "no type", line: "1 1 254:0 / /mnt rw -  /dev/vda rw", err: "no file system type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseLine(c.line)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

func TestParseKeepsTheGoodLines(t *testing.T) {
	const good = "27 1 254:0 / / rw - ext4 /dev/vda rw\n"
	table, err := Parse("mountinfo", []byte(good+"garbage\n"+good+"\x00\n"))
	if len(table.Mounts) != 2 {
		t.Errorf("%d mounts, want the 2 good ones", len(table.Mounts))
	}
	if want := "mountinfo, line 2: fewer than 6 fields (and 1 more such lines)"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if _, err := Parse("mountinfo", nil); err == nil {
		t.Error("an empty table is no error, but every process has mounts")
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/pod-mountinfo", "testdata/hung-nfs/proc/1/mountinfo"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "/var/lib/kubelet")
	}
	f.Add([]byte("1 1 0:1 / / rw - a b rw\n2 3 0:1 / / rw - a b rw\n3 2 0:1 / / rw - nfs b ro\n"), "/")
	f.Add([]byte(`3 2 0:31 / /\400\1 rw - tmpfs  `), "x")
	f.Fuzz(func(t *testing.T, b []byte, p string) {
		table, err := Parse("f", b)
		if lines := strings.Count(string(b), "\n") + 1; len(table.Mounts) > lines {
			t.Fatalf("%d mounts from %d lines", len(table.Mounts), lines)
		}
		if len(table.Mounts) == 0 && err == nil {
			t.Fatal("nothing read, and no error")
		}
		for _, m := range table.Mounts {
			if !filepath.IsAbs(m.Point) || m.FSType == "" {
				t.Fatalf("bad mount accepted: %+v", m)
			}
		}
		table.MayHang()
		if m, ok := table.At(p); ok && !within(filepath.Clean(p), m.Point) {
			t.Fatalf("At(%q) = mount at %q", p, m.Point)
		}
	})
}

func TestAt(t *testing.T) {
	_, healthy := fixture(t, "healthy")
	_, nfs := fixture(t, "hung-nfs")
	stacked := Table{Mounts: []Mount{
		{ID: 1, Parent: 1, Point: "/", FSType: "rootfs"}, // its own parent, as the kernel's first mount
		{ID: 2, Parent: 1, Point: "/", FSType: "ext4"},
		{ID: 3, Parent: 2, Point: "/a/b", FSType: "hidden"}, // by 4, mounted above it later
		{ID: 4, Parent: 2, Point: "/a", FSType: "tmpfs"},
		{ID: 5, Parent: 4, Point: "/a", FSType: "xfs"}, // over 4
		{ID: 6, Parent: 5, Point: "/a/c", FSType: "nfs"},
		{ID: 7, Parent: 8, Point: "/x", FSType: "circle"},
		{ID: 8, Parent: 7, Point: "/x", FSType: "circle"},
	}}
	for _, c := range []struct {
		table Table
		path  string
		want  string // type and mount point
	}{
		{healthy, "/", "ext4 /"},
		{healthy, "/var/lib/kubelet", "ext4 /"},
		{healthy, "/run/", "tmpfs /run"},
		{healthy, "/run/lock/../x", "tmpfs /run"},
		{healthy, "/runner", "ext4 /"},
		{healthy, "/proc/sys/fs/binfmt_misc/status", "binfmt_misc /proc/sys/fs/binfmt_misc"},
		{nfs, "/mnt/nfs/data", "nfs4 /mnt/nfs"},
		{stacked, "/a/b/c", "xfs /a"},
		{stacked, "/a/c/d", "nfs /a/c"},
		{stacked, "/x/y", "ext4 /"},
		{healthy, "relative", ""},
		{Table{}, "/", ""},
	} {
		got := ""
		if m, ok := c.table.At(c.path); ok {
			got = m.FSType + " " + m.Point
		}
		if got != c.want {
			t.Errorf("At(%q) = %q, want %q", c.path, got, c.want)
		}
	}
	// A bind mount over /host/run/netns hides the mounts made below it before.
	if m := at(t, podTable(t), "/host/run/netns/cni-6a8483d2-0a40-ea17-e8ec-a872ccaf5906"); m.ID != 766 {
		t.Errorf("found mount %d, want 766 on top of 765", m.ID)
	}
}

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		m    Mount
		want string // the initials of those that hold
	}{
		{Mount{FSType: "ext4", Major: 254, Source: "/dev/vda", SuperOptions: "rw,discard"}, "B"},
		{Mount{FSType: "ext4", Major: 254, Source: "/dev/vda", SuperOptions: "ro"}, "BR"},
		{Mount{FSType: "ext4", Major: 254, SuperOptions: "rw,emergency_ro"}, "BR"},
		{Mount{FSType: "xfs", Major: 8, SuperOptions: "rw,shutdown"}, "BR"},
		{Mount{FSType: "ext4", Major: 8, Options: "ro", SuperOptions: "rw,errors=remount-ro"}, "B"},
		{Mount{FSType: "btrfs", Source: "/dev/sda2", SuperOptions: "rw"}, "B"},
		{Mount{FSType: "tmpfs", Source: "tmpfs", SuperOptions: "rw"}, ""},
		{Mount{FSType: "overlay", Source: "overlay", SuperOptions: "rw,lowerdir=/ro"}, ""},
		{Mount{FSType: "devtmpfs", Source: "/dev/x"}, "P"},
		{Mount{FSType: "cgroup2"}, "P"},
		{Mount{FSType: "nfs4", Source: "srv:/x"}, "NH"},
		{Mount{FSType: "smb3", Source: "//srv/x"}, "NH"},
		{Mount{FSType: "ceph"}, "NH"},
		{Mount{FSType: "fuse.sshfs"}, "FH"},
		{Mount{FSType: "fuseblk", Major: 8, Source: "/dev/sdb1"}, "FHB"},
		{Mount{FSType: "fusectl"}, "P"},
		{Mount{FSType: "nfsd"}, "P"},
		{Mount{FSType: "autofs"}, "PH"},
		{Mount{FSType: "virtiofs"}, "H"},
	} {
		got := ""
		for _, k := range []struct {
			initial string
			is      bool
		}{{"P", c.m.Pseudo()}, {"N", c.m.Network()}, {"F", c.m.FUSE()}, {"H", c.m.MayHang()}, {"B", c.m.Block()}, {"R", c.m.Readonly()}} {
			if k.is {
				got += k.initial
			}
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.m, got, c.want)
		}
	}
}

func TestTableMayHang(t *testing.T) {
	table := Table{Mounts: []Mount{
		{ID: 1, Parent: 0, Point: "/", FSType: "ext4"},
		{ID: 2, Parent: 1, Point: "/nfs", FSType: "nfs"},
		{ID: 3, Parent: 2, Point: "/nfs/disk", FSType: "xfs"}, // the way to it leads through /nfs
		{ID: 4, Parent: 1, Point: "/f", FSType: "fuse.s3"},
		{ID: 5, Parent: 4, Point: "/f", FSType: "tmpfs"}, // over it
		{ID: 6, Parent: 1, Point: "/auto", FSType: "autofs"},
		{ID: 7, Parent: 6, Point: "/auto/disk", FSType: "xfs"}, // triggered already
		{ID: 8, Parent: 9, Point: "/c", FSType: "xfs"},
		{ID: 9, Parent: 8, Point: "/c", FSType: "xfs"},
	}}
	// 8 and 9 form a circle: they are left alone.
	want := map[int]bool{2: true, 3: true, 4: true, 6: true, 8: true, 9: true}
	if got := table.MayHang(); !reflect.DeepEqual(got, want) {
		t.Errorf("may hang: %v, want %v", got, want)
	}
}

func TestReadRecordedNodes(t *testing.T) {
	for name, want := range map[string]struct {
		mounts  int
		mayHang []string
	}{
		"healthy":   {38, []string{"autofs /proc/sys/fs/binfmt_misc 0:31"}},
		"hung-fuse": {43, []string{"autofs /proc/sys/fs/binfmt_misc 0:31", "fuse.hangfs /mnt/fuse/m0 0:121"}},
		"hung-nfs":  {51, []string{"autofs /proc/sys/fs/binfmt_misc 0:31", "nfs4 /mnt/nfs 0:105"}},
	} {
		_, table := fixture(t, name)
		var got []string
		hang := table.MayHang()
		for _, m := range table.Mounts {
			if hang[m.ID] {
				got = append(got, fmt.Sprintf("%s %s %d:%d", m.FSType, m.Point, m.Major, m.Minor))
			}
			if m.Readonly() {
				t.Errorf("%s: %s at %s is read-only", name, m.FSType, m.Point)
			}
		}
		if len(table.Mounts) != want.mounts || !reflect.DeepEqual(got, want.mayHang) {
			t.Errorf("%s: %d mounts, may hang: %q", name, len(table.Mounts), got)
		}
		if table.From != "/proc/1/mountinfo" || table.Fallback {
			t.Errorf("%s: read from %s, fallback %v", name, table.From, table.Fallback)
		}
	}
}

func TestReadFallsBackAndSaysSo(t *testing.T) {
	_, table := fixture(t, "self-only")
	if table.From != "/proc/self/mountinfo" || !table.Fallback {
		t.Errorf("read from %s, fallback %v", table.From, table.Fallback)
	}
}

func TestRebase(t *testing.T) {
	table := podTable(t)
	table.rebase("/host")
	if m := at(t, table, "/run/lock"); m.Minor != 27 || m.Point != "/run/lock" {
		t.Errorf("/run/lock: %+v", m)
	}
	if m := at(t, table, "/var/lib"); m.Point != "/" || m.Source != "/dev/vda" {
		t.Errorf("/: %+v, want the node's and not the container's", m)
	}
	same := podTable(t)
	same.rebase("/elsewhere")
	if len(same.Mounts) != len(podTable(t).Mounts) {
		t.Error("a root that is no mount changed the table")
	}
}

func TestReadWithoutAnyTable(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/loadavg"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(h); err == nil || !strings.Contains(err.Error(), "/proc/1/mountinfo") {
		t.Errorf("error %v, want one that names /proc/1/mountinfo", err)
	}
}

func TestVisible(t *testing.T) {
	// The pod has the node's root at the place where the test has its fixture.
	h, node := fixture(t, "healthy")
	pod := podTable(t)
	for i := range pod.Mounts {
		if p, ok := strings.CutPrefix(pod.Mounts[i].Point, "/host"); ok {
			pod.Mounts[i].Point = h.Root() + strings.TrimSuffix(p, "/")
			pod.Mounts[i].Point = filepath.Clean(pod.Mounts[i].Point)
		}
	}
	for p, want := range map[string]string{"/": "", "/run": "/run", "/dev/shm": "/dev/shm"} {
		got, ok, why := pod.Visible(h, at(t, node, p))
		if !ok || got != filepath.Clean(h.Root()+want) {
			t.Errorf("%s: %q, %v, %s", p, got, ok, why)
		}
	}
	other := at(t, node, "/run")
	other.Minor++
	if _, ok, why := pod.Visible(h, other); ok || !strings.Contains(why, "0:25 / for us, but 0:26 / for the host") {
		t.Errorf("another file system at the same place: %v, %s", ok, why)
	}
	// Behind a fixture there are no mounts at all, whatever its table says.
	own, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range node.Mounts {
		if p, ok, why := own.Visible(h, m); ok || !strings.Contains(why, "not visible here") {
			t.Errorf("%s of a fixture is visible as %s (%s)", m.Point, p, why)
		}
	}
}
