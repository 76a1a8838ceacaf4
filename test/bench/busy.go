package main

// This file makes the node busy, and quiet again: idle processes that hold
// descriptors, spread over the containers of cgroups that look like pods.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// load is how busy the node is made.
type load struct {
	name        string // of its cgroups
	processes   int
	descriptors int // of each process
	cgroups     int // of each hierarchy
	pods        int // whose volumes are mounted
}

// fullLoad is a node with 13,000 descriptors more than the machine had, the
// volumes of 100 pods, and the cgroups of 1,000.
var fullLoad = load{name: "nodevitals-bench", processes: 500, descriptors: 26, cgroups: 5000, pods: 100}

// busy is what was made.
type busy struct {
	name      string
	tree      *tree
	chatter   *chatter // nil without logs
	keep      *os.File // while it is open, the processes live
	processes []*exec.Cmd
	// holes say what could not be made.
	holes []error
}

// newBusy makes the node busy. What the machine does not allow (cgroups without
// root, say) is a hole. close undoes it, also after an error, which is one of ctx.
func newBusy(ctx context.Context, h *host.Host, l load) (*busy, error) {
	b := &busy{name: l.name}
	var err error
	if b.tree, err = newTree(ctx, h, l.name, l.cgroups); err != nil {
		b.holes = append(b.holes, fmt.Errorf("cgroups: %w", err))
	}
	if err := mountVolumes(ctx, l.name, l.pods); err != nil {
		b.holes = append(b.holes, fmt.Errorf("mounts: %w", err))
	}
	if err := b.start(ctx, l); err != nil {
		b.holes = append(b.holes, fmt.Errorf("%d of %d processes: %w", len(b.processes), l.processes, err))
	}
	if ctx.Err() != nil {
		return b, context.Cause(ctx)
	}
	return b, nil
}

// start starts the processes: cat, a small program that every host has, waits
// for input that never comes. It ends with its pipe, and so with us, also if we
// are killed.
func (b *busy) start(ctx context.Context, l load) error {
	input, keep, err := os.Pipe()
	if err != nil {
		return err
	}
	b.keep = keep
	defer func() { _ = input.Close() }()
	for i := range l.processes {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		cmd, err := idle(input, l.descriptors)
		if err != nil {
			return err
		}
		b.processes = append(b.processes, cmd)
		if b.tree == nil {
			continue
		}
		if err := b.tree.join(i, cmd.Process.Pid); err != nil {
			return err
		}
	}
	return nil
}

// idle starts one process. Its descriptors are open files of its own.
func idle(input *os.File, descriptors int) (*exec.Cmd, error) {
	cmd := exec.Command("cat")
	cmd.Stdin = input
	// Not in our group: a Ctrl-C is for us, who then close the pipe.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	defer func() {
		for _, f := range cmd.ExtraFiles {
			_ = f.Close()
		}
	}()
	for range descriptors - 3 { // and the three standard streams
		f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	return cmd, cmd.Start()
}

// talk has much logged from now on.
func (b *busy) talk(ctx context.Context) {
	var err error
	if b.chatter, err = startChatter(ctx); err != nil {
		b.holes = append(b.holes, fmt.Errorf("logs: %w", err))
	}
}

// args are for an agent that is to read what is logged.
func (b *busy) args() []string {
	if b.chatter == nil {
		return nil
	}
	return []string{"--config", b.chatter.config}
}

// close ends the processes and removes the cgroups and mounts.
func (b *busy) close() error {
	errs := []error{unmountVolumes(b.name)}
	if b.chatter != nil {
		errs = append(errs, b.chatter.close())
	}
	if b.keep != nil {
		errs = append(errs, b.keep.Close())
	}
	for _, p := range b.processes {
		errs = append(errs, p.Wait())
	}
	if b.tree != nil {
		errs = append(errs, b.tree.close())
	}
	return errors.Join(errs...)
}
