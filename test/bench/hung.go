package main

// This file measures beside a mount that hangs: how long `agent --once` takes then,
// and what the daemon needs together with the process that asks mounts.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/test/deaffs"
)

// hungNode is the name of this state of the node.
const hungNode = "hung mount"

// hungFor is how long the daemon is watched: long enough for it to find the mount
// and to ask it.
const hungFor = 40 * time.Second

func benchHung(ctx context.Context, w io.Writer, h *host.Host, o options) (figures []figure, err error) {
	fmt.Printf("\n%s:\n", hungNode)
	undo, err := hang()
	if err != nil {
		say("no mount hangs, and so nothing is measured beside one: %v", err)
		return nil, nil
	}
	defer func() { err = errors.Join(err, undo()) }()
	// The first look asks the mount, for 3 s; those after it find it asked.
	o.runs = min(o.runs, 3)
	agent := &command{args: []string{o.agent, "--once"}, okUpTo: 3}
	for range o.runs {
		if err := agent.run(ctx, true); err != nil {
			return nil, err
		}
	}
	if err := printOnce(w, []*command{agent}, 0); err != nil {
		return nil, err
	}
	// A peer that asks the mount in its own process could not be ended any more.
	o.seconds, o.peer = min(o.seconds, int(hungFor/time.Second)), ""
	daemon, err := benchDaemon(ctx, w, h, o, hungNode)
	if err != nil {
		return nil, err
	}
	once := figure{what: "agent --once, wall time, longest", node: hungNode, value: millisOf(slices.Max(agent.walls)), budget: 5000, unit: "ms"}
	return append([]figure{once}, daemon...), nil
}

// hang mounts a file system that does not answer, and has somebody wait for it.
func hang() (undo func() error, err error) {
	dir, err := os.MkdirTemp("", "nodevitals-bench")
	if err != nil {
		return nil, err
	}
	fs, err := deaffs.Mount(dir)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	controls := showWaiting()
	waited := make(chan struct{})
	go func() {
		var s unix.Statfs_t
		_ = unix.Statfs(dir, &s) // which fails when the mount goes
		close(waited)
	}()
	return func() error {
		err := fs.Close()
		<-waited
		return errors.Join(err, os.Remove(dir), controls())
	}, nil
}

// showWaiting has the kernel show what waits for FUSE, as systemd does on a node. Without
// it, FUSE is not asked.
func showWaiting() (undo func() error) {
	const point = "/sys/fs/fuse/connections"
	if shown, err := os.ReadDir(point); err != nil || len(shown) > 0 {
		return func() error { return nil }
	}
	if err := unix.Mount("fusectl", point, "fusectl", 0, ""); err != nil {
		say("what waits for the mount is not to be seen: %v", err)
		return func() error { return nil }
	}
	return func() error { return unix.Unmount(point, 0) }
}
