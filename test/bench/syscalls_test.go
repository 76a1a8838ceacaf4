package main

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const summary = `syscall              calls
---------------- ---------
openat                  12
read                    24
futex                  900
nanosleep               31
close                   12
---------------- ---------
total                  979
`

func TestParseCalls(t *testing.T) {
	cut, _, _ := strings.Cut(summary, "close")
	for _, tc := range []struct {
		name, in string
		want     int
		err      string
	}{
		{"without the runtime's own", summary, 48, ""},
		{"nothing but a total", "total 0\n", 0, ""},
		{"cut off", cut, 0, "no total"},
		{"empty", "", 0, "no total"},
		{"not a number", "read many\ntotal 3\n", 0, ""},
		{"a number below 0", "read -5\ntotal 3\n", 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseCalls([]byte(tc.in))
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			if tc.err == "" && got != tc.want {
				t.Errorf("%d calls, want %d", got, tc.want)
			}
		})
	}
}

func FuzzParseCalls(f *testing.F) {
	f.Add([]byte(summary))
	f.Add([]byte("total 4294967295\nread 4294967295\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := parseCalls(b); err == nil && n < 0 {
			t.Errorf("%d calls", n)
		}
	})
}

// One read of a file is open, read, read, close, and what Go's os package adds.
func TestSystemCallsOfOneRead(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("not tested: strace is not installed")
	}
	if out, err := exec.Command("strace", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("not tested: strace may not trace here: %v: %s", err, out)
	}
	ctx := within(t, time.Minute)
	tr, err := newTracer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.close() })
	got, err := tr.perRun(ctx, "read /proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	if got < 4 || got > 12 {
		t.Errorf("%d system calls, want 4 to 12", got)
	}
	if _, err := tr.perRun(ctx, "no such thing"); err == nil || !strings.Contains(err.Error(), "no subject") {
		t.Errorf("of a subject that is none: %v", err)
	}
}

func TestChildRefuses(t *testing.T) {
	for _, args := range [][]string{nil, {yardstick}, {yardstick, "many"}, {"nothing", "1"}} {
		if err := child(context.Background(), args); err == nil {
			t.Errorf("child %q is no error", args)
		}
	}
}
