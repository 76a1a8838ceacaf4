// Package nspawn boots a real systemd in a container: this machine's own files
// under an overlay that is thrown away, in namespaces of its own, with its own
// network. Nothing outside tests imports it.
package nspawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bootWithin is how long its start may take on a busy machine; it takes 5 s on an idle one.
const bootWithin = 2 * time.Minute

// ErrUnavailable is the error of a machine on which none can be booted; what is
// wrapped with it says why.
var ErrUnavailable = errors.New("no systemd of our own here")

// Machine is a booted one.
type Machine struct {
	dir  string // the overlay
	args []string

	cmd     *exec.Cmd
	console bytes.Buffer
	ended   chan struct{}
	pid     int // of its process 1, as we see it
}

// Boot boots a machine, to basic.target: of what is installed here nothing is
// enabled, and no service is started but those of systemd itself and the bus. The
// files are put into its root first (path → content). bind are files or folders of
// ours that it sees at the same place. It dies with the thread that calls Boot.
func Boot(ctx context.Context, files map[string]string, bind ...string) (*Machine, error) {
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("%w: it needs mounts and namespaces, and so root", ErrUnavailable)
	}
	for _, p := range []string{"systemd-nspawn", "nsenter"} {
		if _, err := exec.LookPath(p); err != nil {
			return nil, fmt.Errorf("%w: %w; test/install-deps installs it", ErrUnavailable, err)
		}
	}
	dir, err := os.MkdirTemp("", "nspawn-")
	if err != nil {
		return nil, err
	}
	m := &Machine{dir: dir}
	if err := m.mount(files); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrUnavailable, err), m.unmount())
	}
	m.args = []string{"--register=no", "--keep-unit", "--private-network", "--console=read-only", "-b", "-D", m.root()}
	for _, b := range bind {
		m.args = append(m.args, "--bind-ro="+b)
	}
	m.args = append(m.args, "systemd.unit=basic.target")
	if err := m.start(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// start boots it with the files that it has.
func (m *Machine) start(ctx context.Context) error {
	m.pid, m.ended = 0, make(chan struct{})
	m.console.Reset()
	m.cmd = exec.Command("systemd-nspawn", m.args...)
	m.cmd.Stdout, m.cmd.Stderr = &m.console, &m.console
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := m.cmd.Start(); err != nil {
		close(m.ended)
		return err
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // it is killed
		close(ended)
	}(m.cmd, m.ended)
	return m.booted(ctx)
}

// Crash ends it as a power cut does, and boots it anew.
func (m *Machine) Crash(ctx context.Context) error {
	m.kill()
	return m.start(ctx)
}

// Restart shuts it down and boots it anew.
func (m *Machine) Restart(ctx context.Context) error {
	if _, err := m.Run(ctx, "systemctl", "poweroff"); err != nil {
		return err
	}
	select {
	case <-m.ended:
	case <-ctx.Done():
		return fmt.Errorf("waited for its shutdown: %w", context.Cause(ctx))
	}
	return m.start(ctx)
}

func (m *Machine) root() string { return filepath.Join(m.dir, "root") }

// mount makes the root: an overlay over our own, whose changes are in memory.
func (m *Machine) mount(files map[string]string) error {
	if err := unix.Mount("tmpfs", m.dir, "tmpfs", 0, "size=512m,mode=0755"); err != nil {
		return fmt.Errorf("tmpfs: %w", err)
	}
	upper, work := filepath.Join(m.dir, "upper"), filepath.Join(m.dir, "work")
	for _, d := range []string{upper, work, m.root()} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", upper, work)
	if err := unix.Mount("overlay", m.root(), "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay of /: %w", err)
	}
	// It must not take itself for us: the journal's folder has this id as its name.
	if err := os.WriteFile(filepath.Join(m.root(), "etc/machine-id"), nil, 0o644); err != nil {
		return err
	}
	// What is enabled here is not there.
	if err := os.RemoveAll(filepath.Join(m.root(), "etc/systemd/system")); err != nil {
		return err
	}
	for name, content := range files {
		full := filepath.Join(m.root(), name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, []byte(content), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) unmount() error {
	var err error
	for _, d := range []string{m.root(), m.dir} {
		if e := unix.Unmount(d, unix.MNT_DETACH); e != nil && !errors.Is(e, unix.EINVAL) && !errors.Is(e, unix.ENOENT) {
			err = errors.Join(err, fmt.Errorf("umount %s: %w", d, e))
		}
	}
	return errors.Join(err, os.Remove(m.dir))
}

// booted waits until systemd has reached its target.
func (m *Machine) booted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if m.findInit() {
			if _, err := m.Run(ctx, "systemctl", "is-active", "basic.target"); err == nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-m.ended:
			return fmt.Errorf("%w: %s", ErrUnavailable, strings.TrimSpace(m.console.String()))
		case <-ctx.Done():
			return fmt.Errorf("waited for systemd: %w", context.Cause(ctx))
		}
	}
}

// findInit finds the machine's process 1: the child of systemd-nspawn.
func (m *Machine) findInit() bool {
	pid := m.cmd.Process.Pid
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return false
	}
	for child := range strings.FieldsSeq(string(b)) {
		comm, err := os.ReadFile("/proc/" + child + "/comm")
		if err == nil && strings.TrimSpace(string(comm)) == "systemd" {
			m.pid, err = strconv.Atoi(child)
			return err == nil
		}
	}
	return false
}

// Root is its root, as we see it.
func (m *Machine) Root() string { return fmt.Sprintf("/proc/%d/root", m.pid) }

// Command is a program to be run in it.
func (m *Machine) Command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"-t", strconv.Itoa(m.pid), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--"}
	return exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
}

// Run runs a program in it and returns what it printed; the error has that, too.
func (m *Machine) Run(ctx context.Context, args ...string) (string, error) {
	out, err := m.Command(ctx, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// Dial connects to an address within its network.
func (m *Machine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan result, 1)
	go func() {
		// The thread goes back: were it to end, so would all that it has started.
		runtime.LockOSThread()
		back, err := m.enterNetwork()
		if err != nil {
			dialled <- result{nil, err}
			return
		}
		// One address: the library dials it in this very thread.
		c, err := (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address)
		if e := back(); e == nil {
			runtime.UnlockOSThread()
		}
		dialled <- result{c, err}
	}()
	r := <-dialled
	return r.conn, r.err
}

// enterNetwork puts the thread into the machine's network; back brings it home.
func (m *Machine) enterNetwork() (back func() error, err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.pid))
	if err == nil {
		err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET)
		_ = there.Close()
	}
	if err != nil {
		return nil, errors.Join(err, home.Close())
	}
	return func() error {
		err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)
		return errors.Join(err, home.Close())
	}, nil
}

// Close ends it at once, without a shutdown, and throws its files away.
func (m *Machine) Close() error {
	m.kill()
	return m.unmount()
}

func (m *Machine) kill() {
	if m.pid > 0 {
		// Its process 1 takes all others with it.
		_ = syscall.Kill(m.pid, syscall.SIGKILL) // or it has ended
	}
	select {
	case <-m.ended:
	case <-time.After(10 * time.Second):
		_ = m.cmd.Process.Kill()
		<-m.ended
	}
}
