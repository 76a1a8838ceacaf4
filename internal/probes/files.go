package probes

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// Files watches the kernel's table of open files.
type Files struct{ Thresholds FilesThresholds }

// FilesThresholds are the thresholds of Files.
type FilesThresholds struct {
	// Table is the share of fs.file-max in use.
	Table Levels `yaml:"table"`
}

// NewFiles is the probe with its default thresholds.
func NewFiles() *Files {
	// At file-max every open of an unprivileged process fails (ENFILE); 80 %
	// leaves time to find the leak, at 95 % a burst of connections ends it.
	return &Files{FilesThresholds{Table: Levels{Warning: 80, Critical: 95}}}
}

// Name implements Probe.
func (*Files) Name() string { return "files" }

// Kinds implements Probe.
func (*Files) Kinds() []problem.Kind { return []problem.Kind{problem.SystemFileTableNearLimit} }

// Run implements Probe.
func (p *Files) Run(_ context.Context, n *Node) (problem.Result, error) {
	raw, err := n.Host.ReadFile("/proc/sys/fs/file-nr")
	if err != nil {
		return problem.Result{}, err
	}
	table, err := parseFileNr(raw)
	if err != nil {
		return problem.Result{}, err
	}
	return evaluateFiles(table, p.Thresholds), nil
}

// fileTable is the kernel's table of open files.
type fileTable struct{ open, max uint64 }

// parseFileNr parses /proc/sys/fs/file-nr: allocated handles, free ones (always
// 0 since Linux 2.6), and the maximum (proc_sys_fs(5)).
func parseFileNr(raw []byte) (fileTable, error) {
	f := strings.Fields(string(raw))
	if len(f) != 3 {
		return fileTable{}, fmt.Errorf("/proc/sys/fs/file-nr: %d fields in %q, want 3", len(f), bounded(raw))
	}
	var t fileTable
	var err error
	if t.open, err = strconv.ParseUint(f[0], 10, 64); err != nil {
		return fileTable{}, fmt.Errorf("/proc/sys/fs/file-nr: %w", err)
	}
	if t.max, err = strconv.ParseUint(f[2], 10, 64); err != nil {
		return fileTable{}, fmt.Errorf("/proc/sys/fs/file-nr: %w", err)
	}
	return t, nil
}

func evaluateFiles(t fileTable, th FilesThresholds) problem.Result {
	m := problem.Measurement{Resource: "file_handles", Used: float64(t.open), Unit: problem.Files}
	// systemd raises file-max to 2^63-1: no limit at all.
	if t.max < math.MaxInt64 {
		m.Max = float64(t.max)
	}
	r := problem.Result{Measurements: []problem.Measurement{m}}
	if sev := th.Table.Severity(m.Fraction()); sev != 0 {
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: problem.SystemFileTableNearLimit, State: problem.Wrong, Severity: sev,
			Message:  "the system's file table is at " + problem.Share(m),
			Evidence: []string{fmt.Sprintf("/proc/sys/fs/file-nr: %d open, file-max %d", t.open, t.max)},
			Touches:  []problem.Ref{problem.RefNode},
			Refused:  t.open >= t.max,
		})
	}
	return r
}
