package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/rules"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

func resolverAt(t *testing.T, root string) *resolver {
	t.Helper()
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	return &resolver{node: probes.NewNode(h)}
}

// TestResolveForkRefused: the kernel names the container that forked, on either
// kernel; the problem is its pod's, whose limit it was, as the probe says.
func TestResolveForkRefused(t *testing.T) {
	const uid = "5382cf4156bade762f2c2c39a8704974"
	for _, state := range []string{"pids-limit-k6.1", "pids-limit-k6.12"} {
		root := fixtures.Node(t, state)
		pod := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid + ".slice"
		scopes, err := filepath.Glob(root + "/sys/fs/cgroup" + pod + "/cri-containerd-*.scope")
		if err != nil || len(scopes) == 0 {
			t.Fatalf("%v %v", scopes, err)
		}
		c := resolverAt(t, root).resolve(problem.Claim{
			Kind: problem.ForkRefused, Touches: []problem.Ref{problem.NewRef(problem.RefCgroup, pod+"/"+filepath.Base(scopes[0]))},
		})
		if c.Subject != "pod uid "+uid || c.Scope != problem.PodScope || !slices.Contains(c.Touches, problem.NewRef(problem.RefCgroup, pod)) {
			t.Errorf("%s: %+v", state, c)
		}
	}
}

