package probes

import (
	"errors"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestKubeletMemory(t *testing.T) {
	for _, tc := range []struct {
		name, comm, anonymous, limit string
		want                         problem.Severity
		says                         string
	}{
		{"healthy", "kubelet", "150000 kB", "max", 0, ""},
		{"healthy, with a limit", "kubelet", "150000 kB", "1073741824", 0, ""},
		{"leak", "kubelet", "2200000 kB", "max", problem.Warning, "2.00 GiB"},
		{"near its limit", "kubelet", "900000 kB", "1073741824", problem.Warning, "80 % of the limit of its cgroup /system.slice/kubelet.service"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := tree(t, map[string]string{
				"/proc/1/stat":      statLine(1, 0, "systemd"),
				"/proc/1/mountinfo": "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
				"/proc/7/stat":      statLine(7, 1, tc.comm),
				"/proc/7/status":    "Name:\tkubelet\nUid:\t0\t0\t0\t0\nRssAnon:\t" + tc.anonymous + "\n",
				"/proc/7/cgroup":    "0::/system.slice/kubelet.service\n",

				"/sys/fs/cgroup/cgroup.controllers": "memory pids\n", "/sys/fs/cgroup/cgroup.procs": "",
				"/sys/fs/cgroup/system.slice/kubelet.service/memory.current": "1000\n",
				"/sys/fs/cgroup/system.slice/kubelet.service/memory.max":     tc.limit + "\n",
			})
			r, err := NewKubeletMemory().Run(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			v := checkSeverity(t, r, problem.KubeletMemoryHigh, "", tc.want)
			if !strings.Contains(v.Message, tc.says) || len(r.Measurements) != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
	for _, comm := range []string{"k3s-server", "java"} {
		var na *problem.NotApplicableError
		n := tree(t, map[string]string{"/proc/1/stat": statLine(1, 0, "init"), "/proc/7/stat": statLine(7, 1, comm)})
		if _, err := NewKubeletMemory().Run(t.Context(), n); !errors.As(err, &na) {
			t.Errorf("%s: %v", comm, err)
		}
	}
}

func TestAllocatable(t *testing.T) {
	for _, tc := range []struct {
		name, settings, group, limit string
		want                         problem.Severity
		na                           bool
	}{
		{"healthy", "", "kubepods.slice", "25000000000", 0, false},
		{"cgroupfs", "", "kubepods", "25000000000", 0, false},
		{"no limit", "", "kubepods.slice", "max", problem.Warning, false},
		{"no limit, cgroupfs", "", "kubepods", "max", problem.Warning, false},
		{"below a root", "cgroupRoot: /a/b-c\n", "a.slice/a-b_c.slice/a-b_c-kubepods.slice", "max", problem.Warning, false},
		{"not enforced", "enforceNodeAllocatable: [none]\n", "kubepods.slice", "max", 0, true},
		{"no cgroups", "cgroupsPerQOS: false\nenforceNodeAllocatable: []\n", "kubepods.slice", "max", 0, true},
		{"not yet there", "", "system.slice", "max", 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := tree(t, map[string]string{
				"/proc/1/mountinfo":            "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
				"/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n" + tc.settings,

				"/sys/fs/cgroup/cgroup.controllers": "memory pids\n", "/sys/fs/cgroup/cgroup.procs": "",
				"/sys/fs/cgroup/" + tc.group + "/memory.current": "1000\n",
				"/sys/fs/cgroup/" + tc.group + "/memory.max":     tc.limit + "\n",
			})
			r, err := NewAllocatable().Run(t.Context(), n)
			var na *problem.NotApplicableError
			if errors.As(err, &na) != tc.na || err != nil && !tc.na {
				t.Fatalf("%v", err)
			}
			checkSeverity(t, r, problem.NodeAllocatableFailure, "", tc.want)
		})
	}
}

func TestTools(t *testing.T) {
	n := tree(t, map[string]string{"/usr/sbin/conntrack": "", "/sbin/mount.nfs": "", "/usr/bin/nsenter": "", "/opt/bin/socat": ""})
	var missing []tool
	for _, x := range tools() {
		found, err := findTool(n, x.name)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			missing = append(missing, x)
		}
	}
	v := checkSeverity(t, evaluateTools(missing), problem.ToolMissing, "", problem.Info)
	if !strings.HasSuffix(v.Message, ": iscsiadm") || len(v.Evidence) != 1 {
		t.Errorf("%+v", v)
	}
	checkSeverity(t, evaluateTools(nil), problem.ToolMissing, "", 0)
	var na *problem.NotApplicableError
	if _, err := NewTools().Run(t.Context(), n); !errors.As(err, &na) {
		t.Errorf("no kubelet: %v", err)
	}
}
