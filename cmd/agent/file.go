package main

// This file: a report in a file that somebody else reads at any moment.

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// replaceFile replaces a file by what is written: who reads it sees the old one or the
// new one, whole. Everybody may read it: node_exporter is not root. A disk that is full
// leaves the old one as it is.
func replaceFile(path string, write func(io.Writer) error) error {
	var content bytes.Buffer
	if err := write(&content); err != nil {
		return err
	}
	// Always the same name, so that one which a kill left behind is written over; and
	// one that node_exporter does not read, which takes *.prom.
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content.Bytes())
	err = errors.Join(err, f.Chmod(0o644), f.Close()) // whatever the umask
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next)
	}
	return err
}
