package journal

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/journal/journalfile"
)

const journaldPath = "/lib/systemd/systemd-journald"

// journaldScript makes a mount namespace with a /run, /dev and /var/log of its
// own and becomes journald in it. It does not read the kernel's log.
const journaldScript = `set -e
mount --make-rprivate /
mkdir -p "$T/dev"
mount -t tmpfs tmpfs "$T/dev"
for n in null zero random urandom full tty; do
	mknod "$T/dev/$n" c $((16#$(stat -c %t /dev/$n))) $((16#$(stat -c %T /dev/$n)))
	chmod 666 "$T/dev/$n"
done
mount --bind "$T/dev" /dev
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log
mount -t tmpfs tmpfs /var/log
mkdir /var/log/journal
printf '[Journal]\nStorage=%s\nRateLimitBurst=0\nRateLimitIntervalSec=0\nRuntimeMaxUse=200M\nRuntimeMaxFileSize=16M\nReadKMsg=no\n' "$STORAGE" >"$T/journald.conf"
mount --bind "$T/journald.conf" /etc/systemd/journald.conf
exec ` + journaldPath

// journald is a journald of our own.
type journald struct {
	t    *testing.T
	cmd  *exec.Cmd
	root string // its file system, seen from here
	conn net.Conn
}

func startJournald(t *testing.T, storage string) *journald {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: not root: a journald needs mounts of its own")
	}
	need(t, journaldPath, "unshare", "bash")
	cmd := exec.Command("unshare", "-m", "bash", "-c", journaldScript)
	cmd.Env = append(os.Environ(), "T="+t.TempDir(), "STORAGE="+storage)
	log := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	j := &journald{t: t, cmd: cmd, root: fmt.Sprintf("/proc/%d/root", cmd.Process.Pid)}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("journald: %s", log.String())
		}
	})
	socket := filepath.Join(j.root, "run/systemd/journal/socket")
	j.await("journald's socket", func() bool {
		select {
		case <-ended:
			t.Skipf("SKIPPED: no journald in a mount namespace here: %s", log.String())
		default:
		}
		conn, err := net.Dial("unixgram", socket)
		j.conn = conn
		return err == nil
	})
	t.Cleanup(func() { _ = j.conn.Close() })
	return j
}

// await polls until ok, which must become true before long.
func (j *journald) await(what string, ok func() bool) {
	j.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			j.t.Fatalf("waited a minute for %s", what)
		}
	}
}

// send writes one message in journald's own protocol.
func (j *journald) send(message string) {
	j.t.Helper()
	if _, err := fmt.Fprintf(j.conn, "SYSLOG_IDENTIFIER=nodevitals-test\nMESSAGE=%s\n", message); err != nil {
		j.t.Fatal(err)
	}
}

func (j *journald) signal(s syscall.Signal) {
	j.t.Helper()
	if err := j.cmd.Process.Signal(s); err != nil {
		j.t.Fatal(err)
	}
}

func (j *journald) dirs() []string {
	return []string{filepath.Join(j.root, "var/log/journal"), filepath.Join(j.root, "run/log/journal")}
}

// files counts the files of both folders whose names match.
func (j *journald) files(pattern string) int {
	n := 0
	for _, d := range j.dirs() {
		m, err := filepath.Glob(filepath.Join(d, "*", pattern))
		if err != nil {
			j.t.Fatal(err)
		}
		n += len(m)
	}
	return n
}

// collector keeps the messages of the test.
type collector struct{ got []string }

func (c *collector) visit(r *journal.Record) error {
	if r.Identifier == "nodevitals-test" {
		c.got = append(c.got, string(r.Message))
	}
	return nil
}

// TestLiveJournald: 500 messages through a real journald come once each and in
// order, over two rotations, to a reader that follows and to one that is started
// anew for each look. In the second case journald moves its journal from memory
// to the disk meanwhile, which copies what was read already.
func TestLiveJournald(t *testing.T) {
	for _, storage := range []string{"volatile", "auto"} {
		t.Run(storage, func(t *testing.T) {
			j := startJournald(t, storage)
			r := journalfile.NewReader(j.dirs(), journalfile.Options{})
			defer r.Close()
			var follower, restarted collector
			state := []byte("{}")
			poll := func() {
				if _, err := r.Next(follower.visit); err != nil {
					t.Fatal(err)
				}
				var c journalfile.Cursor
				if err := json.Unmarshal(state, &c); err != nil {
					t.Fatal(err)
				}
				anew := journalfile.NewReader(j.dirs(), journalfile.Options{})
				defer anew.Close()
				anew.SeekCursor(c)
				if _, err := anew.Next(restarted.visit); err != nil {
					t.Fatal(err)
				}
				var err error
				if state, err = json.Marshal(anew.Cursor()); err != nil {
					t.Fatal(err)
				}
			}
			var want []string
			say := func(n int) {
				for range n {
					m := fmt.Sprintf("message %d %s", len(want), strings.Repeat("x", len(want)%50*20))
					want = append(want, m)
					j.send(m)
					if len(want)%7 == 0 {
						poll()
					}
				}
			}
			say(150)
			if storage == "auto" {
				j.signal(syscall.SIGUSR1) // flush
				j.await("the journal on disk", func() bool {
					poll()
					persistent, err := filepath.Glob(filepath.Join(j.dirs()[0], "*", "system.journal"))
					return err == nil && len(persistent) == 1
				})
			}
			archived := j.files("system@*.journal")
			for range 2 {
				say(125)
				j.signal(syscall.SIGUSR2) // rotate
				archived++
				say(25)
				j.await("the rotation", func() bool { poll(); return j.files("system@*.journal") >= archived })
			}
			say(50)
			j.await("the last message", func() bool {
				poll()
				return len(follower.got) >= len(want) && len(restarted.got) >= len(want)
			})
			poll()
			for name, c := range map[string]*collector{"follower": &follower, "restarted": &restarted} {
				if !slices.Equal(c.got, want) {
					t.Errorf("%s: %d messages, want %d once each and in order: %.400q", name, len(c.got), len(want), c.got)
				}
			}
			h := r.Health(time.Now())
			if h.Blind != "" || h.Loss != (journalfile.Loss{}) {
				t.Errorf("%+v", h)
			}
			t.Logf("%d messages; %+v", len(want), h)
			if len(want) != 500 {
				t.Fatalf("%d messages", len(want))
			}
		})
	}
}
