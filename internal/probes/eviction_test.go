package probes

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

func TestEvaluateEviction(t *testing.T) {
	percent := func(p float64) *kubelet.Threshold { return &kubelet.Threshold{Percent: p} }
	amount := func(q float64) *kubelet.Threshold { return &kubelet.Threshold{Quantity: q} }
	soft := func(p float64) *kubelet.Threshold { return &kubelet.Threshold{Percent: p, Grace: 90 * time.Second} }
	const gi = 1 << 30
	for _, tc := range []struct {
		name    string
		signal  signal
		want    problem.Severity
		refused bool
		says    string
	}{
		{"disk healthy", signal{name: "nodefs.available", capacity: 100 * gi, available: 40 * gi, hard: percent(10)}, 0, false, ""},
		{"disk not yet near", signal{name: "nodefs.available", capacity: 100 * gi, available: 10.6 * gi, hard: percent(10)}, 0, false, ""},
		{
			"disk near",
			signal{name: "nodefs.available", capacity: 100 * gi, available: 10.4 * gi, hard: percent(10)},
			problem.Critical, false, "nodefs.available is at 10 %, where kubelet evicts pods below 10 % (10.0 GiB)",
		},
		{
			"disk below",
			signal{name: "nodefs.available", capacity: 100 * gi, available: 9 * gi, hard: percent(10)},
			problem.Critical, true, "nodefs.available is at 9 %, below kubelet's threshold of 10 % (10.0 GiB): it evicts pods",
		},
		{
			"look-alike: images are removed at the same line",
			signal{name: "imagefs.available", capacity: 100 * gi, available: 15.5 * gi, hard: percent(15)},
			problem.Warning, false, "",
		},
		{"images did not help", signal{name: "imagefs.available", capacity: 100 * gi, available: 14 * gi, hard: percent(15)}, problem.Critical, true, ""},
		{"memory healthy", signal{name: "memory.available", capacity: 16 * gi, available: gi, hard: amount(100 << 20)}, 0, false, ""},
		{"memory near", signal{name: "memory.available", capacity: 16 * gi, available: 150 << 20, hard: amount(100 << 20)}, problem.Warning, false, ""},
		{"memory below", signal{name: "memory.available", capacity: 16 * gi, available: 90 << 20, hard: amount(100 << 20)}, problem.Critical, true, ""},
		{
			"soft threshold",
			signal{name: "nodefs.available", capacity: 100 * gi, available: 12 * gi, hard: percent(10), soft: soft(15)},
			problem.Warning, false, "below kubelet's soft threshold of 15 % (15.0 GiB): it evicts pods if that lasts 1m30s",
		},
		{"soft alone, not met", signal{name: "nodefs.available", capacity: 100 * gi, available: 15.1 * gi, soft: soft(15)}, 0, false, ""},
		{"pids", signal{name: "pid.available", unit: problem.Threads, capacity: 32768, available: 900, hard: amount(1000)}, problem.Critical, true, ""},
		{"look-alike: btrfs has no number of inodes", signal{name: "nodefs.inodesFree", hard: percent(5)}, 0, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.signal.unit == "" {
				tc.signal.unit = problem.Bytes
			}
			r := evaluateEviction([]signal{tc.signal}, NewEviction().Thresholds)
			v := checkSeverity(t, r, problem.EvictionImminent, tc.signal.name, tc.want)
			if v.Refused != tc.refused || !strings.Contains(v.Message, tc.says) {
				t.Errorf("refused %v, %q; want %v, %q", v.Refused, v.Message, tc.refused, tc.says)
			}
			if (len(r.Measurements) == 1) != (tc.signal.capacity != 0) {
				t.Errorf("measured %+v", r.Measurements)
			}
		})
	}
}

func TestEvictionRun(t *testing.T) {
	n := diskNode(t)
	for p, content := range map[string]string{
		"/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\nevictionHard:\n" +
			"  nodefs.available: 10%\n  imagefs.available: 15%\n  memory.available: 1Gi\n  pid.available: 10%\n  nodefs.inodesFree: 5%\n",
		"/proc/meminfo":                      "MemTotal:        8388608 kB\nMemFree:          100000 kB\n",
		"/proc/loadavg":                      "0.1 0.1 0.1 1/3000 77\n",
		"/proc/sys/kernel/pid_max":           "4194304\n",
		"/proc/sys/kernel/threads-max":       "4000\n",
		"/sys/fs/cgroup/cgroup.controllers":  "memory pids\n",
		"/sys/fs/cgroup/cgroup.procs":        "1\n",
		"/sys/fs/cgroup/memory.stat":         "anon 6442450944\nfile 2147483648\nactive_file 1\ninactive_file 1073741824\n",
		"/sys/fs/cgroup/cgroup.subtree_xxxx": "",
	} {
		writeFile(t, n.Host.Root(), p, content)
	}
	raw, err := n.Host.ReadFile("/proc/1/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, n.Host.Root(), "/proc/1/mountinfo", string(raw)+"40 20 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
	n = nodeAt(t, n.Host.Root()) // it has cgroups now
	p := NewEviction()
	p.usage = func(m mounts.Mount) (mounts.Usage, error) {
		switch m.Point {
		case "/var/lib/kubelet":
			return gib(50, 3), nil
		case "/data":
			return gib(9, 50), nil
		}
		t.Errorf("asked %s", m.Point)
		return mounts.Usage{}, nil
	}
	r, err := p.Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]problem.Severity{
		"nodefs.available": 0, "nodefs.inodesFree": problem.Critical, "imagefs.available": problem.Critical,
		"memory.available": problem.Warning, "pid.available": 0,
	} {
		v := checkSeverity(t, r, problem.EvictionImminent, subject, want)
		if subject == "imagefs.available" && !slices.Contains(v.Touches, "mount:/data") {
			t.Errorf("touches %v", v.Touches)
		}
	}
	if len(r.Verdicts) != 3 || len(r.Measurements) != 5 {
		t.Errorf("%+v", r)
	}
	for _, m := range r.Measurements {
		switch m.Subject {
		case "memory.available": // anon + file - inactive_file
			if m.Used != 7<<30 || m.Max != 7<<30 {
				t.Errorf("%+v", m)
			}
		case "pid.available":
			if m.Used != 3000 || m.Max != 3600 {
				t.Errorf("%+v", m)
			}
		}
	}
}

