package cgroup

// This file: visiting every cgroup. One lstat tells a leaf, and a directory's
// entries come with their type, so that 5,000 cgroups with 50 files each cost
// 5,000 system calls and not 250,000.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// maxWalkErrors is how many unreadable cgroups a walk names.
const maxWalkErrors = 5

// Walk visits the path of every cgroup in the hierarchy of controller c, "/"
// first, parents before their children, siblings by name. A cgroup that
// vanishes meanwhile is skipped. One that cannot be listed does not end the
// walk; it is named in the error at the end. An error of visit ends it at once.
func (t *Tree) Walk(ctx context.Context, c Controller, visit func(path string) error) error {
	h, err := t.of(c)
	if err != nil {
		return err
	}
	return t.walk(ctx, h, "/", visit)
}

func (t *Tree) walk(ctx context.Context, h *hierarchy, from string, visit func(path string) error) error {
	var sfs unix.Statfs_t
	if err := unix.Statfs(t.host.Path(h.mount), &sfs); err != nil {
		return &fs.PathError{Op: "statfs", Path: h.mount, Err: err}
	}
	var (
		l      = lister{buf: make([]byte, 32<<10), countsLinks: isCgroupFS(&sfs)}
		stack  = []string{from}
		errs   []error
		failed int
	)
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		path := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		names, unlisted := l.children(t.host.Path(h.file(path, "")))
		if unlisted != nil && absent(unlisted) {
			continue
		}
		if err := visit(path); err != nil {
			return err
		}
		if unlisted != nil {
			if failed++; failed <= maxWalkErrors {
				errs = append(errs, &fs.PathError{Op: "list", Path: h.file(path, ""), Err: unlisted})
			}
			continue
		}
		if path == "/" {
			path = ""
		}
		slices.Sort(names)
		for _, n := range slices.Backward(names) {
			stack = append(stack, path+"/"+n)
		}
	}
	if failed > maxWalkErrors {
		errs = append(errs, fmt.Errorf("and %d more", failed-maxWalkErrors))
	}
	return errors.Join(errs...)
}

func isCgroupFS(fs *unix.Statfs_t) bool {
	return fs.Type == unix.CGROUP2_SUPER_MAGIC || fs.Type == unix.CGROUP_SUPER_MAGIC
}

// lister lists the folders in a folder.
type lister struct {
	buf []byte
	// countsLinks: a folder has two links and one more for each folder in it. It
	// holds for cgroup file systems (kernfs_refresh_inode in fs/kernfs/inode.c),
	// and not for every one that a recording may be unpacked on.
	countsLinks bool
}

// children are the names of the folders in dir.
func (l *lister) children(dir string) ([]string, error) {
	if l.countsLinks {
		var st unix.Stat_t
		if err := unix.Lstat(dir, &st); err != nil || st.Nlink == 2 {
			return nil, err
		}
	}
	var names []string
	err := l.each(dir, func(name string, _ uint64) bool {
		names = append(names, name)
		return true
	})
	return names, err
}

// each visits the folders in dir until visit says no.
func (l *lister) each(dir string, visit func(name string, inode uint64) bool) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		n, err := unix.ReadDirent(fd, l.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return err
		}
		for b := l.buf[:n]; len(b) > 0; {
			e, ok := parseDirent(b)
			if !ok {
				return unix.EBADMSG
			}
			b = b[e.size:]
			if e.folder(dir) && !visit(e.name(), e.inode) {
				return nil
			}
		}
	}
}

// dirent is one struct linux_dirent64 (getdents(2)).
type dirent struct {
	inode uint64
	size  int
	typ   byte
	raw   []byte // the name, without the NUL
}

func parseDirent(b []byte) (e dirent, ok bool) {
	const nameAt = 19
	if len(b) < nameAt {
		return e, false
	}
	e.inode = binary.NativeEndian.Uint64(b)
	e.size = int(binary.NativeEndian.Uint16(b[16:]))
	e.typ = b[18]
	if e.size <= nameAt || e.size > len(b) {
		return e, false
	}
	e.raw = b[nameAt:e.size]
	if i := slices.Index(e.raw, 0); i >= 0 {
		e.raw = e.raw[:i]
	}
	return e, true
}

func (e dirent) name() string { return string(e.raw) }

func (e dirent) folder(dir string) bool {
	if n := len(e.raw); n == 0 || e.raw[0] == '.' && (n == 1 || n == 2 && e.raw[1] == '.') {
		return false
	}
	if e.typ == unix.DT_UNKNOWN { // a file system that does not tell
		var st unix.Stat_t
		return unix.Lstat(dir+"/"+e.name(), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
	}
	return e.typ == unix.DT_DIR
}

// findInode is the path below top of the folder with that inode.
func findInode(top string, inode uint64) (string, bool) {
	l := lister{buf: make([]byte, 32<<10)}
	stack := []string{""}
	for len(stack) > 0 {
		path := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		found := ""
		// What cannot be read cannot be searched: then it is not found.
		_ = l.each(top+path, func(name string, ino uint64) bool {
			if ino == inode {
				found = path + "/" + name
				return false
			}
			stack = append(stack, path+"/"+name)
			return true
		})
		if found != "" {
			return found, true
		}
	}
	return "", false
}
