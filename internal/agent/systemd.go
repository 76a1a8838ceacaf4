package agent

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notes tells systemd how the agent is, where it was started by it (sd_notify(3)).
// They are sent by a goroutine of its own: if systemd does not read them, that is
// no reason for anything here to wait.
type notes struct {
	log *slog.Logger
	out chan string // nil without systemd
}

func newNotes(ctx context.Context, log *slog.Logger) *notes {
	n := &notes{log: log}
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return n
	}
	n.out = make(chan string, 4)
	go func() {
		for {
			select {
			case state := <-n.out:
				n.send(state)
			case <-ctx.Done():
				return
			}
		}
	}()
	return n
}

// say sends a note soon, or drops it if the ones before it still wait.
func (n *notes) say(state string) {
	select {
	case n.out <- state:
	default:
	}
}

// last sends a note, and waits for that until ctx ends.
func (n *notes) last(ctx context.Context, state string) {
	if n.out == nil {
		return
	}
	sent := make(chan struct{})
	go func() { n.send(state); close(sent) }()
	select {
	case <-sent:
	case <-ctx.Done():
	}
}

func (n *notes) send(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warn("sd_notify", "state", state, "error", err)
	}
}

// feedWatchdog tells systemd's watchdog that the loop turns, for as long as it does.
func (l *loop) feedWatchdog(ctx context.Context) {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil || d == 0 {
		return
	}
	// Half the time that it waits, as sd_watchdog_enabled(3) advises.
	ticker := time.NewTicker(d / 2)
	defer ticker.Stop()
	for {
		l.feed()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// feed tells the watchdog that the loop turns, if it does. A hung mount, disk or
// probe is no reason to be restarted: that cures none of them.
func (l *loop) feed() {
	if l.stoodStill() <= deadAfter {
		l.notes.say(daemon.SdNotifyWatchdog)
	}
}