func TestResolveOthers(t *testing.T) {
	root := t.TempDir()
	writeTree(t, root, map[string]string{
		"proc/loadavg":     "0 0 0 1/2 3\n",
		"proc/1/mountinfo": "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 8:17 / /data rw - ext4 /dev/sdb1 rw\n",
	})
	r := resolverAt(t, root)
	const pod = "/kubepods/burstable/pod0c1d2e3f-0000-4000-8000-000000000001"
	cgroup := func(path string) problem.Ref { return problem.NewRef(problem.RefCgroup, path) }
	device := problem.NewRef(problem.RefDevice, "sdb1")
	for _, tc := range []struct {
		name    string
		claim   problem.Claim
		subject string
		touches problem.Ref
	}{
		{"an OOM kill is the pod's", problem.Claim{Kind: problem.ContainerOOM, Touches: []problem.Ref{cgroup(pod + "/9f86")}}, "pod uid 0c1d2e3f-0000-4000-8000-000000000001", cgroup(pod + "/9f86")},
		{"a device is known by its mount point", problem.Claim{Kind: problem.ReadonlyFilesystem, Subject: "sdb1", Touches: []problem.Ref{device}}, "/data", problem.NewRef(problem.RefMount, "/data")},
		{"an error of a device stays the device's", problem.Claim{Kind: problem.BlockDeviceError, Subject: "sdb1", Touches: []problem.Ref{device}}, "sdb1", problem.NewRef(problem.RefMount, "/data")},
		{"a device that is not mounted", problem.Claim{Kind: problem.ReadonlyFilesystem, Subject: "sdz", Touches: []problem.Ref{problem.NewRef(problem.RefDevice, "sdz")}}, "sdz", problem.NewRef(problem.RefDevice, "sdz")},
		{"nothing to resolve", problem.Claim{Kind: problem.PLEGUnhealthy}, "", ""},
	} {
		got := r.resolve(tc.claim)
		if got.Subject != tc.subject || tc.touches != "" && !slices.Contains(got.Touches, tc.touches) {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
	// No probe sees what XFS finds, nor a damaged image store.
	for _, touches := range [][]problem.Ref{nil, {device}} {
		if got := r.resolve(problem.Claim{Kind: problem.FilesystemCorruption, Touches: touches}); !got.LogOnly {
			t.Errorf("%+v", got)
		}
	}
}

// writeTree makes files below root; a text that begins with "-> " makes a link.
func writeTree(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for p, text := range files {
		full := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, link := strings.CutPrefix(text, "-> "); link {
			err = os.Symlink(to, full)
		} else {
			err = os.WriteFile(full, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestResolveReadonly: which file systems the mount table tells the truth about.
func TestResolveReadonly(t *testing.T) {
	for _, tc := range []struct {
		kernel, device, point string
		logOnly               bool
	}{
		{"6.1.0-13-amd64", "dm-0", "/data", true},
		{"6.18.0", "dm-0", "/data", true},
		{"5.15.0-91-generic", "sda1", "/", true},
		{"6.14.11", "sda1", "/", true},
		{"6.15.0-rc1", "sda1", "/", false},
		{"7.0", "sda1", "/", false},
		{"", "sda1", "/", true},
		{"5.15.0", "vdb", "/btrfs", false},
		{"5.15.0", "sdz", "sdz", false}, // mounted nowhere: nothing to see
	} {
		root := t.TempDir()
		writeTree(t, root, map[string]string{
			"proc/loadavg":              "0 0 0 1/2 3\n",
			"proc/sys/kernel/osrelease": tc.kernel + "\n",
			"proc/1/mountinfo":          "21 1 8:1 / / rw - ext4 /dev/root rw\n22 21 253:0 / /data rw - xfs /dev/mapper/vg-data rw\n23 21 0:40 / /btrfs rw - btrfs /dev/vdb rw\n",
			"sys/class/block/sda1/dev":  "8:1\n", "sys/class/block/dm-0/dev": "253:0\n", "sys/class/block/vdb/dev": "254:16\n",
		})
		c := resolverAt(t, root).resolve(problem.Claim{
			Kind: problem.ReadonlyFilesystem, Subject: tc.device, Touches: []problem.Ref{problem.NewRef(problem.RefDevice, tc.device)},
		})
		if c.Subject != tc.point || c.LogOnly != tc.logOnly {
			t.Errorf("%s on %s: %+v", tc.device, tc.kernel, c)
		}
	}
}

// TestResolveVolume: what befalls a pod's volume is that pod's trouble, and no reason to
// drain the node, as the probes have it.
func TestResolveVolume(t *testing.T) {
	root := t.TempDir()
	const pod = "/var/lib/kubelet/pods/5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11/volumes/kubernetes.io~csi/pvc-1/mount"
	writeTree(t, root, map[string]string{
		"proc/loadavg": "0 0 0 1/2 3\n",
		"proc/1/mountinfo": "21 1 259:0 / / rw - xfs /dev/nvme0n1 rw\n" +
			"22 21 259:1 / /var/lib/kubelet/plugins/kubernetes.io/csi/ebs.csi.aws.com/9f86/globalmount rw - xfs /dev/nvme1n1 rw\n" +
			"23 21 259:1 / " + pod + " rw - xfs /dev/nvme1n1 rw\n" +
			"24 21 259:2 / /var/lib/containerd rw - xfs /dev/nvme2n1 rw\n" +
			"25 21 259:2 /volumes/x /var/lib/kubelet/pods/5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11/volumes/kubernetes.io~local-volume/x rw - xfs /dev/nvme2n1 rw\n",
	})
	r := resolverAt(t, root)
	for _, kind := range []problem.Kind{problem.ReadonlyFilesystem, problem.FilesystemCorruption, problem.BlockDeviceError} {
		for device, want := range map[string]problem.Scope{"nvme0n1": 0, "nvme1n1": problem.PodScope, "nvme2n1": 0, "nvme9n1": 0} {
			c := r.resolve(problem.Claim{Kind: kind, Subject: device, Touches: []problem.Ref{problem.NewRef(problem.RefDevice, device)}})
			if c.Scope != want {
				t.Errorf("%s on %s: scope %q, want %q", kind, device, c.Scope, want)
			}
		}
	}
	for file, want := range map[string]problem.Scope{pod + "/data/x": problem.PodScope, "/var/lib/containerd/x": 0, "/var/log/x": 0} {
		c := r.resolve(problem.Claim{Kind: problem.NoSpaceLeft, Touches: []problem.Ref{problem.NewRef(problem.RefMount, file)}})
		if c.Scope != want {
			t.Errorf("no space at %s: scope %q, want %q", file, c.Scope, want)
		}
	}
}

// TestResolveDisk: an error of a disk is felt by what lies on it, and by nothing else;
// damage of one file system is no matter of the next one's.
func TestResolveDisk(t *testing.T) {
	root := t.TempDir()
	const volume = "/var/lib/kubelet/pods/5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11/volumes/kubernetes.io~csi/pvc-1/mount"
	writeTree(t, root, map[string]string{
		"proc/loadavg": "0 0 0 1/2 3\n",
		"proc/1/mountinfo": "21 1 253:0 / / rw - xfs /dev/mapper/vg-root rw\n22 21 8:1 / /boot rw - ext4 /dev/sda1 rw\n" +
			"23 21 8:17 / /data rw - ext4 /dev/sdb1 rw\n24 21 259:1 / " + volume + " rw - xfs /dev/nvme1n1 rw\n",
		"sys/class/block/sda/sda1/partition": "1\n", "sys/class/block/sda/sda2/partition": "2\n", "sys/class/block/sda/size": "9\n",
		"sys/class/block/sda2/holders/dm-0/dev": "253:0\n", "sys/class/block/dm-0/dev": "253:0\n",
		"sys/class/block/sdb/sdb1/partition": "1\n",
		"sys/class/nvme/nvme1/nvme1n1/size":  "9\n",
		"sys/class/nvme/nvme1/model":         "x\n",
		"sys/class/block/sdb1":               "-> sdb/sdb1",
	})
	r := resolverAt(t, root)
	for _, tc := range []struct {
		kind            problem.Kind
		device, subject string
		scope           problem.Scope
		touches         string
	}{
		{problem.BlockDeviceError, "sda", "sda", 0, "device:sda device:sda1 mount:/boot device:sda2 device:dm-0 mount:/"},
		{problem.BlockDeviceError, "sda2", "sda2", 0, "device:sda2 device:dm-0 mount:/"},
		{problem.BlockDeviceError, "sdb", "sdb", 0, "device:sdb device:sdb1 mount:/data"},
		{problem.BlockDeviceError, "sdb1", "sdb", 0, "device:sdb1 device:sdb mount:/data"},
		{problem.BlockDeviceError, "nvme1", "nvme1", problem.PodScope, "device:nvme1 device:nvme1n1 mount:" + volume + " pod:5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11"},
		{problem.BlockDeviceError, "sdz", "sdz", 0, "device:sdz"},
		{problem.FilesystemCorruption, "sda1", "sda1", 0, "device:sda1 mount:/boot"},
	} {
		c := r.resolve(problem.Claim{Kind: tc.kind, Subject: tc.device, Touches: []problem.Ref{problem.NewRef(problem.RefDevice, tc.device)}})
		var got []string
		for _, ref := range c.Touches {
			got = append(got, string(ref))
		}
		if strings.Join(got, " ") != tc.touches || c.Scope != tc.scope || c.Subject != tc.subject {
			t.Errorf("%s of %s: %q, touches %s", tc.kind, tc.device, c.Scope, got)
		}
	}
}

// TestResolveNetns: another namespace's full table is its pod's trouble.
func TestResolveNetns(t *testing.T) {
	root := fixtures.Node(t, "healthy-k6.12")
	writeTree(t, root, map[string]string{
		"proc/1/ns/net": "-> net:[4026531840]", "proc/609/ns/net": "-> net:[4026532178]", // a pod's
		"proc/80/ns/net": "-> net:[4026532999]", // a service's of its own
	})
	r := resolverAt(t, root)
	for _, tc := range []struct {
		inode, subject string
		scope          problem.Scope
		logOnly        bool
	}{
		{"4026531840", "", 0, false}, // a node within a container has a numbered one, too
		{"4026532178", "pod uid be5db35861ac2a7b1886bc3f26bc3a2b", problem.PodScope, true},
		{"4026532999", "network namespace 4026532999", problem.PodScope, true},
		{"4026530000", "network namespace 4026530000", problem.PodScope, true}, // gone by now
	} {
		c := r.resolve(problem.Claim{Kind: problem.ConntrackDropping, Touches: []problem.Ref{problem.NewRef(problem.RefNetns, tc.inode)}})
		if c.Subject != tc.subject || c.Scope != tc.scope || c.LogOnly != tc.logOnly {
			t.Errorf("%s: %+v", tc.inode, c)
		}
	}
	if len(r.netns) != 4 {
		t.Errorf("%d namespaces are remembered", len(r.netns))
	}
	// The running kernel's own words for it.
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	real := resolverAt(t, "/")
	if got := real.netnsOf("self"); "net:["+got+"]" != own || !real.namespace(got).node {
		t.Errorf("%s is not the node's %s", got, own)
	}
}

// TestResolveProgram: of a fork that a program says was refused, the limit of its
// unit is told if it is full now; of a user's or the node's limit no probe can tell
// whether it still refuses.
func TestResolveProgram(t *testing.T) {
	root := t.TempDir()
	const cgroups = "sys/fs/cgroup/system.slice/"
	writeTree(t, root, map[string]string{
		"proc/loadavg":                     "0 0 0 1/2 3\n",
		"proc/1/mountinfo":                 "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
		"sys/fs/cgroup/cgroup.controllers": "cpu io memory pids\n", "sys/fs/cgroup/cgroup.procs": "",
		cgroups + "full.service/pids.max": "64\n", cgroups + "full.service/pids.current": "64\n",
		cgroups + "calm.service/pids.max": "64\n", cgroups + "calm.service/pids.current": "9\n",
	})
	r := resolverAt(t, root)
	for _, tc := range []struct {
		unit, subject string
		logOnly       bool
	}{
		{"full.service", "unit full.service", false},
		{"calm.service", "", true},
		{"gone.service", "", true},
	} {
		c := r.resolve(problem.Claim{Kind: problem.ForkRefused, Touches: []problem.Ref{problem.NewRef(problem.RefUnit, tc.unit)}})
		if c.Subject != tc.subject || c.LogOnly != tc.logOnly {
			t.Errorf("%s: %+v", tc.unit, c)
		}
	}
}

// TestResolveTask: a task is tied to whose it is; the kernel's own are nobody's.
func TestResolveTask(t *testing.T) {
	root := t.TempDir()
	writeTree(t, root, map[string]string{
		"proc/loadavg":                     "0 0 0 1/2 3\n",
		"proc/1/mountinfo":                 "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
		"sys/fs/cgroup/cgroup.controllers": "pids\n", "sys/fs/cgroup/cgroup.procs": "",
		"proc/77/cgroup": "0::/kubepods/podaaaa\n", "proc/2/cgroup": "0::/\n",
	})
	r := resolverAt(t, root)
	for pid, want := range map[string][]problem.Ref{
		"77": {"process:java", "pod:aaaa", "cgroup:/kubepods/podaaaa"},
		"2":  {"process:java"}, "999": {"process:java"}, "x": {"process:java"},
	} {
		c := r.resolve(problem.Claim{Kind: problem.TaskHung, Touches: []problem.Ref{"process:java", problem.NewRef(problem.RefPID, pid)}})
		if !slices.Equal(c.Touches, want) {
			t.Errorf("%s: %v, want %v", pid, c.Touches, want)
		}
	}
}

// TestResolveSignal: what kubelet must reclaim is the signal that the probe measures.
func TestResolveSignal(t *testing.T) {
	r := resolverAt(t, fixtures.Node(t, "healthy-k6.12"))
	for resource, want := range map[string]string{
		"memory": "memory.available", "ephemeral-storage": "nodefs.available", "inodes": "nodefs.inodesFree",
		"pids": "pid.available", "imagefs.available": "imagefs.available", "": "",
	} {
		if c := r.resolve(problem.Claim{Kind: problem.EvictionImminent, Subject: resource}); c.Subject != want {
			t.Errorf("%q: %q, want %q", resource, c.Subject, want)
		}
	}
}

// One OOM kill has two lines: who was killed says nothing new after whose limit it was.
func TestOOMIsToldOnce(t *testing.T) {
	s, err := rules.Compile(rules.BuiltinUnits(), rules.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	const (
		limit  = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=9f86,mems_allowed=0,oom_memcg=/kubepods/burstable/pod5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11,task_memcg=/kubepods/burstable/pod5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11/9f86,task=java,pid=4242,uid=0"
		all    = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=9f86,mems_allowed=0,oom_memcg=/kubepods,task_memcg=/kubepods/burstable/pod5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11/9f86,task=java,pid=4242,uid=0"
		before = "Task in /kubepods/burstable/pod5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11/9f86 killed as a result of limit of /kubepods/burstable/pod5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11"
		killed = "Memory cgroup out of memory: Killed process 4242 (java) total-vm:8388608kB, anon-rss:4194304kB, file-rss:0kB"
		kill   = "Memory cgroup out of memory: Kill process 4242 (java) score 1000 or sacrifice child"
	)
	type line struct {
		at   time.Duration
		text string
		told bool
	}
	for name, lines := range map[string][]line{
		"since Linux 5.0":                        {{1, limit, true}, {1, killed, false}},
		"the whole group":                        {{1, limit, true}, {1, killed, false}, {2, killed, false}, {3, killed, false}},
		"before 5.0":                             {{1, before, true}, {1, kill, false}},
		"all pods' limit":                        {{1, all, true}, {1, killed, false}},
		"the first line was not given":           {{1, killed, true}},
		"much later, and it was not given again": {{1, limit, true}, {1, killed, false}, {60, killed, true}},
		"two kills":                              {{1, limit, true}, {1, killed, false}, {2, limit, true}, {2, killed, false}},
	} {
		r := &resolver{}
		for _, ln := range lines {
			claims := s.Match(&journal.Record{Kernel: true, Message: []byte(ln.text)})
			if len(claims) != 1 {
				t.Fatalf("%s: %+v", ln.text, claims)
			}
			if told := !r.repeatsOOM(time.Hour+ln.at*time.Second, claims[0]); told != ln.told {
				t.Errorf("%s: after %d s told %t: %s", name, ln.at, told, ln.text)
			}
		}
	}
}
