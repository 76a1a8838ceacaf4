package logs

// This file floods the agent with lines that all matter.

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	stormKind problem.Kind = "StormLine"
	// mostSubjects are those that one kind may have: 500, and "other" for the rest.
	mostSubjects = 501
)

// stormBench is a bench whose rule takes the subject from the line.
func stormBench(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	config, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	config = append(config, fmt.Sprintf("  - {kind: %s, pattern: 'storm over (?P<place>\\w+)', subject: '{place}', quiet: 24h, message: a storm}\n", stormKind)...)
	if err := os.WriteFile(b.config, config, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.log, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return b
}

// storm appends n lines over place(i), rate of them a second.
func (b *bench) storm(n, rate int, place func(i int) string) {
	b.t.Helper()
	f, err := os.OpenFile(b.log, os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	const beat = 10 * time.Millisecond
	tick := time.NewTicker(beat)
	defer tick.Stop()
	w := bufio.NewWriter(f)
	perBeat := rate / int(time.Second/beat)
	for i := range n {
		if i%perBeat == 0 {
			<-tick.C
		}
		_, _ = fmt.Fprintf(w, "%s host app: storm over %s\n", time.Now().Format(time.RFC3339Nano), place(i))
	}
	if err := w.Flush(); err != nil {
		b.t.Fatal(err)
	}
}

// storms are the problems of the storm, and how many lines they stand for.
func (l *life) storms() (problems []problem.Problem, lines int) {
	l.b.t.Helper()
	for _, p := range l.status().Problems {
		if p.Kind == stormKind {
			problems = append(problems, p)
			lines += int(p.Lines)
		}
	}
	return problems, lines
}

// series counts the storm's series in the metrics.
func (l *life) series() int {
	l.b.t.Helper()
	resp, err := http.Get(l.url + "/metrics")
	if err != nil {
		l.b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		l.b.t.Fatalf("%s: %v", resp.Status, err)
	}
	return strings.Count(string(body), fmt.Sprintf("nodevitals_problem{kind=%q", stormKind))
}

// resident is what /proc/PID/status says of the agent's memory, for the log.
func (l *life) resident() string {
	l.b.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.cmd.Process.Pid))
	if err != nil {
		l.b.t.Fatal(err)
	}
	return strings.Join(regexp.MustCompile(`VmHWM:.*|VmRSS:.*`).FindAllString(string(status), -1), ", ")
}

// TestStorm: 10,000 lines a second about one thing are one problem that stands
// for all of them, also in the metrics.
func TestStorm(t *testing.T) {
	const n = 30_000
	b := stormBench(t)
	life := b.start()
	b.storm(n, 10_000, func(int) string { return "sea" })
	var problems []problem.Problem
	life.await("all lines of the storm", func() bool {
		var lines int
		problems, lines = life.storms()
		return lines >= n
	})
	if len(problems) != 1 || problems[0].Subject != "sea" || problems[0].Lines != n {
		t.Errorf("%d problems, want one with %d lines: %+v", len(problems), n, problems)
	}
	if got := life.series(); got != 1 {
		t.Errorf("%d series in the metrics, want one", got)
	}
	t.Logf("after %d lines: %s", n, life.resident())
	life.end(syscall.SIGTERM)
}

// TestStormOfSubjects: lines about ever new things do not grow without bound into
// problems, series or the state file, and none is forgotten in the count.
func TestStormOfSubjects(t *testing.T) {
	const n = 100_000
	b := stormBench(t)
	life := b.start()
	b.storm(n, 50_000, func(i int) string { return fmt.Sprintf("place%d", i) })
	var problems []problem.Problem
	life.await("all lines of the storm", func() bool {
		var lines int
		problems, lines = life.storms()
		return lines >= n
	})
	other, lines := 0, 0
	for _, p := range problems {
		lines += int(p.Lines)
		if p.Subject == "other" {
			other++
		}
	}
	if len(problems) != mostSubjects || other != 1 || lines != n {
		t.Errorf("%d problems, %d of them other, with %d lines; want %d, 1 and %d", len(problems), other, lines, mostSubjects, n)
	}
	if got := life.series(); got < 1 || got > 101 {
		t.Errorf("%d series in the metrics, want at most 100 and other", got)
	}
	t.Logf("after %d lines with a subject each: %s", n, life.resident())

	// It still sees what comes next, and ends when it is told.
	stop := b.writing(1 << 40)
	life.await("other lines", func() bool { return life.lines() > 100 })
	stop()
	life.end(syscall.SIGTERM)
	if !life.cmd.ProcessState.Success() {
		t.Errorf("it ended with %v", life.cmd.ProcessState)
	}
	state, err := os.Stat(b.state)
	if err != nil {
		t.Fatal(err)
	}
	if state.Size() > 1<<20 {
		t.Errorf("the state file has %d bytes", state.Size())
	}
}
