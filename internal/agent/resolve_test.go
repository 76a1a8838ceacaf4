package agent

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
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
	for p, text := range map[string]string{
		"proc/loadavg":     "0 0 0 1/2 3\n",
		"proc/1/mountinfo": "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 8:17 / /data rw - ext4 /dev/sdb1 rw\n",
	} {
		full := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
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
}
