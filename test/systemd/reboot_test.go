package systemd

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/nspawn"
)

// TestReboot: the first boot, one after a shutdown, and one after a power cut.
func TestReboot(t *testing.T) {
	m := boot(t, map[string]string{"/var/log/journal/.keep": "", "/etc/systemd/journald.conf": "[Journal]\nStorage=persistent\nSyncIntervalSec=100ms\n"})
	var na *problem.NotApplicableError
	if _, err := rebootProbe().Run(t.Context(), probes.NewNode(hostOf(t, m))); !errors.As(err, &na) {
		t.Errorf("the first boot: %v", err)
	}

	if err := m.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := unclean(t, m); v != nil {
		t.Errorf("after a shutdown: %+v", *v)
	}

	if err := m.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := unclean(t, m)
	if v == nil || v.Severity != problem.Info || !strings.Contains(v.Message, "without having been shut down") {
		t.Errorf("after a power cut: %+v", v)
	}

	if err := m.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := unclean(t, m); v != nil {
		t.Errorf("after a shutdown again: %+v", *v)
	}
}

// rebootProbe takes the machine for one that was started just now, however long
// ours has been running.
func rebootProbe() *probes.Reboot {
	p := probes.NewReboot()
	p.Thresholds.Hold = 1 << 62 * time.Nanosecond
	return p
}

func unclean(t *testing.T, m *nspawn.Machine) *problem.Verdict {
	t.Helper()
	r, err := rebootProbe().Run(t.Context(), probes.NewNode(hostOf(t, m)))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Verdicts) == 0 {
		return nil
	}
	return &r.Verdicts[0]
}
