package cgroup

// This file: where in the hierarchies a process is (cgroups(7), /proc/PID/cgroup),
// seen from a cgroup namespace of our own, too (cgroup_namespaces(7)).

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrOutside says that a process is in a cgroup that is not in the tree that we see.
var ErrOutside = errors.New("outside the cgroups that are visible here")

// Of is the cgroup that a process (or thread) is in, for controller c. The
// error is ErrAbsent if the process is gone.
func (t *Tree) Of(pid int, c Controller) (string, error) {
	h, err := t.of(c)
	if err != nil {
		return "", err
	}
	return t.place(pid, h)
}

// Place is the cgroup that a process (or thread) is in, in the hierarchy where
// container engines put processes: the only one of v2, that of pids otherwise.
func (t *Tree) Place(pid int) (string, error) { return t.place(pid, t.main) }

func (t *Tree) place(pid int, h *hierarchy) (string, error) {
	file := "/proc/" + strconv.Itoa(pid) + "/cgroup"
	var buf [1024]byte
	b, err := t.host.ReadInto(file, buf[:])
	if err != nil {
		if absent(err) || errors.Is(err, unix.ESRCH) {
			return "", fmt.Errorf("%w: %w", ErrAbsent, err)
		}
		return "", err
	}
	raw, ok := findPlace(b, h.controller)
	if !ok {
		return "", fmt.Errorf("%s has no line for %s", file, h.mount)
	}
	path, err := h.resolve(raw)
	if err != nil {
		return "", fmt.Errorf("%s: %q: %w", file, raw, err)
	}
	return path, nil
}

// findPlace is the path of /proc/PID/cgroup's line for a v1 controller, or, if
// c is empty, of the line for v2, "0::PATH". A path may contain colons; it
// cannot contain a newline.
func findPlace(b []byte, c Controller) (string, bool) {
	for line := range bytes.Lines(b) {
		id, rest, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok || !strings.HasPrefix(path, "/") {
			continue
		}
		if c == "" {
			if id == "0" && controllers == "" {
				return path, true
			}
			continue
		}
		for name := range strings.SplitSeq(controllers, ",") {
			if name == string(c) {
				return path, true
			}
		}
	}
	return "", false
}

// resolve turns a path of /proc/PID/cgroup into the absolute path in the host's
// hierarchy. The kernel shows paths relative to the root of the *reader's*
// cgroup namespace: a container sees its siblings as "/../NAME".
func (h *hierarchy) resolve(raw string) (string, error) {
	if h.ownErr != nil {
		return "", h.ownErr
	}
	// A process may outlive its cgroup's name, as a zombie.
	raw = strings.TrimSuffix(raw, " (deleted)")
	if h.own == "" && h.top != "" {
		below, ok := strings.CutPrefix(raw+"/", h.top+"/")
		if !ok {
			return "", ErrOutside
		}
		raw = "/" + below
	}
	return join(h.own, raw)
}

// join walks from base along rel. It refuses to climb above the root, where
// path.Join would stay at it and name the wrong cgroup.
func join(base, rel string) (string, error) {
	var at []string
	for e := range strings.SplitSeq(base+"/"+rel, "/") {
		switch e {
		case "", ".":
		case "..":
			if len(at) == 0 {
				return "", ErrOutside
			}
			at = at[:len(at)-1]
		default:
			at = append(at, e)
		}
	}
	return "/" + strings.Join(at, "/"), nil
}

// findOwn is the absolute path of the root of our own cgroup namespace in the
// hierarchy that we find at top. A container has its own cgroup mounted at mine,
// where the host has the hierarchy's root; it is the same directory of the same
// file system, and so its inode tells which one.
func findOwn(top, mine string) (string, error) {
	var a, b unix.Stat_t
	if err := unix.Stat(top, &a); err != nil {
		return "", fmt.Errorf("%s: %w", top, err)
	}
	if err := unix.Stat(mine, &b); err != nil {
		return "", fmt.Errorf("own cgroup namespace: %s, which would tell our place: %w", mine, err)
	}
	if a.Dev == b.Dev {
		if path, ok := findInode(top, b.Ino); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("own cgroup namespace: no cgroup below %s is the one that we see at %s", top, mine)
}
