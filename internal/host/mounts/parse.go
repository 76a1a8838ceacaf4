package mounts

// This file reads mountinfo's lines.

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Parse reads the content of a mountinfo file; name is for messages. Lines that
// are no mounts are left out, and the first of them is the error.
func Parse(name string, b []byte) (Table, error) {
	t := Table{From: name, Mounts: make([]Mount, 0, bytes.Count(b, []byte{'\n'}))}
	var first error
	bad, n := 0, 0
	for line := range bytes.Lines(b) {
		n++
		m, err := parseLine(strings.TrimSuffix(string(line), "\n"))
		if err == nil {
			t.Mounts = append(t.Mounts, m)
			continue
		}
		if bad++; first == nil {
			first = fmt.Errorf("%s, line %d: %w", name, n, err)
		}
	}
	switch {
	case bad > 1:
		return t, fmt.Errorf("%w (and %d more such lines)", first, bad-1)
	case bad == 0 && len(t.Mounts) == 0:
		return t, fmt.Errorf("%s: empty", name)
	}
	return t, first
}

// parseLine reads one line, for instance
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// Fields are split at single spaces, since the source may be empty.
func parseLine(line string) (Mount, error) {
	f := strings.Split(line, " ")
	if len(f) < 6 {
		return Mount{}, errors.New("fewer than 6 fields")
	}
	// Optional fields stand between the sixth and a lone hyphen.
	sep := 6
	for sep < len(f) && f[sep] != "-" {
		sep++
	}
	if len(f) < sep+4 {
		return Mount{}, errors.New("no file system after the separator")
	}
	m := Mount{
		Root: Unescape(f[3]), Point: Unescape(f[4]), Options: f[5],
		FSType: Unescape(f[sep+1]), Source: Unescape(f[sep+2]),
		// A file system that does not escape its options may have spaces here.
		SuperOptions: strings.Join(f[sep+3:], " "),
	}
	var err error
	if m.ID, err = strconv.Atoi(f[0]); err != nil {
		return Mount{}, fmt.Errorf("mount ID %q is no number", f[0])
	}
	if m.Parent, err = strconv.Atoi(f[1]); err != nil {
		return Mount{}, fmt.Errorf("parent ID %q is no number", f[1])
	}
	if m.Major, m.Minor, err = parseDevice(f[2]); err != nil {
		return Mount{}, err
	}
	if !strings.HasPrefix(m.Point, "/") {
		return Mount{}, fmt.Errorf("mount point %q is not absolute", m.Point)
	}
	if m.FSType == "" {
		return Mount{}, errors.New("no file system type")
	}
	return m, nil
}

func parseDevice(s string) (major, minor uint32, err error) {
	a, b, ok := strings.Cut(s, ":")
	ma, err1 := strconv.ParseUint(a, 10, 32)
	mi, err2 := strconv.ParseUint(b, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("device %q is not major:minor", s)
	}
	return uint32(ma), uint32(mi), nil
}

// Unescape undoes the kernel's mangle(), in mountinfo and mountstats: space, tab,
// newline, backslash and # come as a backslash with three octal digits.
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
