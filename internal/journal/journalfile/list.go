package journalfile

import (
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Finding the files: in the folders that were named, and in those below them
// that are called after a machine (and a journal namespace). Others below them,
// such as remote/, hold the journals of other machines.

// maxFiles bounds how many files of one folder are looked at.
const maxFiles = 10_000

// inode identifies a file while it exists.
type inode struct{ device, number uint64 }

// found is one file of a listing.
type found struct {
	path     string
	inode    inode
	volatile bool
}

// folder is a folder that is watched by its modification time, which changes
// when a file comes, goes or is renamed.
type folder struct {
	fd       int
	modified unix.Timespec
	seen     time.Time // when it was listed
}

// watch opens the folder at path to notice changes.
func watch(path string, now time.Time) (*folder, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return &folder{fd: fd, modified: st.Mtim, seen: now}, nil
}

// changed reports whether the folder must be listed anew.
func (d *folder) changed() bool {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil || st.Nlink == 0 || st.Mtim != d.modified {
		return true
	}
	// The stamp is as coarse as the kernel's tick: a change right after the listing
	// may not have moved it.
	age := d.seen.Sub(time.Unix(st.Mtim.Unix()))
	return age >= 0 && age < time.Second
}

func (d *folder) close() { _ = unix.Close(d.fd) }

// listing is what a look at the folders gave.
type listing struct {
	files   []found
	folders []*folder
	errs    map[string]error // by folder; that one is missing is not an error
}

// look lists the named folders.
func look(dirs []string, now time.Time) listing {
	l := listing{errs: map[string]error{}}
	for _, dir := range dirs {
		l.look(dir, inMemory(dir), true, now)
	}
	return l
}

// inMemory tells journald's folder in memory by its place.
func inMemory(dir string) bool { return strings.HasSuffix(filepath.Clean(dir), "/run/log/journal") }

func (l *listing) look(dir string, volatile, descend bool, now time.Time) {
	w, err := watch(dir, now)
	if err == nil {
		l.folders = append(l.folders, w)
	}
	var names []string
	if err == nil {
		names, err = readNames(dir)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.errs[dir] = err
		}
		return
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		switch {
		case strings.HasSuffix(name, ".journal") || strings.HasSuffix(name, ".journal~"):
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil {
				continue // gone meanwhile
			}
			l.files = append(l.files, found{path, inode{st.Dev, st.Ino}, volatile})
		case descend && machineFolder(name):
			l.look(path, volatile, false, now)
		}
	}
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(maxFiles)
	if errors.Is(err, io.EOF) {
		err = nil // an empty folder
	}
	return names, err
}

// machineFolder: 32 hexadecimal digits, and the name of a namespace behind a dot.
func machineFolder(name string) bool {
	id, _, _ := strings.Cut(name, ".")
	_, err := hex.DecodeString(id)
	return len(id) == 32 && err == nil
}
