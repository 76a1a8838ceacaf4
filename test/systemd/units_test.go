package systemd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host/systemd"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/nspawn"
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
	if !u.Running() || u.SubState != "running" || u.Restarts != 0 {
		t.Errorf("running: %+v", u)
	}
	for i := 1; i <= 5; i++ {
		in(t, m, "systemctl kill --kill-who=main -s KILL kubelet")
		await(t, fmt.Sprintf("restart %d", i), func() bool { u := look(t, h, "kubelet.service"); return u.Restarts == i && u.Running() })
	}
	if u := look(t, h, "kubelet.service"); !u.Enabled() || u.MainPID == 0 || u.Cgroup == "" || u.Changed.IsZero() || u.End() != "" {
		t.Errorf("restarted: %+v", u)
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

// unitsProbe looks at a machine through the probe.
type unitsProbe struct {
	t *testing.T
	p *probes.Units
	n *probes.Node
}

func newUnitsProbe(t *testing.T, m *nspawn.Machine) unitsProbe {
	return unitsProbe{t, probes.NewUnits(), probes.NewNode(hostOf(t, m))}
}

// verdict is what the probe says is wrong of kind; nil if nothing.
func (u unitsProbe) verdict(kind problem.Kind) *problem.Verdict {
	u.t.Helper()
	r, err := u.p.Run(u.t.Context(), u.n)
	if err != nil {
		u.t.Fatal(err)
	}
	for i, v := range r.Verdicts {
		if v.Kind == kind && v.State == problem.Wrong {
			return &r.Verdicts[i]
		}
	}
	return nil
}

// silent fails the test if the probe finds anything wrong.
func (u unitsProbe) silent(when string) {
	u.t.Helper()
	for _, k := range u.p.Kinds() {
		if v := u.verdict(k); v != nil {
			u.t.Fatalf("%s: %+v", when, *v)
		}
	}
}

// TestRestarts: what systemd restarts five times is told, what a person restarts is not.
func TestRestarts(t *testing.T) {
	m := boot(t, map[string]string{"/etc/systemd/system/kubelet.service": sleeper, "/etc/systemd/system/containerd.service": sleeper})
	in(t, m, "systemctl enable --now kubelet containerd")
	u := newUnitsProbe(t, m)
	u.silent("healthy")
	for range 5 {
		in(t, m, "systemctl restart kubelet containerd")
		u.silent("planned restarts")
	}
	for unit, kind := range map[string]problem.Kind{
		"kubelet.service": problem.FrequentKubeletRestart, "containerd.service": problem.FrequentRuntimeRestart,
	} {
		for i := 1; i <= 5; i++ {
			if v := u.verdict(kind); v != nil {
				t.Fatalf("after %d restarts: %+v", i-1, *v)
			}
			in(t, m, "systemctl kill --kill-who=main -s KILL "+unit)
			await(t, fmt.Sprintf("restart %d of %s", i, unit), func() bool { l := look(t, u.n.Host, unit); return l.Restarts == i && l.Running() })
		}
		v := u.verdict(kind)
		if v == nil || v.Severity != problem.Critical || !strings.Contains(v.Message, unit+" 5 times in 20 min") ||
			!strings.Contains(v.Evidence[0], "NRestarts=5") || !slices.Contains(v.Touches, problem.NewRef(problem.RefUnit, unit)) {
			t.Errorf("%s: %+v", unit, v)
		}
	}
}

// TestKubeletDown: stopped, failed, crashing at once, and how each is told.
func TestKubeletDown(t *testing.T) {
	m := boot(t, map[string]string{
		"/etc/systemd/system/kubelet.service": sleeper,
		"/crash/crash.conf":                   "[Service]\nExecStart=\nExecStart=/bin/sh -c 'exit 3'\nRestartSec=1h\n",
		"/giveup/more.conf":                   "[Service]\nRestart=no\n",
	})
	u := newUnitsProbe(t, m)
	u.silent("no kubelet")
	in(t, m, "systemctl enable --now kubelet")
	u.silent("healthy")

	in(t, m, "systemctl stop kubelet")
	down(t, u, "kubelet.service is stopped, although it is enabled")
	in(t, m, "systemctl start kubelet")
	u.silent("started again")

	in(t, m, "systemctl disable kubelet")
	u.silent("disabled, and running")
	in(t, m, "systemctl stop kubelet")
	down(t, u, "kubelet.service is stopped; it ran before")

	in(t, m, "systemctl start kubelet")
	u.silent("started")

	// The next start fails, and then each.
	in(t, m, "cp -r /crash /etc/systemd/system/kubelet.service.d")
	in(t, m, "systemctl daemon-reload")
	in(t, m, "systemctl restart kubelet")
	await(t, "the unit waits for its next start", func() bool { return look(t, u.n.Host, "kubelet.service").SubState == "auto-restart" })
	down(t, u, "kubelet.service (exit code 3) has ended and waits for systemd to start it again")

	in(t, m, "cp -r /giveup/. /etc/systemd/system/kubelet.service.d")
	in(t, m, "systemctl daemon-reload")
	in(t, m, "systemctl restart --no-block kubelet")
	await(t, "systemd gives up", func() bool { return look(t, u.n.Host, "kubelet.service").ActiveState == "failed" })
	down(t, u, "has failed")
}

func down(t *testing.T, u unitsProbe, says string) {
	t.Helper()
	v := u.verdict(problem.KubeletDown)
	if v == nil || v.Severity != problem.Critical || !strings.Contains(v.Message, says) {
		t.Errorf("want %q, got %+v", says, v)
	}
}