func TestEvictionNotApplicable(t *testing.T) {
	mountinfo := map[string]string{"/proc/1/mountinfo": rootRW}
	none := map[string]string{"/proc/1/mountinfo": rootRW, "/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\nevictionHard:\n  nodefs.available: 0%\n"}
	for _, files := range []map[string]string{mountinfo, none} {
		_, err := NewEviction().Run(t.Context(), tree(t, files))
		if na := new(problem.NotApplicableError); !errors.As(err, &na) {
			t.Errorf("%v", err)
		}
	}
	broken := map[string]string{"/proc/1/mountinfo": rootRW, "/var/lib/kubelet/config.yaml": "kind: [\n"}
	_, err := NewEviction().Run(t.Context(), tree(t, broken))
	if err == nil || !strings.Contains(err.Error(), "/var/lib/kubelet/config.yaml") {
		t.Errorf("a broken config: %v", err)
	}
}

// What cannot be measured is unknown, signal by signal.
func TestEvictionUnknown(t *testing.T) {
	n := tree(t, map[string]string{
		"/proc/1/mountinfo":            rootRW + "30 20 0:50 / /var/lib/kubelet rw - nfs4 srv:/x rw\n",
		"/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n",
	})
	p := NewEviction()
	p.usage = func(m mounts.Mount) (mounts.Usage, error) { return mounts.Usage{}, errors.New("asked " + m.Point) }
	r, err := p.Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range r.Verdicts {
		if v.State != problem.Unknown || v.Message == "" || strings.Contains(v.Message, "asked") {
			t.Errorf("%+v", v)
		}
	}
	if len(r.Verdicts) != 5 || !strings.Contains(r.Verdicts[3].Message, "nfs4 may hang") {
		t.Errorf("%+v", r.Verdicts)
	}
}

func TestRootWorkingSetRecorded(t *testing.T) {
	n := nodeAt(t, fixtures.Node(t, "healthy-k6.12"))
	got, file, err := rootWorkingSet(n)
	if err != nil || got == 0 || file != "/sys/fs/cgroup/memory.stat" {
		t.Errorf("%d from %s, %v", got, file, err)
	}
}

func FuzzParseWorkingSet(f *testing.F) {
	f.Add([]byte("anon 1\nfile 2\ninactive_file 1\n"))
	f.Add([]byte("anon 1\nfile 2\ninactive_file 9\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if n, err := parseWorkingSet(raw); err != nil && n != 0 {
			t.Errorf("%d and %v", n, err)
		}
	})
}

// TestImageStores: where the images are, in the distributions that bring a runtime of
// their own.
func TestImageStores(t *testing.T) {
	for _, tc := range []struct{ name, unit, exec, want string }{
		{"kubelet", "kubelet.service", "/usr/bin/kubelet", "/var/lib/containerd"},
		{"k3s", "k3s.service", "/usr/local/bin/k3s server", "/var/lib/rancher/k3s/agent/containerd"},
		{"k0s", "k0sworker.service", "/usr/local/bin/k0s worker", "/var/lib/k0s/containerd"},
		{"k0s elsewhere", "k0sworker.service", "/usr/local/bin/k0s worker --data-dir=/data/k0s", "/data/k0s/containerd"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := tree(t, map[string]string{
				"/etc/systemd/system/" + tc.unit:   "[Service]\nExecStart=" + tc.exec + "\n",
				"/var/lib/k0s/kubelet-config.yaml": "kind: KubeletConfiguration\n", "/data/k0s/kubelet-config.yaml": "kind: KubeletConfiguration\n",
			})
			s, err := kubelet.Read(n.Host)
			if err != nil || !s.Found {
				t.Fatal(s, err)
			}
			if got := imageStores(s)[0]; got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}
