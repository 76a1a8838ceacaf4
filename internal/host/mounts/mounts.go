// Package mounts reads the node's mount table and says which of its file
// systems may be asked, and how full they are.
//
// This file holds the table and the look-up of a path in it.
package mounts

import (
	"path"
	"slices"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
)

// The two tables that Read knows, in the order of preference.
const (
	initTable = "/proc/1/mountinfo"
	selfTable = "/proc/self/mountinfo"
)

// Mount is one line of mountinfo, see proc_pid_mountinfo(5). Names are
// unescaped; Options and SuperOptions are as the kernel wrote them.
type Mount struct {
	ID, Parent   int
	Major, Minor uint32 // st_dev of the files in it; for FUSE, Minor is the connection's number
	Root         string // what folder of the file system is mounted
	Point        string // where it is mounted
	Options      string // of this mount point
	FSType       string
	Source       string // device, server:/path or a word without meaning; may be empty
	SuperOptions string // of the file system, whatever the number of its mount points
}

// Table is the mounts of one mount namespace, in the kernel's order.
type Table struct {
	Mounts []Mount
	From   string // the file it was read from
	// Fallback tells that PID 1's table could not be read and our own stands
	// for it: mounts that only the node sees are missing.
	Fallback bool
}

// Read reads the host's mount table: that of PID 1, since it has the node's
// paths even in a container, or else our own. An error about single lines, which
// names the file and the first such line, comes with the table of all the others.
func Read(h *host.Host) (Table, error) {
	b, err := h.ReadFile(initTable)
	if err == nil {
		t, err := Parse(initTable, b)
		return t, err
	}
	b, selfErr := h.ReadFile(selfTable)
	if selfErr != nil {
		return Table{}, err // why the better one failed says more
	}
	t, err := Parse(selfTable, b)
	t.Fallback = true
	t.rebase(h.Root())
	return t, err
}

// Own reads the mount table of this process, with the paths that it can use
// itself.
func Own() (Table, error) {
	self, err := host.New("/")
	if err != nil {
		return Table{}, err
	}
	b, err := self.ReadFile(selfTable)
	if err != nil {
		return Table{}, err
	}
	return Parse(selfTable, b)
}

// rebase turns our own view of a host mounted at root into the host's: what is
// below root loses that prefix, the rest (our container's own) goes.
func (t *Table) rebase(root string) {
	if _, ok := t.mountAt(root); root == "/" || !ok {
		return
	}
	var kept []Mount
	for _, m := range t.Mounts {
		if within(m.Point, root) {
			m.Point = path.Join("/", strings.TrimPrefix(m.Point, root))
			kept = append(kept, m)
		}
	}
	t.Mounts = kept
}

// At is the mount that holds the absolute path p. It follows the tree of mounts as
// the kernel's path walk does, so that of mounts stacked on one point the last one
// counts, and a mount hidden below a later one does not. Symbolic links in p are
// the caller's business.
func (t Table) At(p string) (Mount, bool) {
	p = path.Clean(p)
	if !path.IsAbs(p) {
		return Mount{}, false
	}
	cur, ok := t.top()
	if !ok {
		return Mount{}, false
	}
	// Each step enters another mount; a table whose parents form a circle ends too.
	for range t.Mounts {
		child, ok := t.childOnPath(cur, p)
		if !ok {
			break
		}
		cur = child
	}
	return cur, true
}

// top is the mount at / that is not on another mount of this table. (The kernel
// gives the first of all mounts itself as parent.)
func (t Table) top() (Mount, bool) {
	for _, m := range t.Mounts {
		if m.Point != "/" {
			continue
		}
		onAnother := slices.ContainsFunc(t.Mounts, func(o Mount) bool { return o.ID == m.Parent && o.ID != m.ID })
		if !onAnother {
			return m, true
		}
	}
	return Mount{}, false
}

// childOnPath is the first mount that a walk along p meets in cur: of several, the
// one with the shortest mount point. The others are below it and hidden.
func (t Table) childOnPath(cur Mount, p string) (Mount, bool) {
	var best Mount
	found := false
	for _, m := range t.Mounts {
		if m.Parent != cur.ID || m.ID == cur.ID || !within(p, m.Point) {
			continue
		}
		if !found || len(m.Point) <= len(best.Point) {
			best, found = m, true
		}
	}
	return best, found
}

// mountAt is the visible mount whose mount point is p.
func (t Table) mountAt(p string) (Mount, bool) {
	m, ok := t.At(p)
	return m, ok && m.Point == path.Clean(p)
}

// within tells whether p is dir or below it.
func within(p, dir string) bool {
	if dir == "/" {
		return path.IsAbs(p)
	}
	rest, ok := strings.CutPrefix(p, dir)
	return ok && (rest == "" || rest[0] == '/')
}
