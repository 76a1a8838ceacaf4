package main

// This file measures how fast log records are read and understood: by our own
// reader and rules, by the daemon, and by what everyone knows, from the same
// journal files in the same run.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/test/export"
)

const (
	journalRemote = "/lib/systemd/systemd-journal-remote"
	// rare and frequent are the shares of records that tell of a failure: those of
	// a healthy node and of a log storm.
	rare, frequent = 0.001, 0.3
	// The ways that other programs go; see goWay for ours.
	wayDaemon     = "the daemon, from its start, with all probes"
	wayJournalctl = "journalctl -o cat"
	// logRuns is how often each of our own ways is measured; the median counts.
	logRuns = 3
)

// logRow is one way to go through the records.
type logRow struct {
	name      string
	records   int
	matches   int // -1: not told
	wall, cpu time.Duration
	resident  uint64 // at its highest, in bytes; 0: not told
}

// perCPU is how many records it takes a CPU-second to go through, in millions.
func (r logRow) perCPU() float64 { return float64(r.records) / r.cpu.Seconds() / 1e6 }

// logBench is the folder with the journals.
type logBench struct {
	host    *host.Host
	agent   string
	dir     string
	records int
}

// benchLogs makes the journals, goes through them, and then measures how soon a
// line shows. What the machine lacks for it is told, and left out.
func benchLogs(ctx context.Context, w io.Writer, h *host.Host, o options) ([]figure, error) {
	throughput, err := benchThroughput(ctx, w, h, o)
	if err != nil {
		return nil, err
	}
	latency, err := benchLatency(ctx, w, h, o)
	return append(throughput, latency...), err
}

