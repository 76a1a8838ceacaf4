package kubelet

// This file reads the host's files and keeps account of which.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
)

// maxFile is the most that a file of settings may have, in bytes. Real ones have a
// few KiB; a decoded YAML document takes many times its size.
const maxFile = 1 << 20

var errTooLarge = errors.New("larger than 1 MiB")

type reader struct {
	h    *host.Host
	from []string
}

// read reads the host's file name and notes that it counts.
func (r *reader) read(name string) ([]byte, error) {
	b, err := r.h.ReadFile(name)
	if err == nil && len(b) > maxFile {
		err = errTooLarge
	}
	if err != nil {
		return nil, named(err, name)
	}
	if !slices.Contains(r.from, name) {
		r.from = append(r.from, name)
	}
	return b, nil
}

// readIfThere is read without an error for a file that does not exist.
func (r *reader) readIfThere(name string) (b []byte, ok bool, err error) {
	b, err = r.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return b, err == nil, err
}

// exists tells whether the host has the file, even as a link to nothing.
func (r *reader) exists(name string) bool {
	dir, base := path.Split(name)
	_, err := os.Lstat(path.Join(r.h.Locate(dir), base))
	return err == nil
}

// list is the names in the host's folder dir, sorted.
func (r *reader) list(dir string) ([]string, error) {
	names, err := r.h.ReadDirNames(dir)
	if err != nil {
		return nil, named(err, dir)
	}
	slices.Sort(names)
	return names, nil
}

// listIfThere is list without an error for a folder that does not exist.
func (r *reader) listIfThere(dir string) ([]string, error) {
	names, err := r.list(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// glob is the files whose names match a pattern, which may have wildcards in its last
// element, sorted; without one it is the pattern itself.
func (r *reader) glob(pattern string) ([]string, error) {
	dir, base := path.Split(pattern)
	if !strings.ContainsAny(base, "*?[") {
		return []string{pattern}, nil
	}
	names, err := r.listIfThere(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, n := range names {
		if ok, err := path.Match(base, n); err != nil {
			return nil, fmt.Errorf("%s: %w", pattern, err)
		} else if ok && n[0] != '.' {
			files = append(files, dir+n)
		}
	}
	return files, nil
}

// named gives an error the host's path, where it has that of a link's target or ours.
func named(err error, name string) error {
	if pe := new(fs.PathError); errors.As(err, &pe) {
		err = pe.Err
	}
	return &fs.PathError{Op: "read", Path: name, Err: err}
}
