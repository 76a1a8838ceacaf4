package main

// This file watches the daemon read logs: a journal that was written before it
// started, and one that is written while it runs.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/test/journald"
)

const (
	// catchUpWithin is after how long a daemon that does not come to the end is given up.
	catchUpWithin = 5 * time.Minute
	// trySubjects are the messages of one kind, each with a subject of its own:
	// the metrics show 100 of a kind.
	trySubjects = 50
	// tryEvery is how often a page is asked for a message that is under way.
	tryEvery = 3 * time.Millisecond
	// lineEvery is how often something is logged to see what reading it costs.
	lineEvery = 100 * time.Millisecond
	// maxPause before each message, at random, so that they meet the daemon at any
	// moment between two of its looks.
	maxPause = 100 * time.Millisecond
	// showWithin is after how long a message counts as lost.
	showWithin = 10 * time.Second
)

// startOn starts the daemon on the journals in dirs and nothing else; more are
// further lines of its configuration.
func startOn(ctx context.Context, h *host.Host, agent string, dirs []string, more string) (*daemon, error) {
	f, err := os.CreateTemp("", "nodevitals-bench-*.yaml")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is read by the time that the first page is there
	// The records of the bench's journals are of any age.
	_, err = fmt.Fprintf(f, "logs: {journal: [%s], kmsg: false, files: [], lookBack: 87600h}\n%s", strings.Join(dirs, ", "), more)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	d, err := startDaemon(ctx, h, agent, "--config", f.Name())
	if err != nil {
		return nil, err
	}
	if _, err := d.await(ctx, "/metrics", time.Millisecond); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", agent, errors.Join(err, d.end()), lastLine(d.stderr.Bytes()))
	}
	return d, nil
}

// catchUp starts the daemon on a journal and ends it when all has been read.
func (b *logBench) catchUp(ctx context.Context, dir string) (row logRow, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, catchUpWithin, fmt.Errorf("the daemon has not read %s within %v", dir, catchUpWithin))
	defer cancel()
	d, err := startOn(ctx, b.host, b.agent, []string{dir}, "")
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, d.end()) }()
	const counter = `nodevitals_log_records_total{source="journal"}`
	err = d.seek(ctx, 50*time.Millisecond, func(line string) bool {
		if !strings.HasPrefix(line, counter) {
			return false
		}
		n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		return err == nil && int(n) >= b.records
	})
	if err != nil {
		return row, err
	}
	row = logRow{name: wayDaemon, records: b.records, matches: -1, wall: time.Since(d.started)}
	if err := d.look(ctx); err != nil {
		return row, err
	}
	row.cpu = d.cpu
	row.resident, err = highWater(d.cmd.Process.Pid)
	return row, err
}

