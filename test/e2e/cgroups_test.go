package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// This file: a node's own cgroup hierarchies, below /nodevitals-e2e of the machine's.

const (
	cgroupRoot = "/sys/fs/cgroup"
	cgroupName = "nodevitals-e2e"
)

// hierarchies are the mounted cgroup hierarchies of the machine: folder below
// cgroupRoot ("" is that of a pure version 2) by mount options.
func hierarchies() (map[string]string, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		before, after, _ := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 || !strings.HasPrefix(left[4], cgroupRoot) {
			continue
		}
		at := strings.TrimPrefix(strings.TrimPrefix(left[4], cgroupRoot), "/")
		switch right[0] {
		case "cgroup2":
			out["cgroup2"] = at
		case "cgroup":
			options := slices.DeleteFunc(strings.Split(right[2], ","), func(o string) bool { return o == "rw" || o == "ro" || o == "xattr" })
			if strings.HasPrefix(options[0], "name=") {
				options = append([]string{"none"}, options...)
			}
			out[strings.Join(options, ",")] = at
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted below " + cgroupRoot)
	}
	return out, nil
}

// joinCgroups makes a cgroup for the node in each hierarchy, joins them, and
// executes this binary anew in a cgroup namespace that has them for its roots.
func joinCgroups(node string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for options, at := range all {
		dir := filepath.Join(cgroupRoot, at, cgroupName, node)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if strings.Contains(options, "cpuset") { // version 1 gives a new one nothing
			for _, d := range []string{filepath.Dir(dir), dir} {
				for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
					value, err := os.ReadFile(filepath.Join(filepath.Dir(d), file))
					if err != nil {
						return err
					}
					if err := os.WriteFile(filepath.Join(d, file), value, 0o644); err != nil {
						return err
					}
				}
			}
		}
		if options == "cgroup2" && at == "" { // version 2: hand the controllers down
			for _, d := range []string{cgroupRoot, filepath.Dir(dir)} {
				if err := enableControllers(d); err != nil {
					return err
				}
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("join %s: %w", dir, err)
		}
	}
	goruntime.LockOSThread() // the namespace is that of the thread which becomes the new program
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), stageEnv+"=2"))
}

// mountCgroups mounts the hierarchies as the node sees them.
func mountCgroups(all map[string]string) error {
	if at, ok := all["cgroup2"]; ok && at == "" {
		if err := unix.Mount("cgroup2", cgroupRoot, "cgroup2", 0, ""); err != nil {
			return err
		}
		// Only a cgroup without processes of its own hands controllers down.
		leaf := filepath.Join(cgroupRoot, "system")
		if err := os.Mkdir(leaf, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return err
		}
		return enableControllers(cgroupRoot)
	}
	if err := unix.Mount("cgroup", cgroupRoot, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for options, at := range all {
		dir := filepath.Join(cgroupRoot, at)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		kind, data := "cgroup", options
		if options == "cgroup2" {
			kind, data = "cgroup2", ""
		}
		if err := unix.Mount("cgroup", dir, kind, 0, data); err != nil {
			return fmt.Errorf("cgroup %s: %w", options, err)
		}
	}
	return nil
}

func enableControllers(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var all []string
	for _, c := range strings.Fields(string(raw)) {
		all = append(all, "+"+c)
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(strings.Join(all, " ")), 0o644)
}

// removeCgroups removes what is left of them: the processes have ended.
func removeCgroups() {
	all, _ := hierarchies()
	for _, at := range all {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(cgroupRoot, at, cgroupName), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		slices.Reverse(dirs)
		for _, d := range dirs {
			if err := os.Remove(d); err != nil {
				fmt.Fprintln(os.Stderr, "left behind:", err)
			}
		}
	}
}
