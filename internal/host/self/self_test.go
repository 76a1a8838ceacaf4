package self

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cgroup"
)

// node is a made-up host, on which we are process 42.
func node(t *testing.T, files map[string]string) (*host.Host, *cgroup.Tree) {
	t.Helper()
	root := t.TempDir()
	all := map[string]string{
		"proc/loadavg":                "0.1 0.2 0.3 1/1000 5\n",
		"proc/sys/kernel/threads-max": "100000\n",
		"proc/sys/kernel/pid_max":     "32768\n",
		"proc/42/stat":                "42 (agent) S 1 42 42 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 7 0 100 1 1" + strings.Repeat(" 0", 30) + "\n",
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("42", filepath.Join(root, "proc/self")); err != nil {
		t.Fatal(err)
	}
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	tree, _ := cgroup.Detect(h)
	return h, tree
}

// v2 is a tree of cgroups in which we are in /kubepods/pod/us.
func v2(files map[string]string) map[string]string {
	all := map[string]string{
		"proc/1/mountinfo":                 "33 24 0:28 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n",
		"proc/42/cgroup":                   "0::/kubepods/pod/us\n",
		"sys/fs/cgroup/cgroup.procs":       "",
		"sys/fs/cgroup/cgroup.controllers": "memory pids\n",
	}
	for _, at := range []string{"kubepods", "kubepods/pod", "kubepods/pod/us"} {
		all["sys/fs/cgroup/"+at+"/pids.current"] = "30\n"
		all["sys/fs/cgroup/"+at+"/pids.max"] = "max\n"
		all["sys/fs/cgroup/"+at+"/memory.current"] = "1000\n"
		all["sys/fs/cgroup/"+at+"/memory.max"] = "max\n"
	}
	for name, text := range files {
		all["sys/fs/cgroup/"+name] = text
	}
	return all
}

func TestThreads(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("RLIMIT_NPROC counts, too: not as root")
	}
	for name, c := range map[string]struct {
		files map[string]string
		more  uint64
		limit string
	}{
		"no limit but the node's": {v2(nil), 32768 - 1000, "kernel.pid_max"},
		"no cgroups":              {nil, 32768 - 1000, "kernel.pid_max"},
		"our own":                 {v2(map[string]string{"kubepods/pod/us/pids.max": "40"}), 10, "cgroup /kubepods/pod/us"},
		"the pod's": {v2(map[string]string{
			"kubepods/pod/us/pids.max": "400", "kubepods/pod/pids.max": "35",
		}), 5, "cgroup /kubepods/pod"},
		"over it":          {v2(map[string]string{"kubepods/pids.max": "29"}), 0, "cgroup /kubepods"},
		"the node is full": {map[string]string{"proc/sys/kernel/threads-max": "1000"}, 0, "kernel.threads-max"},
		"garbage":          {map[string]string{"proc/sys/kernel/threads-max": "x", "proc/sys/kernel/pid_max": "", "proc/loadavg": "1"}, math.MaxUint64, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, tree := node(t, c.files)
			r, err := Threads(h, tree)
			if err != nil || r.Have != 7 {
				t.Fatalf("%+v %v", r, err)
			}
			if os.Getuid() == 0 && r.More != c.more || !strings.HasSuffix(r.Limit, c.limit) && os.Getuid() == 0 {
				t.Errorf("room for %d by %q, want %d by %q", r.More, r.Limit, c.more, c.limit)
			}
			if r.Total() < r.More || r.Total() < r.Have {
				t.Errorf("total %d", r.Total())
			}
		})
	}
}

func TestMemoryLimit(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		limit uint64
		of    string
	}{
		"none":       {v2(nil), math.MaxUint64, ""},
		"no cgroups": {nil, math.MaxUint64, ""},
		"our own":    {v2(map[string]string{"kubepods/pod/us/memory.max": "67108864"}), 64 << 20, "/kubepods/pod/us"},
		"the pod's": {v2(map[string]string{
			"kubepods/pod/us/memory.max": "67108864", "kubepods/pod/memory.max": "33554432",
		}), 32 << 20, "/kubepods/pod"},
	} {
		t.Run(name, func(t *testing.T) {
			h, tree := node(t, c.files)
			if limit, of := MemoryLimit(h, tree); limit != c.limit || of != c.of {
				t.Errorf("%d of %q, want %d of %q", limit, of, c.limit, c.of)
			}
		})
	}
}
