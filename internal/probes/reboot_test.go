package probes

import (
	"errors"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestEvaluateReboot(t *testing.T) {
	for _, tc := range []struct {
		name   string
		before *bootBefore
		dumps  []string
		want   problem.Severity
	}{
		{"shut down", &bootBefore{clean: true}, nil, 0},
		{"not shut down", &bootBefore{}, nil, problem.Info},
		{"crashed", &bootBefore{}, []string{"dmesg-efi-2", "dmesg-efi-1"}, problem.Info},
		{"only a dump", nil, []string{"dmesg-ramoops-0"}, problem.Info},
	} {
		v := checkSeverity(t, evaluateReboot(tc.before, tc.dumps), problem.UncleanReboot, "", tc.want)
		if tc.want != 0 && (v.Message == "" || len(v.Evidence) == 0) {
			t.Errorf("%s: %+v", tc.name, v)
		}
	}
}

func TestShutdownLines(t *testing.T) {
	p := NewReboot()
	for line, want := range map[string]bool{
		"Shutting down.": true,
		"Reached target shutdown.target - System Shutdown.":     true,
		"Reached target Shutdown.":                              true,
		"Reached target reboot.target - System Reboot.":         true,
		"Reached target Power-Off.":                             true,
		"System is rebooting.":                                  true,
		"The system will power off now!":                        true,
		"Stopped target Multi-User System.":                     true,
		"Stopped target multi-user.target - Multi-User System.": true,
		"Reached target multi-user.target - Multi-User System.": false,
		"Reached target Basic System.":                          false,
		"Starting kubelet.service...":                           false,
		"Stopped target sleep.target":                           false,
	} {
		if got := p.clean.MatchString(line); got != want {
			t.Errorf("%q: %t", line, got)
		}
	}
}

func TestRebootNotApplicable(t *testing.T) {
	files := map[string]string{"/proc/sys/kernel/random/boot_id": "5c3b0b7c-56a1-4a9c-9a07-000000000001\n"}
	var na *problem.NotApplicableError
	n := tree(t, files)
	clock := &testClock{boot: time.Hour}
	n.Host.Clock = clock
	if _, err := NewReboot().Run(t.Context(), n); !errors.As(err, &na) {
		t.Errorf("no journal: %v", err)
	}
	writeFile(t, n.Host.Root(), "/sys/fs/pstore/dmesg-efi-1", "")
	p := NewReboot()
	r, err := p.Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	checkSeverity(t, r, problem.UncleanReboot, "", problem.Info)
	clock.boot = 25 * time.Hour
	if r, err = p.Run(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	checkSeverity(t, r, problem.UncleanReboot, "", 0)
	removeAll(t, n.Host.Root(), "/sys/fs/pstore")

	clock.boot = time.Hour
	writeFile(t, n.Host.Root(), "/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	writeFile(t, n.Host.Root(), "/var/log/journal/0123456789abcdef0123456789abcdef/system.journal", "garbage")
	if _, err := NewReboot().Run(t.Context(), n); err == nil || errors.As(err, &na) {
		t.Errorf("a damaged journal: %v", err)
	}

	// A link in the host's root is the host's, also where that is mounted elsewhere.
	linked := tree(t, files)
	linked.Host.Clock = clock
	writeFile(t, linked.Host.Root(), "/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	writeFile(t, linked.Host.Root(), "/data/log/journal/0123456789abcdef0123456789abcdef/system.journal", "garbage")
	symlink(t, linked, "/data/log", "/var/log")
	if _, err := NewReboot().Run(t.Context(), linked); err == nil || errors.As(err, &na) {
		t.Errorf("a damaged journal behind a link: %v", err)
	}
}
