package main

// This file counts what is on the node, so that the figures can be judged.

import (
	"context"
	"fmt"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/host/process"
)

// census is how many processes, threads, open files and cgroups there are, and
// how busy the machine is with other work.
func census(ctx context.Context, h *host.Host) string {
	processes, threads := 0, 0
	err := process.Walk(ctx, h, func(p process.Process) error {
		processes++
		threads += p.Threads
		return nil
	})
	parts := []string{fmt.Sprintf("%d processes, %d threads", processes, threads)}
	if err != nil {
		parts = append(parts, "not all seen: "+err.Error())
	}
	// The kernel's count is of open files, of which many descriptors may share one.
	if b, err := h.ReadString("/proc/sys/fs/file-nr"); err == nil {
		files, _, _ := strings.Cut(b, "\t")
		parts = append(parts, files+" open files")
	}
	if t, err := cgroup.Detect(h); err == nil {
		groups := 0
		if err := t.Walk(ctx, cgroup.ControllerPIDs, func(string) error { groups++; return nil }); err == nil {
			parts = append(parts, fmt.Sprintf("%d cgroups", groups))
		}
	}
	if b, err := h.ReadString("/proc/loadavg"); err == nil {
		load, _, _ := strings.Cut(b, " ")
		parts = append(parts, "load "+load)
	}
	return strings.Join(parts, ", ")
}
