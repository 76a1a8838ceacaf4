package agent

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// TestWatchdogIsForTheLoop: it is fed while the loop turns, and not when it stands
// still.
func TestWatchdogIsForTheLoop(t *testing.T) {
	l := &loop{agent: newAgent(t, nil), notes: &notes{out: make(chan string, 4)}}
	l.beat.Store(int64(l.agent.node.Host.Clock.Boot() - 2*deadAfter))
	l.feed()
	if len(l.notes.out) != 0 {
		t.Error("the watchdog of a dead loop was fed")
	}
	l.beat.Store(int64(l.agent.node.Host.Clock.Boot()))
	l.feed()
	if len(l.notes.out) != 1 {
		t.Error("the watchdog of a loop that turns was not fed")
	}
}

// TestSystemdThatDoesNotRead: the agent lives on, and ends, if systemd takes none
// of its notes.
func TestSystemdThatDoesNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	// As much as the socket takes, so that nothing more goes in.
	full, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	for {
		_ = full.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := full.Write([]byte("x")); err != nil {
			break
		}
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "20000")
	a := newAgent(t, nil, spec("good", problem.ClockJumped, fine))
	d := startDaemon(t, a)
	d.await("/readyz", func(code int, _ string) bool { return code == 200 })
	runs := func() string { _, body := d.get("/metrics"); return body }
	before := runs()
	d.await("/metrics", func(code int, body string) bool { return code == 200 && body != before })
	if code, _ := d.get("/healthz"); code != 200 {
		t.Errorf("/healthz: %d", code)
	}
	d.stop()
}
