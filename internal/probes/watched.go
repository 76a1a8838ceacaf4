package probes

// This file: the file systems that the node itself depends on, and how full
// each of them is.

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Room is the share of a file system, in percent, below which a warning and a
// critical problem begin: of what is still available.
type Room struct {
	Warning  float64 `yaml:"warning"`
	Critical float64 `yaml:"critical"`
}

// Severity judges what is left of a file system; 0 while that is enough.
func (r Room) Severity(left room) problem.Severity {
	switch percent := left.fraction() * 100; {
	case percent < r.Critical:
		return problem.Critical
	case percent < r.Warning:
		return problem.Warning
	}
	return 0
}

// room is an amount in use, and what is available beside it.
type room struct{ used, available float64 }

// spaceOf is a file system's space the way df counts it: available is f_bavail,
// what others than root may still use, since pods are mostly others; what is
// reserved for root is neither used nor available (statvfs(3)).
func spaceOf(u mounts.Usage) room {
	return room{used: float64(u.Size - min(u.Free, u.Size)), available: float64(u.Avail)}
}

// inodesOf is a file system's inodes (f_files, f_ffree); nothing at all where they
// are not counted.
func inodesOf(u mounts.Usage) room {
	free := min(u.InodesFree, u.Inodes)
	return room{used: float64(u.Inodes - free), available: float64(free)}
}

func (r room) total() float64 { return r.used + r.available }

func (r room) fraction() float64 {
	if r.total() == 0 {
		return 1
	}
	return r.available / r.total()
}

// left renders what is available, of how much, in a way that does not change
// with every file: "8 % of its 100 GiB".
func (r room) left(unit problem.Unit) string {
	share := problem.Percent(r.fraction())
	if r.available == 0 {
		share = "nothing"
	}
	return fmt.Sprintf("%s of its %s", share, problem.Amount(r.total(), unit))
}

func (r room) measurement(resource, subject string, unit problem.Unit, touches []problem.Ref) problem.Measurement {
	return problem.Measurement{
		Resource: resource, Subject: subject,
		Used: r.used, Max: r.total(), Unit: unit, Touches: touches,
	}
}

// watchedPath is a path that the node depends on, and what for.
type watchedPath struct {
	path, role string
	// must: someone asked for it, so that it is missed if it does not exist.
	must bool
}

// watchedPaths are the paths of a node with that kubelet, the most important first, and
// those in extra; partial says what is not known, where err says why its settings are not.
func watchedPaths(s kubelet.Settings, err error, extra []string) (paths []watchedPath, partial string) {
	if err != nil {
		partial = fmt.Sprintf("kubelet's settings are not known, and so its folder may be another: %v", err)
	}
	paths = []watchedPath{
		{"/", "root", true},
		{kubeletRoot(s, err), "kubelet", false},
		{"/var/lib/containerd", "containerd", false},
		{"/var/lib/docker", "docker", false},
		{"/var/lib/containers", "containers", false}, // CRI-O and podman
		{"/var/lib/rancher/k3s/agent/containerd", "containerd", false},
		{"/var/lib/rancher/rke2/agent/containerd", "containerd", false},
		{"/var/lib/k0s/containerd", "containerd", false},
		{"/var/snap/microk8s/common/var/lib/containerd", "containerd", false},
		{"/var/log", "logs", false},
		{"/var/lib/etcd", "etcd", false},
	}
	if err == nil && s.DataDir != "" {
		paths = append(paths,
			watchedPath{s.DataDir + "/agent/containerd", "containerd", false},
			watchedPath{s.DataDir + "/server/db", "etcd", false})
	}
	for _, p := range extra {
		paths = append(paths, watchedPath{p, p, true})
	}
	return paths, partial
}

// kubeletRoot is the folder below which kubelet keeps its pods' volumes.
func kubeletRoot(s kubelet.Settings, err error) string {
	if err != nil || s.RootDir == "" {
		return "/var/lib/kubelet"
	}
	return s.RootDir
}

// fileSystem is a watched file system.
type fileSystem struct {
	mount mounts.Mount // the first that holds one of its paths
	roles []string
	usage mounts.Usage
	err   error // why usage is not known
	// touches are its mount points on the watched paths, and its devices.
	touches []problem.Ref
}

// String is the mount point with what it is used for: "/ (root, kubelet)".
func (f fileSystem) String() string {
	return fmt.Sprintf("%s (%s)", f.mount.Point, strings.Join(f.roles, ", "))
}

// image tells whether nothing can be written to the file system by design, so that
// it is full for ever. A read-only mount point is not enough: the file system can
// be written to at another.
func (f fileSystem) image() bool {
	switch f.mount.FSType {
	case "squashfs", "iso9660", "udf", "erofs", "cramfs", "romfs":
		return true
	case "overlay":
		return !f.mount.HasSuperOption("upperdir")
	}
	return f.mount.HasSuperOption("ro")
}

// watchedFileSystems finds the file systems that hold the paths, each once, and
// asks how full they are.
func watchedFileSystems(v *mountView, paths []watchedPath) []fileSystem {
	var all []fileSystem
	for _, p := range paths {
		m, err := v.place(p.path)
		if errors.Is(err, fs.ErrNotExist) && !p.must {
			continue
		}
		if err != nil {
			all = append(all, fileSystem{mount: mounts.Mount{Point: p.path}, roles: []string{p.role}, err: err})
			continue
		}
		i := slices.IndexFunc(all, func(f fileSystem) bool { return f.mount.FSType != "" && deviceOf(f.mount) == deviceOf(m) })
		if i < 0 {
			f := fileSystem{mount: m, touches: v.deviceRefs(m)}
			f.usage, f.err = v.usage(m)
			all, i = append(all, f), len(all)
		}
		f := &all[i]
		if f.err != nil && m.ID != f.mount.ID {
			// Of several mounts of one file system, one that we can touch is enough.
			f.usage, f.err = v.usage(m)
		}
		if !slices.Contains(f.roles, p.role) {
			f.roles = append(f.roles, p.role)
		}
		if ref := problem.NewRef(problem.RefMount, m.Point); !slices.Contains(f.touches, ref) {
			f.touches = append(f.touches, ref)
		}
	}
	return all
}
