package agent

// This file: a file that is read at any moment, also after a crash.

import (
	"errors"
	"io/fs"
	"os"
)

// ReplaceFile replaces the file at path, or makes it. Who reads it sees the old content
// or the new one, whole, whatever happens to the machine; an error leaves the old one.
func ReplaceFile(path string, content []byte, mode fs.FileMode) error {
	// Always the same name, so that one which a kill left behind is removed; and one
	// that node_exporter does not read, which takes *.prom.
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()) // whatever the umask
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next)
	}
	return err
}
