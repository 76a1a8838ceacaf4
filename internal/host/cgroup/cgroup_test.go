package cgroup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/test/fixtures"
	"github.com/nodevitals/nodevitals/test/unprivileged"
)

// detect opens the cgroups of a recorded node.
func detect(t *testing.T, root string) *Tree {
	t.Helper()
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Detect(h)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// write makes a tree of files; a path that ends in / is a folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		p := filepath.Join(root, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(p, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// podSlice finds the slice of a pod in a recorded node.
func podSlice(t *testing.T, tree *Tree, uid string) (pod string, scopes []string) {
	t.Helper()
	err := tree.Walk(t.Context(), ControllerPIDs, func(path string) error {
		got, ok := PodOf(path)
		switch _, container := ContainerOf(path); {
		case !ok || !strings.HasPrefix(got, uid):
		case container:
			scopes = append(scopes, path)
		default:
			pod = path
		}
		return nil
	})
	if err != nil || pod == "" {
		t.Fatalf("no cgroup of pod %s (%v)", uid, err)
	}
	return pod, scopes
}

const (
	v1Mountinfo = `32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
`
	unifiedMountinfo = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
	v2Mountinfo      = "33 24 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
)

func v1Files(extra map[string]string) map[string]string {
	files := map[string]string{
		"proc/loadavg":                               "",
		"proc/1/mountinfo":                           v1Mountinfo,
		"sys/fs/cgroup/cpu,cpuacct/cgroup.procs":     "",
		"sys/fs/cgroup/memory/cgroup.procs":          "",
		"sys/fs/cgroup/pids/cgroup.procs":            "1\n",
		"sys/fs/cgroup/systemd/cgroup.procs":         "",
		"sys/fs/cgroup/unified/cgroup.procs":         "",
		"sys/fs/cgroup/unified/cgroup.controllers":   "hugetlb\n",
		"sys/fs/cgroup/pids/kubepods/pod1/pids.max":  "5",
		"sys/fs/cgroup/memory/kubepods/cgroup.procs": "",
	}
	for k, v := range extra {
		files[k] = v
	}
	return files
}

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		mode  Mode
		has   []Controller
		hasNo []Controller
		err   string
	}{
		"v1": {
			files: v1Files(nil), mode: V1,
			has:   []Controller{"pids", "memory", "cpu", "cpuacct", "name=systemd"},
			hasNo: []Controller{"io", "rw", "xattr"},
		},
		"hybrid": {
			files: v1Files(map[string]string{"proc/1/mountinfo": v1Mountinfo + unifiedMountinfo}),
			mode:  Hybrid, has: []Controller{"pids", "hugetlb"},
		},
		"v2": {
			files: map[string]string{
				"proc/loadavg": "", "proc/1/mountinfo": v2Mountinfo,
				"sys/fs/cgroup/cgroup.procs": "", "sys/fs/cgroup/cgroup.controllers": "cpu io memory pids\n",
			},
			mode: V2, has: []Controller{"pids", "io"}, hasNo: []Controller{"cpuacct"},
		},
		"v2 with a stray v1": {
			files: map[string]string{
				"proc/loadavg":               "",
				"proc/1/mountinfo":           "50 33 0:40 / /sys/fs/cgroup/net_cls rw - cgroup cgroup rw,net_cls\n" + v2Mountinfo,
				"sys/fs/cgroup/cgroup.procs": "", "sys/fs/cgroup/cgroup.controllers": "pids\n",
				"sys/fs/cgroup/net_cls/cgroup.procs": "",
			},
			mode: V2, has: []Controller{"pids", "net_cls"},
		},
		"a recording without mountinfo": {
			files: map[string]string{
				"proc/loadavg":               "",
				"sys/fs/cgroup/cgroup.procs": "", "sys/fs/cgroup/cgroup.controllers": "pids\n",
			},
			mode: V2, has: []Controller{"pids"},
		},
		"mounted, but not visible": {
			files: map[string]string{"proc/loadavg": "", "proc/1/mountinfo": v2Mountinfo, "sys/fs/cgroup/": ""},
			err:   "/sys/fs/cgroup/cgroup.procs is not visible",
		},
		"no cgroups": {
			files: map[string]string{"proc/loadavg": "", "proc/1/mountinfo": "29 1 254:0 / / rw - ext4 /dev/vda rw\n"},
			err:   "no cgroup2",
		},
		"no mountinfo":        {files: map[string]string{"proc/loadavg": ""}, err: "/proc/1/mountinfo"},
		"malformed mountinfo": {files: map[string]string{"proc/loadavg": "", "proc/1/mountinfo": "garbage\n"}, err: "/proc/1/mountinfo, line 1: fewer than 6 fields"},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := host.New(write(t, c.files))
			if err != nil {
				t.Fatal(err)
			}
			tree, err := Detect(h)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tree.Mode() != c.mode {
				t.Errorf("mode %s, want %s", tree.Mode(), c.mode)
			}
			for _, x := range c.has {
				if !tree.Has(x) {
					t.Errorf("lacks %s", x)
				}
			}
			for _, x := range c.hasNo {
				if tree.Has(x) {
					t.Errorf("has %s", x)
				}
			}
		})
	}
}

