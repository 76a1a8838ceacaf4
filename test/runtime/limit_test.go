package runtime

import (
	"context"
	"errors"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// podCgroup makes a pod's cgroup with a memory limit, as kubelet does before it asks
// the runtime for a sandbox in it. It goes with the pods.
func podCgroup(t *testing.T, n *probes.Node, uid, limit string) (at string) {
	t.Helper()
	if n.Cgroups == nil || !n.Cgroups.Has(cgroup.ControllerMemory) {
		t.Skip("SKIPPED: this machine has no memory cgroup controller")
	}
	file := "memory.limit_in_bytes"
	for e := range strings.SplitSeq(strings.TrimPrefix(cgroupParent, "/")+"/kubepods/pod"+uid, "/") {
		if n.Cgroups.Mode() == cgroup.V2 {
			file = "memory.max"
			up := n.Cgroups.File(cgroup.ControllerMemory, at, "cgroup.subtree_control")
			if err := os.WriteFile(up, []byte("+memory"), 0o644); err != nil {
				t.Skipf("SKIPPED: the memory controller cannot be enabled here: %v", err)
			}
		}
		at = path.Join("/", at, e)
		dir := n.Cgroups.File(cgroup.ControllerMemory, at, "")
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			t.Skipf("SKIPPED: cannot make a memory cgroup here: %v", err)
		}
	}
	if err := os.WriteFile(n.Cgroups.File(cgroup.ControllerMemory, at, file), []byte(limit), 0o644); err != nil {
		t.Fatal(err)
	}
	return at
}

// A pod whose limit is "64m" where 64M was meant cannot even be set up.
func TestSandboxLimit(t *testing.T) {
	c, p, n := start(t), probes.NewSandboxLimit(), node(t)
	const small, sound = "5382cf41-0000-4000-8000-000000000001", "5382cf41-0000-4000-8000-000000000002"
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	run := func(uid, limit string) error {
		_, err := c.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: &cri.PodSandboxConfig{
			Metadata: &cri.PodSandboxMetadata{Name: "p", Namespace: "default", Uid: uid}, LogDirectory: "/run/logs",
			Linux: &cri.LinuxPodSandboxConfig{CgroupParent: podCgroup(t, n, uid, limit)},
		}})
		return err
	}
	if err := run(sound, "67108864"); err != nil {
		t.Fatal(err)
	}
	quiet(t, look(t, p, n))
	err := run(small, "524288")
	if err == nil {
		t.Fatal("a sandbox was set up within 512 KiB")
	}
	t.Log(err)
	v := wrong(t, look(t, p, n), problem.SandboxLimitTooSmall)
	says(t, v, "only 512 KiB", "the limit was reached")
	if v.Subject != "pod uid "+small || v.Scope != problem.PodScope || v.Severity != problem.Info || !v.Refused {
		t.Errorf("%+v", v)
	}
}
