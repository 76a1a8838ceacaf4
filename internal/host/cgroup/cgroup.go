// Package cgroup reads control groups of version 1, of version 2, and of the
// hybrid of both, behind one small interface. It only reads and judges nothing.
//
// A cgroup is named by its absolute path in the host's hierarchy ("/" is the
// root), whatever cgroup namespace we read from ourselves. This file finds the
// hierarchies; place.go finds a process in them, walk.go visits them, and the
// other files read one controller each.
package cgroup

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// Mode is how a host lays out its cgroups.
type Mode string

// The modes.
const (
	V1 Mode = "v1" // one hierarchy a controller, or a few together (cpu,cpuacct)
	V2 Mode = "v2" // one hierarchy for all, at /sys/fs/cgroup
	// Hybrid has v1 controllers, and a v2 hierarchy that holds processes, and
	// pressure, but few controllers or none.
	Hybrid Mode = "hybrid"
)

// Controller is one resource that cgroups limit or account, as the kernel names it.
type Controller string

// The controllers in use here. Has and Walk take any other, too.
const (
	ControllerPIDs   Controller = "pids"
	ControllerMemory Controller = "memory"
	ControllerCPU    Controller = "cpu"
)

// NoLimit is the limit of a cgroup that has none ("max").
const NoLimit = ^uint64(0)

// defaultMount is where cgroup2 is mounted on a host of mode V2, and where the
// mount points of v1 are (systemd's file hierarchy; cgroups(7)).
const defaultMount = "/sys/fs/cgroup"

// ErrAbsent says that a cgroup does not exist (any more), or that it lacks the
// file: the root has no limits, a controller may not be enabled here, a kernel
// may be too old. It is never a reason to call anything fine or broken.
var ErrAbsent = errors.New("not there")

// Tree is a host's cgroups. It holds no open files and may be used by several
// goroutines at a time.
type Tree struct {
	host *host.Host
	mode Mode
	// by has the hierarchy of each controller.
	by map[Controller]*hierarchy
	// main is the hierarchy that says where a process is when no controller is asked for.
	main *hierarchy
	// unified is the v2 hierarchy; nil on v1.
	unified *hierarchy
}

// Detect finds the host's cgroup hierarchies among the mounts of its process 1.
// The error says why there is none to be seen.
func Detect(h *host.Host) (*Tree, error) {
	mounts, err := cgroupMounts(h)
	if err != nil {
		return nil, err
	}
	t := &Tree{host: h, by: map[Controller]*hierarchy{}}
	var unseen error
	for _, m := range mounts {
		if err := t.add(m); err != nil {
			unseen = err
		}
	}
	if t.settle(); t.main != nil {
		return t, nil
	}
	if unseen != nil {
		return nil, unseen
	}
	return nil, fmt.Errorf("%w: /proc/1/mountinfo has no cgroup2, and no cgroup with the controllers pids, memory or cpu", ErrAbsent)
}

// add takes one mounted hierarchy in, or says why it cannot be seen.
func (t *Tree) add(m mount) error {
	h := &hierarchy{mount: m.point, v2: m.v2, top: m.top}
	if !m.v2 && len(m.controllers) > 0 {
		h.controller = Controller(m.controllers[0])
	}
	if err := unix.Access(t.host.Path(h.file("/", "cgroup.procs")), unix.F_OK); err != nil {
		return fmt.Errorf("the host has cgroups mounted at %s, but %s is not visible: %w",
			m.point, t.host.Path(h.file("/", "cgroup.procs")), err)
	}
	if m.v2 {
		b, err := t.host.ReadString(h.file("/", "cgroup.controllers"))
		if err != nil {
			return err
		}
		m.controllers = strings.Fields(b)
		t.unified = h
	}
	if m.relative {
		h.own, h.ownErr = findOwn(t.host.Path(m.point), m.point)
	}
	for _, c := range m.controllers {
		t.by[Controller(c)] = h
	}
	return nil
}

// settle decides on the mode and the main hierarchy; it leaves the latter nil
// where there is none.
func (t *Tree) settle() {
	// In the hybrid, the v2 hierarchy is systemd's alone: container engines put
	// their processes in the v1 ones only.
	for _, c := range []Controller{ControllerPIDs, ControllerMemory, ControllerCPU} {
		if t.main = t.by[c]; t.main != nil {
			break
		}
	}
	switch {
	case t.unified == nil:
		t.mode = V1
	case t.main == nil, t.main.v2, t.unified.mount == defaultMount:
		// A stray v1 hierarchy (net_cls, name=systemd for an old container) does not
		// make a host hybrid.
		t.mode, t.main = V2, t.unified
	default:
		t.mode = Hybrid
	}
}

// Mode is how the host lays out its cgroups.
func (t *Tree) Mode() Mode { return t.mode }

// Has reports whether the host has the controller in a hierarchy that we see.
func (t *Tree) Has(c Controller) bool { return t.by[c] != nil }

// File is where on the host a cgroup's file is, as a person would open it:
// File("memory", "/kubepods", "memory.max"). Without the controller it is a
// file of the hierarchy that places processes.
func (t *Tree) File(c Controller, path, name string) string {
	h := t.by[c]
	if h == nil {
		h = t.main
	}
	return h.file(path, name)
}

// hierarchy is one mounted tree of cgroups.
type hierarchy struct {
	mount string // mount point on the host
	v2    bool
	// controller is one of a v1 hierarchy's, by which /proc/PID/cgroup names it.
	controller Controller
	// top is the cgroup that is mounted there; empty for the root.
	top string
	// own is the root of our own cgroup namespace; empty where that is the
	// hierarchy's root. ownErr says why it is not known.
	own    string
	ownErr error
}

func (h *hierarchy) file(path, name string) string {
	if path == "/" {
		path = ""
	}
	if name == "" {
		return h.mount + path
	}
	return h.mount + path + "/" + name
}

// read reads a small file of a cgroup into buf.
func (t *Tree) read(h *hierarchy, path, name string, buf []byte) ([]byte, error) {
	// Paths also come from log lines: none may lead out of the hierarchy.
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "/..") {
		return nil, fmt.Errorf("%w: %q is no path of a cgroup", ErrAbsent, path)
	}
	b, err := t.host.ReadSmall(h.file(path, name), buf)
	if err != nil && absent(err) {
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return b, err
}

// absent reports whether err says that a cgroup or its file is gone: ENODEV
// comes from reading a file whose cgroup was removed after it was opened.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOTDIR) ||
		errors.Is(err, unix.ENAMETOOLONG)
}

// of is the hierarchy of a controller, or an error that says that there is none.
func (t *Tree) of(c Controller) (*hierarchy, error) {
	if h := t.by[c]; h != nil {
		return h, nil
	}
	return nil, fmt.Errorf("%w: the host has no cgroup controller %q", ErrAbsent, c)
}
