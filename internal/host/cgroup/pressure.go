package cgroup

// This file: pressure stall information, of cgroups and of the node
// (Documentation/accounting/psi.rst).

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Pressure is how long tasks waited for a resource.
type Pressure struct {
	Some Stall // at least one task waited
	Full Stall // all tasks that had something to do waited
	// HasFull: the cpu resource has no line "full" before Linux 5.13.
	HasFull bool
}

// Stall is a share of time, in percent over the last 10, 60 and 300 seconds, and
// the sum since the start.
type Stall struct {
	Avg10, Avg60, Avg300 float64
	Total                time.Duration
}

// Pressure reads RESOURCE.pressure of a cgroup: cpu, io or memory. ErrAbsent on
// v1, or if the kernel does not keep it (psi=0).
func (t *Tree) Pressure(path, resource string) (Pressure, error) {
	if t.unified == nil {
		return Pressure{}, fmt.Errorf("%w: cgroup v1 has no pressure files", ErrAbsent)
	}
	name := resource + ".pressure"
	var buf [256]byte
	b, err := t.read(t.unified, path, name, buf[:])
	if errors.Is(err, unix.EOPNOTSUPP) {
		return Pressure{}, fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	if err != nil {
		return Pressure{}, err
	}
	p, err := ParsePressure(b)
	if err != nil {
		return Pressure{}, fmt.Errorf("%s: %w", t.unified.file(path, name), err)
	}
	return p, nil
}

// ParsePressure reads a cgroup's pressure file or one of /proc/pressure:
//
//	some avg10=0.12 avg60=0.03 avg300=0.00 total=2519252
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=1861038
//
// The totals are microseconds.
func ParsePressure(b []byte) (p Pressure, err error) {
	hasSome := false
	for line := range bytes.Lines(b) {
		fields := strings.Fields(string(line))
		if len(fields) == 0 {
			continue
		}
		s, err := parseStall(fields[1:])
		if err != nil {
			return Pressure{}, fmt.Errorf("%w: %.100q", err, line)
		}
		switch fields[0] {
		case "some":
			p.Some, hasSome = s, true
		case "full":
			p.Full, p.HasFull = s, true
		}
	}
	if !hasSome {
		return Pressure{}, fmt.Errorf("no line \"some\" in %.100q", b)
	}
	return p, nil
}

func parseStall(fields []string) (s Stall, err error) {
	seen := 0
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		if key == "total" {
			us, err := strconv.ParseUint(value, 10, 64)
			if err != nil || us > math.MaxInt64/1000 {
				return s, errors.New("not a time in microseconds")
			}
			s.Total = time.Duration(us) * time.Microsecond
			seen++
			continue
		}
		var avg *float64
		switch key {
		case "avg10":
			avg = &s.Avg10
		case "avg60":
			avg = &s.Avg60
		case "avg300":
			avg = &s.Avg300
		default:
			continue
		}
		*avg, err = strconv.ParseFloat(value, 64)
		// Written so that NaN fails, too.
		if err != nil || !(*avg >= 0 && *avg <= 1000) {
			return s, errors.New("not a percentage")
		}
		seen++
	}
	if seen != 4 {
		return s, errors.New("not a line of avg10, avg60, avg300 and total")
	}
	return s, nil
}
