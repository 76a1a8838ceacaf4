package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Process is a component that runs. It ends with the program that has started it.
type Process struct {
	path string
	args []string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

func startProcess(dir, path string, args ...string) (*Process, error) {
	p := &Process{path: path, args: args, log: filepath.Join(dir, args[0]+".log")}
	return p, p.Start()
}

// Start starts it, again if it has ended.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.done = make(chan struct{})
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.args[0], err)
	}
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // it is killed
		close(done)
	}(p.cmd, p.done)
	return nil
}

// Kill ends it and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Freeze has it stand still; Thaw has it go on.
func (p *Process) Freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw has it go on after Freeze.
func (p *Process) Thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// PID is its process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended tells whether it has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Log is the end of what it has written.
func (p *Process) Log() string {
	raw, _ := os.ReadFile(p.log)
	return tail(string(raw))
}
