// Package systemd asks the host's systemd for the state of units, over D-Bus
// (org.freedesktop.systemd1(5)). It only reads.
//
// This file: units and the question. conn.go connects, names.go knows the units
// of kubelet and the runtimes.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/nodevitals/nodevitals/internal/host"
)

// ErrAbsent says that the host was not started by systemd.
var ErrAbsent = errors.New("the host does not run systemd")

// RestartsUnknown is the number of restarts before systemd 235, which did not count.
const RestartsUnknown = -1

// Unit is what systemd says of a service.
type Unit struct {
	Name string
	// LoadState is loaded, masked, or what is wrong with its file: bad-setting, error.
	LoadState string
	// ActiveState is active, reloading, inactive, failed, activating or deactivating;
	// SubState is finer: running, exited, dead, auto-restart …
	ActiveState, SubState string
	// Restarts counts those that systemd made because of Restart=, since a person or
	// a package last started it; RestartsUnknown where it is not counted. A planned
	// restart sets it to 0.
	Restarts int

	// Of a unit that runs and was not restarted, the rest is not asked for: there is
	// nothing to explain.

	// FileState is enabled, disabled, static, masked, generated …; empty for one
	// that has no file (systemd-run).
	FileState string
	// Changed is when SubState last changed, by the host's wall clock.
	Changed time.Time
	// Result is how the last run ended: success, exit-code, signal, core-dump,
	// watchdog, timeout, oom-kill, start-limit-hit, protocol, resources.
	Result string
	// ExitCode is the exit code of the last main process that ended, or its signal
	// where Signalled.
	ExitCode  int
	Signalled bool
	// MainPID is its main process; 0 if none runs.
	MainPID int
	// Cgroup is its control group, as an absolute path in systemd's hierarchy; empty
	// if it has none now.
	Cgroup string
}

// Running reports whether the unit does what it is there for: it is active, or
// reads its settings anew.
func (u Unit) Running() bool { return u.ActiveState == "active" || u.ActiveState == "reloading" }

// Enabled reports whether the unit is meant to run after each start of the host.
func (u Unit) Enabled() bool { return u.FileState == "enabled" || u.FileState == "enabled-runtime" }

// End says how the last main process ended: "exit code 1", "signal 9"; empty if
// none has failed.
func (u Unit) End() string {
	switch {
	case u.Signalled:
		return fmt.Sprintf("signal %d", u.ExitCode)
	case u.ExitCode != 0:
		return fmt.Sprintf("exit code %d", u.ExitCode)
	}
	return ""
}

// Look asks for the services with these names; a name may be a pattern as of
// fnmatch(3). Those that systemd does not have in memory are left out: they
// neither run, nor failed, nor are started with the host. The error is ErrAbsent
// on a host without systemd; all others mean that systemd did not tell.
//
// It connects anew each time: to a connection that is kept, systemd sends a
// signal for each change of any unit (all of a pod's scopes and mounts), which
// somebody would have to read.
func Look(ctx context.Context, h *host.Host, names ...string) ([]Unit, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	c, err := connect(ctx, h)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	listed, err := c.ListUnitsByPatternsContext(ctx, nil, names)
	if err != nil {
		return nil, fmt.Errorf("systemd: list of units: %w", err)
	}
	var units []Unit
	for _, l := range listed {
		if l.LoadState == "not-found" { // another unit only mentions it
			continue
		}
		u := Unit{Name: l.Name, LoadState: l.LoadState, ActiveState: l.ActiveState, SubState: l.SubState}
		err := u.readRestarts(ctx, c)
		if err == nil && (u.Restarts != 0 || !u.Running()) {
			err = u.read(ctx, c)
		}
		if err != nil {
			return nil, fmt.Errorf("systemd: %s: %w", l.Name, err)
		}
		units = append(units, u)
	}
	return units, nil
}

func (u *Unit) readRestarts(ctx context.Context, c *dbus.Conn) error {
	v, err := c.GetServicePropertyContext(ctx, u.Name, "NRestarts")
	if e := (godbus.Error{}); errors.As(err, &e) && e.Name == "org.freedesktop.DBus.Error.UnknownProperty" {
		u.Restarts = RestartsUnknown
		return nil
	}
	var n uint32
	if err == nil {
		err = v.Value.Store(&n)
	}
	u.Restarts = int(n)
	return err
}

// read asks for the rest, property by property: all at once would be some 250 of
// them, for some of which systemd reads files.
func (u *Unit) read(ctx context.Context, c *dbus.Conn) error {
	var (
		changed      uint64 // µs since 1970
		mainPID      uint32
		status, code int32
	)
	for _, p := range []struct {
		get  func(context.Context, string, string) (*dbus.Property, error)
		name string
		into any
	}{
		{c.GetUnitPropertyContext, "UnitFileState", &u.FileState},
		{c.GetUnitPropertyContext, "StateChangeTimestamp", &changed},
		{c.GetServicePropertyContext, "Result", &u.Result},
		{c.GetServicePropertyContext, "ExecMainStatus", &status},
		{c.GetServicePropertyContext, "ExecMainCode", &code},
		{c.GetServicePropertyContext, "MainPID", &mainPID},
		{c.GetServicePropertyContext, "ControlGroup", &u.Cgroup},
	} {
		v, err := p.get(ctx, u.Name, p.name)
		if err == nil {
			err = v.Value.Store(p.into)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if changed > 0 {
		u.Changed = time.UnixMicro(int64(changed))
	}
	const exited = 1 // CLD_EXITED, see waitid(2); 0 while none has ended
	u.ExitCode, u.Signalled, u.MainPID = int(status), code > exited, int(mainPID)
	return nil
}
