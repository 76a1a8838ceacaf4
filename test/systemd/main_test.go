// Package systemd boots a real systemd and makes units fail in it, and checks
// what the agent says of kubelet and the runtime there.
package systemd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/systemd"
	"github.com/nodevitals/nodevitals/test/nspawn"
)

// sleeper is a unit that does nothing and that is started with the machine.
const sleeper = `[Unit]
Description=%N of a test
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sleep infinity
Restart=on-failure
RestartSec=50ms
[Install]
WantedBy=basic.target
`

// boot boots a machine that has these files, too.
func boot(t *testing.T, files map[string]string, bind ...string) *nspawn.Machine {
	t.Helper()
	m, err := nspawn.Boot(t.Context(), files, bind...)
	if errors.Is(err, nspawn.ErrUnavailable) {
		t.Skip("SKIPPED: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// in runs a program in the machine.
func in(t *testing.T, m *nspawn.Machine, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := m.Run(ctx, strings.Fields(command)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func hostOf(t *testing.T, m *nspawn.Machine) *host.Host {
	t.Helper()
	h, err := host.New(m.Root())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// look is the one unit of that name.
func look(t *testing.T, h *host.Host, name string) systemd.Unit {
	t.Helper()
	units, err := systemd.Look(t.Context(), h, name)
	if err != nil {
		t.Fatal(err)
	}
	if len(units) != 1 {
		t.Fatalf("%s: units %+v", name, units)
	}
	return units[0]
}

// await polls until ok or the time is up.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
