package probes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// MountTable watches how many mounts the host has.
type MountTable struct{ Thresholds MountTableThresholds }

// MountTableThresholds are the thresholds of MountTable.
type MountTableThresholds struct {
	// Mounts is the number of mounts from which a warning begins.
	Mounts float64 `yaml:"mounts"`
	// Full is the share of fs.mount-max, in percent, from which it is critical.
	Full float64 `yaml:"full"`
}

// NewMountTable is the probe with its default thresholds.
func NewMountTable() *MountTable {
	return &MountTable{MountTableThresholds{
		// systemd, kubelet and the runtime read the whole table at each change:
		// 2 MiB at 10,000 mounts, where 110 pods with ten each make 1,100.
		Mounts: 10_000,
		// A mount beyond fs.mount-max (100,000 by default) fails with ENOSPC; a
		// mount that propagates into itself doubles the table with each pod.
		Full: 90,
	}}
}

// Name implements Probe.
func (*MountTable) Name() string { return "mounttable" }

// Kinds implements Probe.
func (*MountTable) Kinds() []problem.Kind { return []problem.Kind{problem.MountTableLarge} }

// Run implements Probe.
func (p *MountTable) Run(_ context.Context, n *Node) (problem.Result, error) {
	file := "/proc/1/mountinfo"
	count, err := countLines(n.Host, file)
	if errors.Is(err, os.ErrPermission) && n.Host.Own() {
		file = "/proc/self/mountinfo"
		count, err = countLines(n.Host, file)
	}
	if err != nil {
		return problem.Result{}, err
	}
	most, err := readUint(n.Host, "/proc/sys/fs/mount-max")
	if err != nil && !errors.Is(err, os.ErrNotExist) { // new in Linux 4.9
		return problem.Result{}, err
	}
	r := evaluateMountTable(file, count, most, p.Thresholds)
	if len(r.Verdicts) > 0 {
		// Only now is the table worth being taken apart. One that is too large for
		// that is told of all the same.
		if table, _ := mounts.Read(n.Host); len(table.Mounts) > 0 {
			r.Verdicts[0].Holders = mountHolders(table.Mounts)
		}
	}
	return r, nil
}

// countLines counts the lines of a file without holding it: the table may be larger
// than any file that is read whole.
func countLines(h *host.Host, file string) (lines uint64, err error) {
	err = streamFile(h, file, func(piece []byte) bool {
		lines += uint64(bytes.Count(piece, []byte{'\n'}))
		return true
	})
	return lines, err
}

// evaluateMountTable judges the number of lines in file; most is 0 where the
// kernel has no limit.
func evaluateMountTable(file string, count, most uint64, th MountTableThresholds) problem.Result {
	m := problem.Measurement{Resource: "mounts", Used: float64(count), Max: float64(most), Unit: problem.Mounts}
	r := problem.Result{Measurements: []problem.Measurement{m}}
	var sev problem.Severity
	switch {
	case most > 0 && m.Fraction()*100 >= th.Full:
		sev = problem.Critical
	case m.Used >= th.Mounts:
		sev = problem.Warning
	default:
		return r
	}
	r.Verdicts = []problem.Verdict{{
		Kind: problem.MountTableLarge, State: problem.Wrong, Severity: sev,
		Message:  fmt.Sprintf("the host has %s mounts, where fs.mount-max is %d", coarse(count), most),
		Evidence: []string{fmt.Sprintf("%s: %d lines; /proc/sys/fs/mount-max: %d", file, count, most)},
		Touches:  []problem.Ref{problem.RefNode},
		Refused:  most > 0 && count >= most,
	}}
	return r
}

// prefixDepth is how deep the folder is that mounts are counted by: as deep as
// /var/lib/kubelet/pods.
const prefixDepth = 4

// mountHolders counts the mounts by the folder that they are in, the most first.
func mountHolders(all []mounts.Mount) []problem.Holder {
	counts := map[string]float64{}
	for _, m := range all {
		parts := strings.Split(m.Point, "/")
		counts[strings.Join(parts[:min(len(parts), prefixDepth+1)], "/")]++
	}
	var hs []problem.Holder
	for prefix, n := range counts {
		if n > 1 { // a mount by itself is not what makes the table large
			hs = append(hs, problem.Holder{Owner: "mounts at " + prefix, Amount: n, Unit: problem.Mounts})
		}
	}
	return topHolders(hs)
}
