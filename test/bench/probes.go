package main

// This file measures every probe by itself and prints the table of them.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
)

// restFactor is how many times the CPU that a probe took the daemon lets it rest
// at least (internal/agent), so that a dear one runs less often than its period says.
const restFactor = 1000

// row is one line of the table of probes.
type row struct {
	name   string
	cost   cost
	calls  int           // -1: not counted
	period time.Duration // 0 for a baseline
	note   string
}

func benchProbes(ctx context.Context, w io.Writer, h *host.Host, o options) error {
	t, err := newTracer(ctx)
	if err != nil {
		say("no count of system calls: %v", err)
	} else {
		defer func() { _ = t.close() }()
	}
	var rows []row
	for _, s := range subjects(h, o.probe) {
		say("%s", s.name)
		r := row{name: s.name, calls: -1}
		if s.spec != nil {
			r.period = s.spec.Period
		}
		r.cost, err = measure(o.runs, func() error { return s.run(ctx) })
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			r.note = shorten(err.Error())
		} else if t != nil {
			if r.calls, err = t.perRun(ctx, s.name); err != nil {
				say("%v", err)
				r.calls = -1
			}
		}
		rows = append(rows, r)
	}
	return errors.Join(printProbes(w, rows), ctx.Err())
}

// printProbes prints the rows; a probe's CPU is also told as a ratio to the
// yardstick, and as a share of a core at its period.
func printProbes(w io.Writer, rows []row) error {
	var unit time.Duration
	for _, r := range rows {
		if r.name == yardstick && r.note == "" {
			unit = r.cost.cpu
		}
	}
	var b strings.Builder
	fmt.Fprint(&b, "first\twall\tCPU\tCPU, all threads\t× yardstick\tallocations\tKiB\tsystem calls\tperiod\t% of a core\t  what\n")
	var load float64
	for _, r := range rows {
		period, share := "", ""
		if r.period > 0 {
			period = fmt.Sprintf("%g s", r.period.Seconds())
		}
		if r.note != "" {
			fmt.Fprintf(&b, "-\t-\t-\t-\t-\t-\t-\t-\t%s\t-\t  %s: %s\n", period, r.name, r.note)
			continue
		}
		name := r.name
		if name == yardstick {
			name += " (the yardstick)"
		}
		if rest := restFactor * r.cost.cpu; r.period > 0 && rest > r.period {
			name += fmt.Sprintf(" (so dear that the daemon runs it every %.0f s)", rest.Seconds())
			r.period = rest
		}
		if r.period > 0 {
			s := 100 * r.cost.all.Seconds() / r.period.Seconds()
			load += s
			share = fmt.Sprintf("%.4f", s)
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%s\t%d\t%.1f\t%s\t%s\t%s\t  %s\n", micros(r.cost.first), micros(r.cost.wall), micros(r.cost.cpu),
			micros(r.cost.all), ratio(r.cost.cpu, unit), r.cost.allocs, float64(r.cost.bytes)/1024, number(r.calls), period, share, name)
	}
	fmt.Fprintf(&b, "\t\t\t\t\t\t\t\t\t%.4f\t  all probes together\n", load)
	return align(w, tabwriter.AlignRight, b.String())
}