func TestParseMounts(t *testing.T) {
	got, err := parseMounts("mountinfo", []byte(
		"9 1 0:36 / /var/lib/x/rootfs/sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"+
			"10 1 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,seclabel,pids\n"+
			"11 1 0:36 /docker/abc /sys/fs/cgroup/cpu\\040x rw master:3 propagate_from:2 - cgroup cgroup rw,cpu,release_agent=/x\n"+
			"12 1 0:28 /../../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []mount{
		{point: "/sys/fs/cgroup/pids", controllers: []string{"pids"}},
		{point: "/sys/fs/cgroup/cpu x", top: "/docker/abc", controllers: []string{"cpu"}},
		{point: "/sys/fs/cgroup", v2: true, relative: true},
	}
	if !slices.EqualFunc(got, want, func(a, b mount) bool {
		return a.point == b.point && a.top == b.top && a.v2 == b.v2 && a.relative == b.relative && slices.Equal(a.controllers, b.controllers)
	}) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestWalk(t *testing.T) {
	tree := detect(t, fixtures.Node(t, "healthy-cgroupfs-k6.1"))
	var got []string
	seen := map[string]bool{}
	err := tree.Walk(t.Context(), ControllerMemory, func(path string) error {
		if path != "/" && !seen[parent(path)] {
			t.Errorf("%s came before its parent", path)
		}
		seen[path] = true
		got = append(got, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got[0] != "/" || !seen["/kubepods/besteffort/pod008ba0b976575161f797f9efd81e89b9/5aa342290dc8a32c604291aadca3db219a2e99380a3384478af28057dc21cf18"] {
		t.Errorf("got %q", got)
	}
	var again []string
	if err := tree.Walk(t.Context(), ControllerMemory, func(path string) error { again = append(again, path); return nil }); err != nil || !slices.Equal(got, again) {
		t.Errorf("a second walk differs (%v)", err)
	}
}

// Cgroups come and go during a walk; that is no error.
func TestWalkVanishing(t *testing.T) {
	root := write(t, v1Files(map[string]string{"sys/fs/cgroup/pids/a/b/": "", "sys/fs/cgroup/pids/c/": ""}))
	tree := detect(t, root)
	var got []string
	err := tree.Walk(t.Context(), ControllerPIDs, func(path string) error {
		got = append(got, path)
		if path == "/" {
			return os.RemoveAll(filepath.Join(root, "sys/fs/cgroup/pids/a"))
		}
		return nil
	})
	if want := []string{"/", "/c", "/kubepods", "/kubepods/pod1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestWalkStops(t *testing.T) {
	tree := detect(t, write(t, v1Files(nil)))
	stop := errors.New("stop")
	if err := tree.Walk(t.Context(), ControllerPIDs, func(string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("visit's error became %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	visits := 0
	err := tree.Walk(ctx, ControllerPIDs, func(string) error { visits++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || visits != 1 {
		t.Errorf("%d visits and %v after the context ended", visits, err)
	}
	if err := tree.Walk(t.Context(), "rdma", func(string) error { return nil }); !errors.Is(err, ErrAbsent) {
		t.Errorf("a controller that the host lacks: %v", err)
	}
}

// A folder that cannot be listed is named, and the walk goes on.
func TestWalkUnreadable(t *testing.T) {
	// Even root cannot list what is not a folder by the time it is opened: O_NOFOLLOW
	// on a link is refused whoever asks, so a list of one must report it.
	root := write(t, v1Files(nil))
	link := filepath.Join(root, "sys/fs/cgroup/pids/link")
	if err := os.Symlink("kubepods", link); err != nil {
		t.Fatal(err)
	}
	l := lister{buf: make([]byte, 4096)}
	if _, err := l.children(link); err == nil {
		t.Error("followed a link")
	}
	unprivileged.Test(t)
	closed := filepath.Join(root, "sys/fs/cgroup/pids/closed")
	if err := os.Mkdir(closed, 0); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := detect(t, root).Walk(t.Context(), ControllerPIDs, func(path string) error { got = append(got, path); return nil })
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "/sys/fs/cgroup/pids/closed") {
		t.Errorf("error %v", err)
	}
	if want := []string{"/", "/closed", "/kubepods", "/kubepods/pod1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The two kernels count refused forks in different cgroups; the limiter is the same.
func TestPIDsLimit(t *testing.T) {
	for state, c := range map[string]struct {
		pod    Refusals
		scopes []uint64
	}{
		"pids-limit-k6.12": {pod: Refusals{Count: 23, Local: 23, HasLocal: true}, scopes: []uint64{0, 0}},
		"pids-limit-k6.1":  {scopes: []uint64{0, 19}},
	} {
		t.Run(state, func(t *testing.T) {
			tree := detect(t, fixtures.Node(t, state))
			pod, scopes := podSlice(t, tree, "5382cf41")
			p, err := tree.PIDs(pod)
			if err != nil || p != (PIDs{Current: 64, Max: 64}) || !p.Full() || p.Fraction() != 1 {
				t.Errorf("PIDs(%s) = %+v, %v", pod, p, err)
			}
			if peak, err := tree.Peak(pod); err != nil || peak != 65 {
				t.Errorf("Peak = %d, %v", peak, err)
			}
			if r, err := tree.Refusals(pod); err != nil || r != c.pod {
				t.Errorf("Refusals = %+v, %v; want %+v", r, err, c.pod)
			}
			var counts []uint64
			for _, s := range scopes {
				r, err := tree.Refusals(s)
				if err != nil {
					t.Error(err)
				}
				counts = append(counts, r.Count)
				limiter, at, err := tree.Limiter(s)
				if err != nil || limiter != pod || at.Max != 64 {
					t.Errorf("Limiter(%s) = %s, %+v, %v", s, limiter, at, err)
				}
			}
			slices.Sort(counts)
			if !slices.Equal(counts, c.scopes) {
				t.Errorf("the scopes count %d, want %d", counts, c.scopes)
			}
			// The scope of a process that is gone: the cgroups above it are not.
			if limiter, _, err := tree.Limiter(pod + "/cri-containerd-gone.scope"); err != nil || limiter != pod {
				t.Errorf("Limiter below = %s, %v", limiter, err)
			}
			if _, err := tree.PIDs("/"); !errors.Is(err, ErrAbsent) {
				t.Errorf("PIDs(/) = %v, want ErrAbsent", err)
			}
			if _, _, err := tree.Limiter("/"); !errors.Is(err, ErrAbsent) {
				t.Errorf("Limiter(/) = %v, want ErrAbsent", err)
			}
		})
	}
}

func TestLimiterWithoutFull(t *testing.T) {
	files := map[string]string{
		"a/pids.current": "5", "a/pids.max": "10", "a/pids.events": "max 0", "a/pids.peak": "9",
		"a/b/pids.current": "5", "a/b/pids.max": "8", "a/b/pids.events": "max 0", "a/b/pids.peak": "6",
		"a/b/c/pids.current": "5", "a/b/c/pids.max": "max", "a/b/c/pids.events": "max 3",
	}
	for name, c := range map[string]struct {
		change map[string]string
		want   string
	}{
		"by peak":                        {want: "/a"},
		"by usage without a peak":        {change: map[string]string{"a/pids.peak": "-"}, want: "/a/b"},
		"by its own count":               {change: map[string]string{"a/b/pids.events": "max 2", "a/b/pids.events.local": "max 1"}, want: "/a/b"},
		"by its own count, further away": {change: map[string]string{"a/pids.events": "max 2", "a/pids.events.local": "max 1", "a/pids.peak": "6"}, want: "/a"},
		"by the count, not of others":    {change: map[string]string{"a/b/pids.events": "max 2", "a/b/pids.events.local": "max 0"}, want: "/a"},
		"nothing is allowed":             {change: map[string]string{"a/b/c/pids.max": "0"}, want: "/a/b/c"},
		"full now beats refused earlier": {change: map[string]string{"a/pids.max": "5", "a/b/pids.events": "max 2", "a/b/pids.events.local": "max 1"}, want: "/a"},
	} {
		t.Run(name, func(t *testing.T) {
			all := v1Files(nil)
			for k, v := range files {
				all["sys/fs/cgroup/pids/"+k] = v
			}
			for k, v := range c.change {
				all["sys/fs/cgroup/pids/"+k] = v
				if v == "-" {
					delete(all, "sys/fs/cgroup/pids/"+k)
				}
			}
			got, _, err := detect(t, write(t, all)).Limiter("/a/b/c")
			if err != nil || got != c.want {
				t.Errorf("Limiter = %s, %v; want %s", got, err, c.want)
			}
		})
	}
}

// TestNoWayOut: a cgroup's path may come from a log line.
func TestNoWayOut(t *testing.T) {
	all := v1Files(nil)
	all["sys/fs/cgroup/evil/pids.current"], all["sys/fs/cgroup/evil/pids.max"] = "5", "10"
	tree := detect(t, write(t, all))
	for _, path := range []string{"/../evil", "/a/../../evil", "../evil", ""} {
		if p, err := tree.PIDs(path); !errors.Is(err, ErrAbsent) {
			t.Errorf("%q: %+v, %v", path, p, err)
		}
	}
}

func TestMemory(t *testing.T) {
	tree := detect(t, fixtures.Node(t, "memory-pressure-k6.1"))
	pod, _ := podSlice(t, tree, "f86e6a3f")
	m, err := tree.Memory(pod)
	if err != nil || m != (Memory{Current: 33472512, Max: 33554432}) {
		t.Errorf("Memory = %+v, %v", m, err)
	}
	if e, err := tree.MemoryEvents(pod); err != nil || e != (MemoryEvents{Max: 2104}) {
		t.Errorf("MemoryEvents = %+v, %v", e, err)
	}
	if ws, err := tree.WorkingSet(pod); err != nil || ws == 0 || ws >= m.Current {
		t.Errorf("WorkingSet = %d of %d, %v", ws, m.Current, err)
	}
	want := Pressure{
		Some:    Stall{Avg10: 25.24, Avg60: 15.90, Avg300: 4.35, Total: 13866135 * time.Microsecond},
		Full:    Stall{Avg10: 17.08, Avg60: 11.41, Avg300: 3.14, Total: 9980603 * time.Microsecond},
		HasFull: true,
	}
	if p, err := tree.Pressure(pod, "memory"); err != nil || p != want {
		t.Errorf("Pressure = %+v, %v; want %+v", p, err, want)
	}
	if _, err := tree.Memory("/"); !errors.Is(err, ErrAbsent) {
		t.Errorf("Memory(/) = %v, want ErrAbsent", err)
	}
}

// One killed process counts twice where the whole group is killed, and the
// local file tells whose limit it was.
func TestOOMEvents(t *testing.T) {
	for _, state := range []string{"oom-killed-k6.12", "oom-killed-k6.1"} {
		t.Run(state, func(t *testing.T) {
			tree := detect(t, fixtures.Node(t, state))
			pod, _ := podSlice(t, tree, "0cb7fd04")
			if e, err := tree.MemoryEvents(pod); err != nil || e != (MemoryEvents{Max: 18, OOM: 1, OOMKill: 2, OOMGroupKill: 1}) {
				t.Errorf("MemoryEvents = %+v, %v", e, err)
			}
			if e, err := tree.MemoryEventsLocal(pod); err != nil || e != (MemoryEvents{Max: 18, OOM: 1}) {
				t.Errorf("MemoryEventsLocal = %+v, %v", e, err)
			}
			qos := parent(pod)
			if e, err := tree.MemoryEventsLocal(qos); err != nil || e != (MemoryEvents{}) {
				t.Errorf("MemoryEventsLocal(%s) = %+v, %v", qos, e, err)
			}
		})
	}
}

func TestV1Files(t *testing.T) {
	tree := detect(t, write(t, v1Files(map[string]string{
		"sys/fs/cgroup/memory/m/memory.usage_in_bytes":   "1048576\n",
		"sys/fs/cgroup/memory/m/memory.limit_in_bytes":   "9223372036854771712\n",
		"sys/fs/cgroup/memory/m/memory.failcnt":          "7\n",
		"sys/fs/cgroup/memory/m/memory.oom_control":      "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		"sys/fs/cgroup/memory/m/memory.stat":             "inactive_file 1\ntotal_inactive_file 48576\n",
		"sys/fs/cgroup/pids/p/cgroup.procs":              "",
		"sys/fs/cgroup/pids/p/q/cgroup.procs":            "",
		"sys/fs/cgroup/pids/p/q/r/cgroup.procs":          "0\n4\n2\n",
		"sys/fs/cgroup/pids/bad/pids.current":            "many\n",
		"sys/fs/cgroup/pids/empty/sub/cgroup.procs":      "",
		"sys/fs/cgroup/pids/empty/cgroup.procs":          "",
		"proc/5/cgroup":                                  "12:cpu,cpuacct:/c\n3:pids:/p/q/r\n1:name=systemd:/s\n",
		"proc/6/cgroup":                                  "3:pids:/a:b (deleted)\n",
		"sys/fs/cgroup/memory/m/memory.kmem.max_usage":   "",
		"sys/fs/cgroup/pids/kubepods/pod1/pids.current":  "5",
		"sys/fs/cgroup/pids/kubepods/pod1/pids.events":   "max 3\n",
		"sys/fs/cgroup/pids/kubepods/pod1/cgroup.procs":  "x\n",
		"sys/fs/cgroup/pids/kubepods/pod1/unrelated.txt": "",
	})))
	if m, err := tree.Memory("/m"); err != nil || m.Limited() || m.Current != 1<<20 || m.Fraction() != 0 {
		t.Errorf("Memory = %+v, %v", m, err)
	}
	if e, err := tree.MemoryEvents("/m"); err != nil || e != (MemoryEvents{Max: 7, OOMKill: 2}) {
		t.Errorf("MemoryEvents = %+v, %v", e, err)
	}
	if ws, err := tree.WorkingSet("/m"); err != nil || ws != 1000000 {
		t.Errorf("WorkingSet = %d, %v", ws, err)
	}
	if r, err := tree.Refusals("/kubepods/pod1"); err != nil || r != (Refusals{Count: 3}) {
		t.Errorf("Refusals = %+v, %v", r, err)
	}
	for path, want := range map[string]bool{"/": true, "/p": true, "/p/q/r": true, "/empty": false} {
		if got, err := tree.Populated(path); err != nil || got != want {
			t.Errorf("Populated(%s) = %v, %v", path, got, err)
		}
	}
	if pids, err := tree.Procs("/p/q/r"); err != nil || !slices.Equal(pids, []int{4, 2}) {
		t.Errorf("Procs = %d, %v", pids, err)
	}
	for _, err := range []error{
		second(tree.PIDs("/bad")), second(tree.Procs("/kubepods/pod1")),
	} {
		if err == nil || errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "/sys/fs/cgroup/pids/") {
			t.Errorf("a malformed file: %v, want an error that names it", err)
		}
	}
	for _, err := range []error{
		second(tree.Stat("/p")), second(tree.Pressure("/p", "cpu")), second(tree.PIDs("/none")), second(tree.Populated("/none")),
		second(tree.PIDs("/../memory/m")), second(tree.PIDs("p")), second(tree.Place(7)), second(tree.Of(5, "rdma")),
	} {
		if !errors.Is(err, ErrAbsent) {
			t.Errorf("%v, want ErrAbsent", err)
		}
	}
	for pid, want := range map[int]string{5: "/p/q/r", 6: "/a:b"} {
		if got, err := tree.Place(pid); err != nil || got != want {
			t.Errorf("Place(%d) = %q, %v; want %q", pid, got, err, want)
		}
	}
	if got, err := tree.Of(5, "cpuacct"); err != nil || got != "/c" {
		t.Errorf("Of(5, cpuacct) = %q, %v", got, err)
	}
	if got, want := tree.File(ControllerMemory, "/m", "memory.stat"), "/sys/fs/cgroup/memory/m/memory.stat"; got != want {
		t.Errorf("File = %s, want %s", got, want)
	}
}

func second[T any](_ T, err error) error { return err }

func TestStat(t *testing.T) {
	tree := detect(t, fixtures.Node(t, "dying-cgroups-k6.12"))
	s, err := tree.Stat("/system.slice/leaky.service")
	if err != nil || s != (Stat{DyingDescendants: 300}) {
		t.Errorf("Stat = %+v, %v", s, err)
	}
	if s, err := tree.Stat("/"); err != nil || s.DyingDescendants != 325 || s.Descendants == 0 {
		t.Errorf("Stat(/) = %+v, %v", s, err)
	}
	for path, want := range map[string]bool{"/system.slice/leaky.service": false, "/system.slice/kubelet.service": true, "/kubepods.slice": true} {
		if got, err := tree.Populated(path); err != nil || got != want {
			t.Errorf("Populated(%s) = %v, %v", path, got, err)
		}
	}
	if got, err := tree.Place(1); err != nil || got != "/init.scope" {
		t.Errorf("Place(1) = %q, %v", got, err)
	}
}

// On a healthy node every cgroup but the root can be read.
func TestHealthy(t *testing.T) {
	for _, state := range []string{"healthy-k6.12", "healthy-k6.1", "healthy-cgroupfs-k6.1"} {
		tree := detect(t, fixtures.Node(t, state))
		n := 0
		err := tree.Walk(t.Context(), ControllerPIDs, func(path string) error {
			// The other driver's cgroups were left behind there, with their counts.
			leftover := state == "healthy-cgroupfs-k6.1" && strings.HasPrefix(path, "/kubepods.slice")
			if path == "/" || leftover {
				return nil
			}
			n++
			p, err := tree.PIDs(path)
			r, rerr := tree.Refusals(path)
			_, merr := tree.Memory(path)
			e, eerr := tree.MemoryEvents(path)
			_, perr := tree.Pressure(path, "memory")
			if err := errors.Join(err, rerr, merr, eerr, perr); err != nil {
				t.Errorf("%s %s: %v", state, path, err)
			}
			if p.Full() || r != (Refusals{}) || e != (MemoryEvents{}) {
				t.Errorf("%s %s: %+v %+v %+v", state, path, p, r, e)
			}
			return nil
		})
		if err != nil || n < 10 {
			t.Errorf("%s: %d cgroups, %v", state, n, err)
		}
	}
}

func TestParsePressure(t *testing.T) {
	for in, want := range map[string]string{
		"": `no line "some"`,
		"full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n": `no line "some"`,
		"some\n": "not a line of",
		"some avg10=NaN avg60=0.00 avg300=0.00 total=0\n":                     "not a percentage",
		"some avg10=-1 avg60=0.00 avg300=0.00 total=0\n":                      "not a percentage",
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=18446744073709551615\n": "not a time",
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n":                    "",
	} {
		p, err := ParsePressure([]byte(in))
		if want == "" {
			if err != nil || p != (Pressure{Some: Stall{Total: 7 * time.Microsecond}}) {
				t.Errorf("%q: %+v, %v", in, p, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}
