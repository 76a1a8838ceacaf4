package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestBudgetTable(t *testing.T) {
	var out strings.Builder
	err := printBudget(&out, []figure{
		{what: "agent --once, wall time", node: "quiet", value: 246.04, budget: 500, unit: "ms", beside: "ps", other: 123.02},
		{what: "daemon, share of a core", node: "quiet", value: 0.5, budget: 0.5, unit: "%"},
		{what: "daemon, resident memory", node: "busy", value: 25.1, budget: 25, unit: "MB", beside: "not measured"},
		{what: "match", node: "logs", value: 2.5, budget: 2, unit: "M/s"},
		{what: "read", node: "logs", value: 0.6, budget: 0.7, unit: "M/s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `
node   what                     measured  budget            beside
quiet  agent --once, wall time  246.0 ms  500.0 ms  within  2.00 × ps (123.0 ms)
quiet  daemon, share of a core  0.500 %   0.500 %   within  -
busy   daemon, resident memory  25.1 MB   25.0 MB   OVER    -
logs   match                    2.5 M/s   2.0 M/s   within  -
logs   read                     0.6 M/s   0.7 M/s   UNDER   -
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestProbeTable(t *testing.T) {
	us := func(n int) time.Duration { return time.Duration(n) * time.Microsecond }
	var out strings.Builder
	err := printProbes(&out, []row{
		{name: yardstick, calls: 400, cost: cost{first: us(900), wall: us(850), cpu: us(800), all: us(800), allocs: 500, bytes: 1 << 20}},
		{name: "threads", calls: -1, period: 10 * time.Second, cost: cost{first: us(90), wall: us(50), cpu: us(40), all: us(100), allocs: 5, bytes: 512}},
		{name: "dear", calls: 9, period: 10 * time.Second, cost: cost{first: us(9), wall: us(20000), cpu: us(20000), all: us(20000)}},
		{name: "conntrack", calls: -1, period: 15 * time.Second, note: "no table here"},
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	if len(lines) != 6 {
		t.Fatalf("%d lines in\n%s", len(lines), out.String())
	}
	for i, want := range []string{
		"first|wall|CPU|CPU, all threads|× yardstick|allocations|KiB|system calls|period|% of a core|what",
		"900.0 µs|850.0 µs|800.0 µs|800.0 µs|1.00|500|1024.0|400|read /proc/*/stat (the yardstick)",
		"90.0 µs|50.0 µs|40.0 µs|100.0 µs|0.05|5|0.5|-|10 s|0.0010|threads",
		"9.0 µs|20000.0 µs|20000.0 µs|20000.0 µs|25.00|0|0.0|9|10 s|0.1000|dear (so dear that the daemon runs it every 20 s)",
		"-|-|-|-|-|-|-|-|15 s|-|conntrack: no table here",
		"0.1010|all probes together",
	} {
		if got := columns(lines[i]); got != want {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, got, want)
		}
	}
}

// columns joins by | what two spaces or more part.
func columns(line string) string {
	var cells []string
	for cell := range strings.SplitSeq(line, "  ") {
		if cell = strings.TrimSpace(cell); cell != "" {
			cells = append(cells, cell)
		}
	}
	return strings.Join(cells, "|")
}

func TestShorten(t *testing.T) {
	for in, want := range map[string]string{
		"short":                  "short",
		"two\nlines\tand a tab":  "two lines and a tab",
		strings.Repeat("µ", 200): strings.Repeat("µ", maxNote-1) + "…",
	} {
		if got := shorten(in); got != want {
			t.Errorf("shorten(%q) = %q, want %q", in, got, want)
		}
	}
}

// Every baseline works on the machine that the tests run on, or says why not.
func TestBaselines(t *testing.T) {
	for _, s := range baselines() {
		if err := s.run(context.Background()); err != nil && !strings.Contains(err.Error(), "no cgroup has the pids controller") {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

func TestSubjects(t *testing.T) {
	h := ownHost(t)
	all := subjects(h, "")
	seen := map[string]bool{}
	for _, s := range all {
		if seen[s.name] {
			t.Errorf("%q is there twice: children find subjects by name", s.name)
		}
		seen[s.name] = true
	}
	if want := len(baselines()) + len(probeNames()); len(all) != want {
		t.Errorf("%d subjects, want %d", len(all), want)
	}
	for _, name := range probeNames() {
		one := subjects(h, name)
		if len(one) != 2 || one[0].name != yardstick || one[1].name != name || !known(name) {
			t.Errorf("-probe %s measures %d subjects", name, len(one))
		}
	}
	if err := run(context.Background(), options{probe: "nonesuch"}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("-probe nonesuch: %v", err)
	}
}