// seek asks for the metrics until some line of theirs is the one.
func (d *daemon) seek(ctx context.Context, every time.Duration, is func(line string) bool) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		found, err := d.shows(ctx, is)
		if err != nil || found {
			return err
		}
		select {
		case <-tick.C:
		case <-d.ended:
			return fmt.Errorf("it ended by itself: %v: %s", d.cmd.ProcessState, lastLine(d.stderr.Bytes()))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (d *daemon) shows(ctx context.Context, is func(line string) bool) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/metrics", nil)
	if err != nil {
		return false, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	found := false
	text := bufio.NewScanner(resp.Body)
	for text.Scan() {
		found = found || is(text.Text())
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return found, text.Err()
}

// latencies are how long messages took to show, and what the daemon needed for
// reading, in percent of a core: of a journal that nobody writes, of lines that
// all matter, and of those and our asking for each.
type latencies struct {
	ways                 []time.Duration
	idle, lines, scraped float64
}

// benchLatency measures the time from the writing of a message through a live
// journald until it shows in the daemon's metrics.
func benchLatency(ctx context.Context, w io.Writer, h *host.Host, o options) (figures []figure, err error) {
	j, err := journald.Start(ctx, "volatile")
	if errors.Is(err, journald.ErrUnavailable) {
		say("SKIPPED: the time from writing a log line to the metrics: %v", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	var rules strings.Builder
	rules.WriteString("rules:\n")
	rules.WriteString("- {kind: BenchLine, pattern: 'bench line', message: a line, quiet: 1h}\n")
	for k := range (o.tries-1)/trySubjects + 1 {
		fmt.Fprintf(&rules, "- {kind: BenchTry%d, pattern: 'bench try %d number (?P<n>\\d+)', subject: '{n}', message: 'try {n}', quiet: 1h}\n", k, k)
	}
	d, err := startOn(ctx, h, o.agent, j.Dirs(), rules.String())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.end()) }()
	if _, err := d.await(ctx, "/readyz", 5*time.Millisecond); err != nil {
		return nil, err
	}
	l, err := d.measureLatency(ctx, j, o.tries)
	if err != nil {
		return nil, err
	}
	if err := l.print(w); err != nil {
		return nil, err
	}
	const live = "live journald"
	return []figure{
		{what: "log line to /metrics, p50", node: live, value: millisOf(quantile(l.ways, 0.5)), budget: 100, unit: "ms"},
		{what: "log line to /metrics, p99", node: live, value: millisOf(quantile(l.ways, 0.99)), budget: 250, unit: "ms"},
		{what: "daemon, share of a core, nothing logged", node: live, value: l.idle, budget: 0.5, unit: "%"},
		{what: fmt.Sprintf("daemon, share of a core, a failure logged every %v", lineEvery), node: live, value: l.lines, budget: 0.5, unit: "%"},
	}, nil
}

// measureLatency lets the daemon be, then has lines logged, and then sends
// messages, each when the last has shown. What the daemon needs is told apart,
// for our asking is most of its work in the end.
func (d *daemon) measureLatency(ctx context.Context, j *journald.Server, tries int) (l latencies, err error) {
	say("the daemon reads a live journal, for %v without a line and for as long with one every %v", time.Duration(tries)*lineEvery, lineEvery)
	if l.idle, err = d.shareOf(ctx, func() error { return everyLine(ctx, tries, func() error { return nil }) }); err != nil {
		return l, err
	}
	if l.lines, err = d.shareOf(ctx, func() error { return everyLine(ctx, tries, func() error { return j.Send("bench line") }) }); err != nil {
		return l, err
	}
	say("%d messages through a live journald, until they show in /metrics", tries)
	l.scraped, err = d.shareOf(ctx, func() error {
		for n := range tries {
			way, err := d.try(ctx, j, n)
			if err != nil {
				return err
			}
			l.ways = append(l.ways, way)
		}
		return nil
	})
	return l, err
}

// shareOf is what the daemon takes of a core while f runs, in percent.
func (d *daemon) shareOf(ctx context.Context, f func() error) (float64, error) {
	if err := d.look(ctx); err != nil {
		return 0, err
	}
	cpu, start := d.cpu, time.Now()
	if err := f(); err != nil {
		return 0, err
	}
	took := time.Since(start)
	err := d.look(ctx)
	return 100 * (d.cpu - cpu).Seconds() / took.Seconds(), err
}

// everyLine calls f n times, each when it is time for a line.
func everyLine(ctx context.Context, n int, f func() error) error {
	pace := time.NewTicker(lineEvery)
	defer pace.Stop()
	for range n {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func tryMessage(n int) string { return fmt.Sprintf("bench try %d number %d", n/trySubjects, n) }

// try is one message: how long it takes to show.
func (d *daemon) try(ctx context.Context, j *journald.Server, n int) (time.Duration, error) {
	select {
	case <-time.After(rand.N(maxPause)):
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, showWithin, fmt.Errorf("message %d does not show within %v", n, showWithin))
	defer cancel()
	kind, subject := fmt.Sprintf(`kind="BenchTry%d"`, n/trySubjects), fmt.Sprintf(`subject="%d"`, n)
	start := time.Now()
	if err := j.Send(tryMessage(n)); err != nil {
		return 0, err
	}
	err := d.seek(ctx, tryEvery, func(line string) bool {
		return strings.HasPrefix(line, "nodevitals_problem{") && strings.Contains(line, kind) && strings.Contains(line, subject)
	})
	return time.Since(start), err
}

// quantile is the value below which the share q of all lie; it panics if there are none.
func quantile(values []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (l *latencies) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\nlog line to /metrics\t%d messages through a live journald\n", len(l.ways))
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"longest", 1}} {
		fmt.Fprintf(&b, "%s\t%s\n", q.name, millis(quantile(l.ways, q.at)))
	}
	fmt.Fprintf(&b, "CPU while nothing is logged\t%.2f %% of a core\n", l.idle)
	fmt.Fprintf(&b, "CPU with a failure logged every %v\t%.2f %% of a core\n", lineEvery, l.lines)
	fmt.Fprintf(&b, "CPU while scraped every %v\t%.2f %% of a core\n", tryEvery, l.scraped)
	return align(w, 0, b.String())
}
