package main

// This file counts system calls: strace watches a child of ours that runs one
// subject once, and another that runs it more often; the difference is the
// subject's, and not that of starting a Go program.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
)

const (
	// childCommand is the first argument of a bench that is a child.
	childCommand = "child"
	// moreRuns are the runs that are counted; dearRuns those of a subject which
	// makes so many calls that tracing them takes long.
	moreRuns, dearRuns = 10, 2
	dear               = 20_000
	// traceWithin bounds one child.
	traceWithin = 2 * time.Minute
)

// runtimeCalls are Go's scheduler's and collector's own: their number depends on
// how long strace holds the child up.
var runtimeCalls = []string{
	"epoll_pwait", "futex", "getpid", "madvise", "nanosleep", "rt_sigprocmask", "rt_sigreturn", "sched_yield", "tgkill",
}

// child runs a subject several times and ends: NAME N [ROOT].
func child(ctx context.Context, args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return errors.New("child takes a name, a number, and perhaps a root")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	h, err := host.New(append(args, "/")[2])
	if err != nil {
		return err
	}
	all := append(subjects(h, ""), everyProbe(h))
	i := slices.IndexFunc(all, func(s subject) bool { return s.name == args[0] })
	if i < 0 {
		return fmt.Errorf("no subject %q", args[0])
	}
	for range n {
		_ = all[i].run(ctx) // a failed run costs calls too; the parent has told the failure
	}
	return nil
}

// tracer counts system calls with strace; root, if set, is the host's that the
// child looks at.
type tracer struct{ strace, self, dir, root string }

// newTracer finds strace, or installs it where that needs no question.
func newTracer(ctx context.Context) (*tracer, error) {
	strace, err := exec.LookPath("strace")
	if err != nil && os.Getuid() == 0 {
		if apt, e := exec.LookPath("apt-get"); e == nil {
			say("installing strace")
			for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", "strace"}} {
				cmd := exec.CommandContext(ctx, apt, args...)
				cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
				if out, err := cmd.CombinedOutput(); err != nil {
					return nil, fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLine(out))
				}
			}
			strace, err = exec.LookPath("strace")
		}
	}
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "nodevitals-bench-")
	if err != nil {
		return nil, err
	}
	return &tracer{strace: strace, self: self, dir: dir}, nil
}

func (t *tracer) close() error { return os.RemoveAll(t.dir) }

// perRun is how many system calls one run of a subject makes after the first.
func (t *tracer) perRun(ctx context.Context, name string) (int, error) {
	one, err := t.count(ctx, name, 1)
	if err != nil {
		return 0, err
	}
	n := moreRuns
	if t.root != "" || one > dear { // what is recorded is the same each time
		n = dearRuns
	}
	more, err := t.count(ctx, name, 1+n)
	// What a start costs varies by a few calls, so that the difference may be below 0.
	return max(0, (more-one+n/2)/n), err
}

func (t *tracer) count(ctx context.Context, name string, runs int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, traceWithin)
	defer cancel()
	file := filepath.Join(t.dir, "calls")
	// -I1: let signals through, which -o blocks.
	cmd := exec.CommandContext(ctx, t.strace, "-I1", "-f", "-c", "-U", "name,calls", "-o", file, t.self, childCommand, name, strconv.Itoa(runs))
	if t.root != "" {
		cmd.Args = append(cmd.Args, t.root)
	}
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1") // else the scheduler's signals are counted
	// Killed, strace leaves its child to itself; asked, it takes it along.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("strace: %w: %s", err, lastLine(out))
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := parseCalls(b)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return n, nil
}

// parseCalls adds up a summary of `strace -c -U name,calls`, without the Go
// runtime's own calls. A summary that was cut off has no total.
func parseCalls(b []byte) (int, error) {
	sum, whole := 0, false
	for line := range bytes.Lines(b) {
		name, calls, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(calls), 10, 32)
		switch {
		case err != nil: // the header and its rules
		case name == "total":
			whole = true
		case !slices.Contains(runtimeCalls, name):
			sum += int(n)
		}
	}
	if !whole {
		return 0, errors.New("the summary of system calls has no total")
	}
	return sum, nil
}

func lastLine(b []byte) string {
	b = bytes.TrimSpace(b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