func benchThroughput(ctx context.Context, w io.Writer, h *host.Host, o options) (figures []figure, err error) {
	if _, err := exec.LookPath(journalRemote); err != nil {
		say("SKIPPED: no journal files can be made: %v; test/install-deps installs it", err)
		return nil, nil
	}
	dir, err := os.MkdirTemp("", "nodevitals-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &logBench{host: h, agent: o.agent, dir: dir, records: o.records}
	if err := b.makeJournals(ctx); err != nil {
		return nil, err
	}
	for _, share := range []float64{rare, frequent} {
		f, err := b.goThrough(ctx, w, share)
		if err != nil {
			return nil, err
		}
		figures = append(figures, f...)
	}
	return figures, nil
}

func (b *logBench) journal(share float64) string { return filepath.Join(b.dir, percent(share)) }

func percent(share float64) string { return fmt.Sprintf("%g%%", 100*share) }

// makeJournals makes one journal for each share, both at once: systemd takes some
// two minutes to write a million records.
func (b *logBench) makeJournals(ctx context.Context) error {
	say("systemd-journal-remote writes two journals of %d records", b.records)
	done := make(chan error)
	shares := []float64{rare, frequent}
	for i, share := range shares {
		go func() {
			err := makeJournal(ctx, b.journal(share), export.Options{
				Records: b.records, Seed: uint64(i + 1), Long: 0.01, Failures: share,
				Progress: func(n int) { say("the one with %s failures: %d records", percent(share), n) },
			})
			if err == nil {
				say("the one with %s failures is there", percent(share))
			}
			done <- err
		}()
	}
	var errs []error
	for range shares {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

func makeJournal(ctx context.Context, dir string, o export.Options) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, journalRemote, "-o", filepath.Join(dir, "system.journal"), "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	err = errors.Join(export.Generate(in, o), in.Close())
	if wait := cmd.Wait(); wait != nil {
		err = fmt.Errorf("%s: %w: %s", journalRemote, wait, lastLine([]byte(stderr.String())))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// goThrough goes through one journal in every way and prints the table.
func (b *logBench) goThrough(ctx context.Context, w io.Writer, share float64) ([]figure, error) {
	dir := b.journal(share)
	var rows []logRow
	for _, way := range []string{wayRead, wayMatch, wayBoth, wayPlain} {
		say("logs, %s failures: %s", percent(share), way)
		row, err := measureWay(ctx, way, dir)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	say("logs, %s failures: the daemon", percent(share))
	daemon, err := b.catchUp(ctx, dir)
	if err != nil {
		return nil, err
	}
	rows = append(rows, daemon)
	if installed("journalctl") {
		say("logs, %s failures: journalctl", percent(share))
		row, err := b.journalctl(ctx, dir)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	} else {
		say("SKIPPED: journalctl is not installed")
	}
	if err := b.print(w, share, rows); err != nil {
		return nil, err
	}
	state := "logs " + percent(share)
	figures := []figure{{what: "daemon, resident memory while it catches up", node: state, value: float64(daemon.resident) / 1e6, budget: 40, unit: "MB"}}
	if share == rare {
		rate := func(way string) float64 {
			if i := slices.IndexFunc(rows, func(r logRow) bool { return r.name == way }); i >= 0 {
				return rows[i].perCPU()
			}
			return 0
		}
		speed := func(what, way string, budget float64, beside string) figure {
			return figure{what: what, node: state, value: rate(way), budget: budget, unit: "M/CPU-s", beside: beside, other: rate(beside)}
		}
		figures = append(figures, speed("log records read", wayRead, 1, wayJournalctl), speed("log records matched", wayMatch, 2, wayPlain),
			speed("log records read and matched", wayBoth, 0.7, wayJournalctl))
	}
	return figures, nil
}

// measureWay runs a child of ours that goes through dir in one way, several
// times, and returns the run of median CPU.
func measureWay(ctx context.Context, way, dir string) (logRow, error) {
	self, err := os.Executable()
	if err != nil {
		return logRow{}, err
	}
	runs := map[time.Duration]logRow{}
	var cpus []time.Duration
	for range logRuns {
		out, err := exec.CommandContext(ctx, self, logChildCommand, way, dir).Output()
		if err != nil {
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				err = fmt.Errorf("%w: %s", err, lastLine(exit.Stderr))
			}
			return logRow{}, fmt.Errorf("%s: %w", way, err)
		}
		var p passage
		if err := json.Unmarshal(out, &p); err != nil {
			return logRow{}, fmt.Errorf("%s: %w", way, err)
		}
		runs[p.CPU] = logRow{way, p.Records, p.Matches, p.Wall, p.CPU, p.Resident}
		cpus = append(cpus, p.CPU)
	}
	return runs[median(cpus)], nil
}

func (b *logBench) journalctl(ctx context.Context, dir string) (logRow, error) {
	cmd := exec.CommandContext(ctx, "journalctl", "-o", "cat", "--no-pager", "--directory", dir) // to /dev/null
	var stderr strings.Builder
	cmd.Stderr = &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return logRow{}, fmt.Errorf("journalctl: %w: %s", err, lastLine([]byte(stderr.String())))
	}
	// ru_maxrss is no use: it begins with what we had when we forked (getrusage(2)).
	return logRow{
		name: wayJournalctl, records: b.records, matches: -1,
		wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
	}, nil
}

// print prints the rows; records per CPU-second are also told as a ratio to
// journalctl's, and to those of the plain way.
func (b *logBench) print(w io.Writer, share float64, rows []logRow) error {
	rate := map[string]float64{}
	for _, r := range rows {
		rate[r.name] = r.perCPU()
	}
	times := func(r logRow, yardstick string) string {
		if rate[yardstick] == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f", r.perCPU()/rate[yardstick])
	}
	var t strings.Builder
	fmt.Fprintf(&t, "\nM/s\tM/CPU-s\t× journalctl\t× plain\tresident\tmatching\trecords\t  logs of which %s tell of a failure\n", percent(share))
	for _, r := range rows {
		resident, matching := "-", "-"
		if r.resident > 0 {
			resident = fmt.Sprintf("%.1f MB", float64(r.resident)/1e6)
		}
		if r.matches >= 0 {
			matching = fmt.Sprintf("%.2f %%", 100*float64(r.matches)/float64(r.records))
		}
		fmt.Fprintf(&t, "%.3f\t%.3f\t%s\t%s\t%s\t%s\t%d\t  %s\n", float64(r.records)/r.wall.Seconds()/1e6, r.perCPU(),
			times(r, wayJournalctl), times(r, wayPlain), resident, matching, r.records, r.name)
	}
	return align(w, tabwriter.AlignRight, t.String())
}
