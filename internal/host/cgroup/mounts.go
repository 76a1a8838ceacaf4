package cgroup

// This file: which cgroup hierarchies the host has mounted, from mountinfo
// (proc_pid_mountinfo(5)).

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
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
	mounts, err := parseMounts(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return mounts, nil
}

// parseMounts picks the cgroup hierarchies out of a mountinfo table. Of several
// mounts of one hierarchy (containers have their own) it takes the first at its
// usual place.
func parseMounts(b []byte) ([]mount, error) {
	var mounts []mount
	for line := range bytes.Lines(b) {
		m, ok, err := parseMount(strings.TrimSuffix(string(line), "\n"))
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		same := slices.IndexFunc(mounts, func(o mount) bool {
			return o.v2 == m.v2 && slices.Equal(o.controllers, m.controllers)
		})
		switch {
		case same < 0:
			mounts = append(mounts, m)
		case usual(m.point) && !usual(mounts[same].point):
			mounts[same] = m
		}
	}
	return mounts, nil
}

func usual(point string) bool {
	return point == defaultMount || strings.HasPrefix(point, defaultMount+"/")
}

// parseMount reads one line of mountinfo:
//
//	33 24 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
func parseMount(line string) (m mount, ok bool, err error) {
	before, after, found := strings.Cut(line, " - ")
	fields, super := strings.Fields(before), strings.Fields(after)
	if !found || len(fields) < 6 || len(super) < 2 {
		return m, false, fmt.Errorf("not a mount: %.100q", line)
	}
	switch super[0] {
	case "cgroup2":
		m.v2 = true
	case "cgroup":
		if len(super) < 3 {
			return m, false, fmt.Errorf("a mount without options: %.100q", line)
		}
		for o := range strings.SplitSeq(super[2], ",") {
			if !mountOptions[o] && (!strings.Contains(o, "=") || strings.HasPrefix(o, "name=")) {
				m.controllers = append(m.controllers, o)
			}
		}
	default:
		return m, false, nil
	}
	m.point = unescape.Replace(fields[4])
	// The kernel shows the root as seen from the *reader's* cgroup namespace. One
	// that begins with /.. tells that ours is below it; how far says nothing about
	// its name.
	switch top := unescape.Replace(fields[3]); {
	case top == "/..", strings.HasPrefix(top, "/../"):
		m.relative = true
	case top != "/":
		m.top = top
	}
	return m, true, nil
}

// mountOptions are the options of a v1 mount that are no controllers
// (cgroup1_show_options in kernel/cgroup/cgroup-v1.c, and the VFS's own).
var mountOptions = map[string]bool{
	"rw": true, "ro": true, "sync": true, "dirsync": true, "mand": true, "lazytime": true, "seclabel": true,
	"none": true, "noprefix": true, "xattr": true, "cpuset_v2_mode": true, "clone_children": true, "favordynmods": true,
}

// unescape undoes mangle_path of fs/seq_file.c.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
