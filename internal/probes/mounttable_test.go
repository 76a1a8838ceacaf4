package probes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestEvaluateMountTable(t *testing.T) {
	th := NewMountTable().Thresholds
	for _, tc := range []struct {
		name        string
		count, most uint64
		want        problem.Severity
		refused     bool
	}{
		{"healthy", 60, 100_000, 0, false},
		{"look-alike: a large node with 250 pods", 2600, 100_000, 0, false},
		{"just below", 9999, 100_000, 0, false},
		{"warning", 10_000, 100_000, problem.Warning, false},
		{"critical", 90_000, 100_000, problem.Critical, false},
		{"full", 100_000, 100_000, problem.Critical, true},
		{"a low limit", 95, 100, problem.Critical, false},
		{"no limit", 200_000, 0, problem.Warning, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := evaluateMountTable("f", tc.count, tc.most, th)
			v := checkSeverity(t, r, problem.MountTableLarge, "", tc.want)
			if v.Refused != tc.refused {
				t.Errorf("refused: %v", v.Refused)
			}
			if m := r.Measurements[0]; m.Used != float64(tc.count) || m.Max != float64(tc.most) {
				t.Errorf("measured %+v", m)
			}
		})
	}
}

func TestMountTableRun(t *testing.T) {
	var b strings.Builder
	b.WriteString("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:5 / /proc rw - proc proc rw\n")
	for i := range 50 {
		fmt.Fprintf(&b, "%d 20 0:%d / /var/lib/kubelet/pods/%d/volumes/kubernetes.io~secret/x rw - tmpfs tmpfs rw\n", 100+i, 100+i, i)
	}
	n := tree(t, map[string]string{"/proc/1/mountinfo": b.String(), "/proc/sys/fs/mount-max": "56\n"})
	r, err := NewMountTable().Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	v := checkSeverity(t, r, problem.MountTableLarge, "", problem.Critical)
	if len(v.Holders) != 1 || v.Holders[0].Owner != "mounts at /var/lib/kubelet/pods" || v.Holders[0].Amount != 50 {
		t.Errorf("held by %+v", v.Holders)
	}
	if want := "the host has 52 mounts, where fs.mount-max is 56"; v.Message != want {
		t.Errorf("%q, want %q", v.Message, want)
	}
}

func TestMountTableUnreadable(t *testing.T) {
	if r, err := NewMountTable().Run(t.Context(), tree(t, nil)); err == nil || !strings.Contains(err.Error(), "/proc/1/mountinfo") {
		t.Errorf("%+v, %v", r, err)
	}
	n := tree(t, map[string]string{"/proc/1/mountinfo": "x\n", "/proc/sys/fs/mount-max": "many\n"})
	if r, err := NewMountTable().Run(t.Context(), n); err == nil || !strings.Contains(err.Error(), "mount-max") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestMountTableHealthyHere(t *testing.T) {
	r, err := NewMountTable().Run(t.Context(), nodeAt(t, "/"))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Verdicts) != 0 || r.Measurements[0].Used == 0 {
		t.Errorf("%+v", r)
	}
}
