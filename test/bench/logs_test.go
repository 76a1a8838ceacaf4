package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/export"
)

func TestParseHighWater(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     uint64
		err      string
	}{
		{"in its place", "Name:\tx\nVmPeak:\t  99 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 7 kB\n", 1234 << 10, ""},
		{"a kernel thread", "Name:\tkthreadd\n", 0, "no VmHWM"},
		{"cut off", "VmHWM:\t 12", 0, "no VmHWM in kB"},
		{"no number", "VmHWM:\t much kB\n", 0, "invalid syntax"},
		{"too large", "VmHWM:\t 18446744073709551615 kB\n", 0, "out of range"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseHighWater([]byte(tc.in))
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			if tc.err == "" && got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
		})
	}
}

func FuzzParseHighWater(f *testing.F) {
	f.Add([]byte("VmHWM:\t    1234 kB\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := parseHighWater(b); err == nil && n%1024 != 0 {
			t.Errorf("%d bytes", n)
		}
	})
}

func TestQuantile(t *testing.T) {
	var values []time.Duration
	for i := range 200 {
		values = append(values, time.Duration(199-i))
	}
	for q, want := range map[float64]time.Duration{0: 0, 0.5: 100, 0.99: 198, 1: 199} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if got := quantile(values[:1], 0.5); got != 199 {
		t.Errorf("of one value: %d", got)
	}
}

// Every way sees every record, and those that match see the same ones match.
func TestWays(t *testing.T) {
	if !installed(journalRemote) {
		t.Skip("not tested: systemd-journal-remote is not installed")
	}
	const records, share = 1000, 0.3
	dir := filepath.Join(t.TempDir(), "journal")
	if err := makeJournal(within(t, time.Minute), dir, export.Options{Records: records, Seed: 1, Failures: share}); err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{wayRead, wayMatch, wayBoth, wayPlain} {
		p, err := goWay(way, dir)
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		if p.Records != records || p.CPU <= 0 || p.Wall <= 0 {
			t.Errorf("%s: %+v", way, p)
		}
		if way != wayRead && (p.Matches < records*share*0.8 || p.Matches > records*share*1.2) {
			t.Errorf("%s: %d of %d match, want about %v", way, p.Matches, records, share)
		}
		if memory := way == wayRead || way == wayBoth; memory != (p.Resident > 0) {
			t.Errorf("%s: %d bytes resident", way, p.Resident)
		}
	}
	for _, args := range [][]string{nil, {wayRead}, {"nonesuch", dir}, {wayRead, t.TempDir()}} {
		if err := logChild(&bytes.Buffer{}, args); err == nil {
			t.Errorf("log-child %q is no error", args)
		}
	}
}

// The whole measurement, in small, with the real agent.
func TestLogsAreMeasured(t *testing.T) {
	runtime.LockOSThread() // what is started dies with the thread that started it
	defer runtime.UnlockOSThread()
	agent := build.Agent(t)
	o := options{agent: agent, records: 2000, tries: 5}
	ctx := within(t, 5*time.Minute)
	t.Run("throughput", func(t *testing.T) {
		if !installed(journalRemote) {
			t.Skip("not tested: systemd-journal-remote is not installed")
		}
		var out bytes.Buffer
		figures, err := benchThroughput(ctx, &out, ownHost(t), o)
		if err != nil {
			t.Fatal(err)
		}
		if len(figures) != 5 {
			t.Errorf("%d figures: %v", len(figures), figures)
		}
		for _, f := range figures {
			if f.value <= 0 {
				t.Errorf("%s was not measured: %v", f.what, f)
			}
		}
		for _, way := range []string{wayRead, wayMatch, wayBoth, wayPlain, wayDaemon} {
			rows := regexp.MustCompile(fmt.Sprintf(`(?m)^ *\d+\.\d{3} .* 2000  %s$`, regexp.QuoteMeta(way))).FindAllString(out.String(), -1)
			if len(rows) != 2 { // one for each share
				t.Errorf("%d rows of %q in\n%s", len(rows), way, out.String())
			}
		}
	})
	t.Run("latency", func(t *testing.T) {
		var out bytes.Buffer
		figures, err := benchLatency(ctx, &out, ownHost(t), o)
		if err != nil {
			t.Fatal(err)
		}
		if figures == nil {
			t.Skip("not tested: no journald of our own here")
		}
		if len(figures) != 4 || figures[0].value <= 0 || figures[1].value < figures[0].value {
			t.Errorf("figures %v", figures)
		}
		for _, want := range []string{"5 messages through a live journald", "p50", "p90", "p99", "longest", "while nothing is logged"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not told in\n%s", want, out.String())
			}
		}
	})
}

// A daemon that cannot start says why.
func TestStartOnAgentThatDies(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, err := startOn(within(t, time.Minute), ownHost(t), as(t, dyingAgent), []string{t.TempDir()}, "")
	if err == nil || errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "no room for me here") {
		t.Errorf("error %v, want its own words", err)
	}
}
