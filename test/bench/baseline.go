package main

// This file holds what the probes are compared with: what a plain Go program
// does to read the same, measured in the same run on the same node.

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/probes"
)

// subject is something to measure.
type subject struct {
	name string
	run  func(ctx context.Context) error
	// spec is nil for a baseline.
	spec *probes.Spec
}

// yardstick is the baseline to which all others are a ratio.
const yardstick = "read /proc/*/stat"

// baselines come first in the table.
func baselines() []subject {
	return []subject{
		{name: yardstick, run: readStats},
		{name: "read pids.current of all cgroups", run: readCgroups},
		{name: "read /proc/loadavg", run: func(context.Context) error {
			_, err := os.ReadFile("/proc/loadavg")
			return err
		}},
	}
}

// subjects are the baselines and the probes, made anew. With only, they are the
// yardstick and that probe.
func subjects(h *host.Host, only string) []subject {
	all := baselines()
	n := probes.NewNode(h)
	for _, s := range probes.All() {
		all = append(all, subject{name: s.Name(), spec: &s, run: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, s.Timeout)
			defer cancel()
			_, err := s.Run(ctx, n)
			return err
		}})
	}
	if only == "" {
		return all
	}
	var some []subject
	for _, s := range all {
		if s.name == yardstick || s.name == only {
			some = append(some, s)
		}
	}
	return some
}

// everyProbe runs all probes one after the other. One that fails is none that
// costs nothing.
func everyProbe(h *host.Host) subject {
	n := probes.NewNode(h)
	all := probes.All()
	return subject{name: "every probe", run: func(ctx context.Context) error {
		for _, s := range all {
			if err := ctx.Err(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, s.Timeout)
			_, _ = s.Run(ctx, n)
			cancel()
		}
		return nil
	}}
}

func readStats(context.Context) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if c := e.Name()[0]; c < '1' || c > '9' {
			continue
		}
		// A process that has ended meanwhile is no error.
		_, _ = os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
	}
	return nil
}

func readCgroups(context.Context) error {
	root := "/sys/fs/cgroup/pids" // v1
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	read := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil //nolint:nilerr // a cgroup that has vanished meanwhile
		}
		if _, err := os.ReadFile(filepath.Join(path, "pids.current")); err == nil {
			read++
		}
		return nil
	})
	if err == nil && read == 0 {
		err = errors.New("no cgroup has the pids controller")
	}
	return err
}
