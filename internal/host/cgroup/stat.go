package cgroup

// This file: the files that every cgroup has, whatever its controllers
// (Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files").

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
)

// Stat counts a cgroup's descendants, live and dying. A dying one was removed
// but is held in memory by what is still charged to it.
type Stat struct {
	Descendants      uint64
	DyingDescendants uint64
}

// Stat reads cgroup.stat of the v2 hierarchy. ErrAbsent on v1.
func (t *Tree) Stat(path string) (s Stat, err error) {
	if t.unified == nil {
		return s, fmt.Errorf("%w: cgroup v1 has no cgroup.stat", ErrAbsent)
	}
	err = t.flat(t.unified, path, "cgroup.stat", func(key string, value uint64) {
		switch key {
		case "nr_descendants":
			s.Descendants = value
		case "nr_dying_descendants":
			s.DyingDescendants = value
		}
	})
	return s, err
}

// Populated reports whether there is a process in the cgroup or below it.
func (t *Tree) Populated(path string) (bool, error) {
	if path == "/" {
		return true, nil // it has no cgroup.events, and always a process
	}
	if !t.main.v2 {
		return t.populatedV1(path)
	}
	populated, found := false, false
	err := t.flat(t.main, path, "cgroup.events", func(key string, value uint64) {
		if key == "populated" {
			populated, found = value != 0, true
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("%s: no line populated", t.main.file(path, "cgroup.events"))
	}
	return populated, err
}

// populatedV1 asks the cgroup and then its descendants, since v1 keeps no count.
func (t *Tree) populatedV1(path string) (bool, error) {
	if pids, err := t.Procs(path); err != nil || len(pids) > 0 {
		return len(pids) > 0, err
	}
	errFound := errors.New("found")
	err := t.walk(context.Background(), t.main, path, func(at string) error {
		pids, err := t.Procs(at)
		switch {
		case errors.Is(err, ErrAbsent):
			return nil
		case err != nil:
			return err
		case len(pids) > 0:
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// Procs are the processes in the cgroup itself, in no order, from cgroup.procs.
func (t *Tree) Procs(path string) ([]int, error) {
	var buf [512]byte
	b, err := t.read(t.main, path, "cgroup.procs", buf[:])
	if err != nil {
		return nil, err
	}
	pids, err := parseProcs(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.main.file(path, "cgroup.procs"), err)
	}
	return pids, nil
}

// parseProcs reads one process id a line. Those that our pid namespace does not
// show are 0 there, and left out.
func parseProcs(b []byte) ([]int, error) {
	var pids []int
	for line := range bytes.Lines(b) {
		pid, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		if err != nil || pid < 0 {
			return nil, fmt.Errorf("not a process id: %.40q", line)
		}
		if pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
