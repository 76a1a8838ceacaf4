package systemd

import (
	"fmt"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host/systemd"
)

// TestLook: what systemd says of units in each state.
func TestLook(t *testing.T) {
	m := boot(t, map[string]string{"/etc/systemd/system/kubelet.service": sleeper, "/etc/systemd/system/containerd.service": sleeper})
	h := hostOf(t, m)
	names := append(systemd.KubeletUnits(), systemd.RuntimeUnits()...)

	units, err := systemd.Look(t.Context(), h, names...)
	if err != nil || len(units) != 0 {
		t.Fatalf("units that are neither enabled nor started: %+v, %v", units, err)
	}
	in(t, m, "systemctl enable --now kubelet")
	u := look(t, h, "kubelet.service")
	if !u.Running() || !u.Enabled() || u.SubState != "running" || u.Restarts != 0 || u.MainPID == 0 ||
		u.Cgroup == "" || u.Changed.IsZero() || u.End() != "" {
		t.Errorf("running: %+v", u)
	}
	for i := 1; i <= 5; i++ {
		in(t, m, "systemctl kill -s KILL kubelet")
		await(t, fmt.Sprintf("restart %d", i), func() bool { u := look(t, h, "kubelet.service"); return u.Restarts == i && u.Running() })
	}
	in(t, m, "systemctl restart kubelet")
	if u := look(t, h, "kubelet.service"); u.Restarts != 0 || !u.Running() {
		t.Errorf("after a planned restart: %+v", u)
	}
	in(t, m, "systemctl stop kubelet")
	if u := look(t, h, "kubelet.service"); u.Running() || !u.Enabled() || u.ActiveState != "inactive" {
		t.Errorf("stopped: %+v", u)
	}
}
