// Package journald runs a systemd-journald of our own, apart from the machine's:
// in a mount namespace with a /run, /dev and /var/log of its own. Nothing outside
// tests and benchmarks imports it.
package journald

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	program = "/lib/systemd/systemd-journald"
	// Identifier is that of all messages sent.
	Identifier = "nodevitals-test"
	// startWithin is how long its start may take on a busy machine.
	startWithin = time.Minute
)

// ErrUnavailable is the error of a machine on which no journald can be started;
// what is wrapped with it says why.
var ErrUnavailable = errors.New("no journald of our own here")

// script makes the namespace's file systems and becomes journald. It does not
// read the kernel's log.
const script = `set -e
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
exec ` + program

// Server is a running journald.
type Server struct {
	cmd   *exec.Cmd
	dir   string // for its configuration
	root  string // its file system, seen from here
	conn  net.Conn
	log   strings.Builder // to be read after ended is closed
	ended chan struct{}
}

// Start starts a journald with this Storage= (journald.conf(5)). It needs root;
// without, or where mounts are forbidden, the error is ErrUnavailable. The
// journald dies with the thread that calls Start.
func Start(ctx context.Context, storage string) (*Server, error) {
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("%w: it needs mounts of its own, and so root", ErrUnavailable)
	}
	for _, p := range []string{program, "unshare", "bash"} {
		if _, err := exec.LookPath(p); err != nil {
			return nil, fmt.Errorf("%w: %w; test/install-deps installs it", ErrUnavailable, err)
		}
	}
	dir, err := os.MkdirTemp("", "journald-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, ended: make(chan struct{}), cmd: exec.Command("unshare", "-m", "bash", "-c", script)}
	s.cmd.Env = append(os.Environ(), "T="+dir, "STORAGE="+storage)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.root = fmt.Sprintf("/proc/%d/root", s.cmd.Process.Pid)
	go func() {
		_ = s.cmd.Wait() // it is killed
		close(s.ended)
	}()
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// connect waits for journald's socket.
func (s *Server) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var err error
		// The machine's own socket is not in this place: until the namespace has a
		// /run of its own, the path leads there, and nothing must be sent to it.
		if s.isJournald() {
			if s.conn, err = net.Dial("unixgram", filepath.Join(s.root, "run/systemd/journal/socket")); err == nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return fmt.Errorf("%w: %s", ErrUnavailable, strings.TrimSpace(s.log.String()))
		case <-ctx.Done():
			return fmt.Errorf("waited for journald's socket: %w", errors.Join(context.Cause(ctx), err))
		}
	}
}

// isJournald reports whether the script has come to its last line.
func (s *Server) isJournald() bool {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", s.cmd.Process.Pid))
	return err == nil && strings.HasPrefix(string(comm), "systemd-journal")
}

// Send writes one message in journald's own protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/); it holds no line end.
func (s *Server) Send(message string) error {
	_, err := fmt.Fprintf(s.conn, "SYSLOG_IDENTIFIER=%s\nMESSAGE=%s\n", Identifier, message)
	return err
}

// Signal sends one to journald: SIGUSR1 makes it move its journal from memory to
// the disk, SIGUSR2 begin new files.
func (s *Server) Signal(sig syscall.Signal) error { return s.cmd.Process.Signal(sig) }

// Dirs are the folders of its journals: that on the disk and that in memory.
func (s *Server) Dirs() []string {
	return []string{filepath.Join(s.root, "var/log/journal"), filepath.Join(s.root, "run/log/journal")}
}

// Close kills it.
func (s *Server) Close() error {
	var err error
	if s.conn != nil {
		err = s.conn.Close()
	}
	_ = s.cmd.Process.Kill() // or it has ended
	<-s.ended
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Log is what journald said, once it is closed.
func (s *Server) Log() string { return s.log.String() }
