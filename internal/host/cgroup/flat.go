package cgroup

// This file: the formats of cgroup files (Documentation/admin-guide/cgroup-v2.rst,
// "Interface Files"): a single value, and flat keyed lines.

import (
	"bytes"
	"fmt"
	"strconv"
)

// noLimitFrom: v1 writes "no limit" as the largest page count in bytes, which
// depends on the page size (PAGE_COUNTER_MAX in include/linux/page_counter.h).
// No machine has 2^62 bytes.
const noLimitFrom = 1 << 62

// parseValue reads a file of one number, or of "max", which is NoLimit. An error has
// a copy of b, as that of parseFlat: so the reader's buffer needs no heap.
func parseValue(b []byte) (uint64, error) {
	b = bytes.TrimSpace(b)
	if string(b) == "max" {
		return NoLimit, nil
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("not a number: %.40q", string(b))
	}
	if n >= noLimitFrom {
		return NoLimit, nil
	}
	return n, nil
}

// parseFlat reads lines of "key value" and hands each to take. Keys that take
// does not know are its own affair: kernels add some.
func parseFlat(b []byte, take func(key string, value uint64)) error {
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		key, value, _ := bytes.Cut(line, []byte(" "))
		n, err := strconv.ParseUint(string(value), 10, 64)
		if err != nil {
			return fmt.Errorf("not a key and a number: %.80q", string(line))
		}
		take(string(key), n)
	}
	return nil
}

// value reads a file of one number.
func (t *Tree) value(h *hierarchy, path, name string) (uint64, error) {
	var buf [64]byte
	b, err := t.read(h, path, name, buf[:])
	if err != nil {
		return 0, err
	}
	n, err := parseValue(b)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", h.file(path, name), err)
	}
	return n, nil
}

// flat reads a file of flat keyed lines.
func (t *Tree) flat(h *hierarchy, path, name string, take func(key string, value uint64)) error {
	var buf [512]byte
	b, err := t.read(h, path, name, buf[:])
	if err != nil {
		return err
	}
	if err := parseFlat(b, take); err != nil {
		return fmt.Errorf("%s: %w", h.file(path, name), err)
	}
	return nil
}
