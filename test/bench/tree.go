package main

// This file makes and removes a tree of cgroups named as kubelet names those of
// pods, so that the agent takes them for pods.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

const (
	// containers of a pod; each has a limit of pids.
	containers = 4
	// pathsAbovePods are the cgroups above those of pods.
	pathsAbovePods = 3
	containerPIDs  = 1024
	// removeWithin is how long a cgroup may stay busy after its processes ended.
	removeWithin = 10 * time.Second
)

// tree is a tree of cgroups, in each hierarchy that it needs.
type tree struct {
	// name is that of its uppermost cgroup, beside kubelet's own, below which
	// kubelet removes what it does not know.
	name  string
	roots []string // the mount points: pids and memory on v1, one on v2
	leafs []string // the containers, relative to a root
	// enabled are the controllers that v2's root did not give to its children before.
	enabled []string
}

// newTree makes n cgroups in each hierarchy. After an error nothing is left.
func newTree(ctx context.Context, h *host.Host, name string, n int) (*tree, error) {
	t := treeAt(h, name)
	if err := t.make(ctx, n, len(t.roots) == 1); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// treeAt is where a tree is or will be.
func treeAt(h *host.Host, name string) *tree {
	mount := h.Path("/sys/fs/cgroup")
	if _, err := os.Stat(filepath.Join(mount, "cgroup.controllers")); err == nil {
		return &tree{name: name, roots: []string{mount}}
	}
	return &tree{name: name, roots: []string{filepath.Join(mount, "pids"), filepath.Join(mount, "memory")}}
}

func (t *tree) make(ctx context.Context, n int, v2 bool) error {
	if v2 {
		if err := t.enable(); err != nil {
			return err
		}
	}
	for _, root := range t.roots {
		for _, path := range treePaths(t.name, n) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			dir := filepath.Join(root, path)
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			if v2 && !isLeaf(path) {
				if err := write(dir, "cgroup.subtree_control", "+pids +memory"); err != nil {
					return err
				}
			}
			if isLeaf(path) && root == t.roots[0] {
				if err := write(dir, "pids.max", strconv.Itoa(containerPIDs)); err != nil {
					return err
				}
			}
		}
	}
	t.leafs = slices.DeleteFunc(treePaths(t.name, n), func(p string) bool { return !isLeaf(p) })
	return nil
}

// enable makes v2's root give both controllers to its children.
func (t *tree) enable() error {
	const file = "cgroup.subtree_control"
	b, err := os.ReadFile(filepath.Join(t.roots[0], file))
	if err != nil {
		return err
	}
	for _, c := range []string{"pids", "memory"} {
		if slices.Contains(strings.Fields(string(b)), c) {
			continue
		}
		if err := write(t.roots[0], file, "+"+c); err != nil {
			return err
		}
		t.enabled = append(t.enabled, c)
	}
	return nil
}

// treePaths are n cgroups, parents before their children.
func treePaths(name string, n int) []string {
	paths := []string{name, name + "/kubepods", name + "/kubepods/burstable"}
	for i := 0; len(paths) < n; i++ {
		pod := fmt.Sprintf("%s/kubepods/burstable/pod%08x-0000-4000-8000-000000000000", name, i)
		paths = append(paths, pod)
		for c := range containers {
			paths = append(paths, fmt.Sprintf("%s/%064x", pod, i*containers+c))
		}
	}
	return paths[:n]
}

// isLeaf reports whether a path of the tree is a container's.
func isLeaf(path string) bool { return strings.Count(path, "/") == 4 }

// join puts a process into the i-th container, round robin. Only into its pids
// cgroup on v1: what it were charged for in memory would outlive it, and the
// cgroup with it.
func (t *tree) join(i, pid int) error {
	if len(t.leafs) == 0 {
		return nil
	}
	return write(filepath.Join(t.roots[0], t.leafs[i%len(t.leafs)]), "cgroup.procs", strconv.Itoa(pid))
}

// close removes the tree.
func (t *tree) close() error {
	err := t.remove()
	for _, c := range t.enabled {
		err = errors.Join(err, write(t.roots[0], "cgroup.subtree_control", "-"+c))
	}
	t.enabled = nil
	return err
}

// remove removes what is there of the tree, children before their parents. A
// cgroup is busy until the last of its processes is gone for good.
func (t *tree) remove() error {
	until := time.Now().Add(removeWithin)
	for {
		err := t.removeOnce()
		if !errors.Is(err, unix.EBUSY) || time.Now().After(until) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (t *tree) removeOnce() error {
	var dirs []string
	for _, root := range t.roots {
		err := filepath.WalkDir(filepath.Join(root, t.name), func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				dirs = append(dirs, path)
			}
			return ignoreAbsent(err)
		})
		if err != nil {
			return err
		}
	}
	var errs []error
	for _, dir := range slices.Backward(dirs) {
		if err := ignoreAbsent(unix.Rmdir(dir)); err != nil {
			errs = append(errs, &fs.PathError{Op: "rmdir", Path: dir, Err: err})
			if len(errs) == 3 { // enough to know; a parent is busy with its child
				break
			}
		}
	}
	return errors.Join(errs...)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func write(dir, file, s string) error {
	return os.WriteFile(filepath.Join(dir, file), []byte(s), 0o644)
}
