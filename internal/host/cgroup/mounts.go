package cgroup

// This file: which cgroup hierarchies the host has mounted, from mountinfo
// (proc_pid_mountinfo(5)).

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
)

// mount is one mounted hierarchy.
type mount struct {
	point string
	top   string // the cgroup mounted there; empty for the root
	// relative: we are in a cgroup namespace of our own, below top, and so the
	// paths of processes are relative to it.
	relative    bool
	v2          bool
	controllers []string // of v1: "cpu", "cpuacct", "name=systemd"
}

// cgroupMounts lists the host's hierarchies, each once.
func cgroupMounts(h *host.Host) ([]mount, error) {
	file := "/proc/1/mountinfo"
	b, err := h.ReadFile(file)
	if err != nil && h.Own() {
		// Without CAP_SYS_PTRACE only our own can be read; on the node itself that
		// is the same table.
		file = "/proc/self/mountinfo"
		b, err = h.ReadFile(file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		// A partial recording: believe what the folder shows.
		if _, err := h.ReadFile(defaultMount + "/cgroup.controllers"); err == nil {
			return []mount{{point: defaultMount, v2: true}}, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return parseMounts(file, b)
}

// parseMounts picks the cgroup hierarchies out of a mountinfo table, which file is the
// name of. Of several mounts of one hierarchy (containers have their own) it takes the
// first at its usual place.
func parseMounts(file string, b []byte) ([]mount, error) {
	table, err := mounts.Parse(file, b)
	var found []mount
	for _, line := range table.Mounts {
		m, ok := hierarchyOf(line)
		if !ok {
			continue
		}
		same := slices.IndexFunc(found, func(o mount) bool {
			return o.v2 == m.v2 && slices.Equal(o.controllers, m.controllers)
		})
		switch {
		case same < 0:
			found = append(found, m)
		case usual(m.point) && !usual(found[same].point):
			found[same] = m
		}
	}
	if len(found) > 0 {
		return found, nil // whatever other lines are like
	}
	return nil, err
}

func usual(point string) bool {
	return point == defaultMount || strings.HasPrefix(point, defaultMount+"/")
}

// hierarchyOf is the hierarchy that is mounted, if one is.
func hierarchyOf(line mounts.Mount) (m mount, ok bool) {
	switch line.FSType {
	case "cgroup2":
		m.v2 = true
	case "cgroup":
		for o := range strings.SplitSeq(line.SuperOptions, ",") {
			if !mountOptions[o] && (!strings.Contains(o, "=") || strings.HasPrefix(o, "name=")) {
				m.controllers = append(m.controllers, o)
			}
		}
	default:
		return m, false
	}
	m.point = line.Point
	// The kernel shows the root as seen from the *reader's* cgroup namespace. One
	// that begins with /.. tells that ours is below it; how far says nothing about
	// its name.
	switch top := line.Root; {
	case top == "/..", strings.HasPrefix(top, "/../"):
		m.relative = true
	case top != "/":
		m.top = top
	}
	return m, true
}

// mountOptions are the options of a v1 mount that are no controllers
// (cgroup1_show_options in kernel/cgroup/cgroup-v1.c, and the VFS's own).
var mountOptions = map[string]bool{
	"rw": true, "ro": true, "sync": true, "dirsync": true, "mand": true, "lazytime": true, "seclabel": true,
	"none": true, "noprefix": true, "xattr": true, "cpuset_v2_mode": true, "clone_children": true, "favordynmods": true,
}
