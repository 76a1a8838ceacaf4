package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// stuck is a writer that takes nothing until it is released.
type stuck struct {
	release chan struct{}
	bytes.Buffer
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.release
	return s.Buffer.Write(b)
}

// TestLogThatNobodyReads: writing to it never waits, keeps what it can, and says
// how much it did not.
func TestLogThatNobodyReads(t *testing.T) {
	to := &stuck{release: make(chan struct{})}
	p := newPatient(to)
	const written = 3 * keptLines
	for i := range written {
		if n, err := fmt.Fprintf(p, "line %d\n", i); err != nil || n == 0 {
			t.Fatal(n, err)
		}
	}
	p.end(time.Millisecond) // nor does the end
	if _, err := fmt.Fprintln(p, "after the end"); err != nil {
		t.Fatal(err)
	}
	close(to.release)
	p.end(time.Minute)
	lines := strings.Count(to.String(), "\n")
	// One may be in the stuck write.
	if lines < keptLines || lines > keptLines+1 {
		t.Errorf("%d lines of %d were kept, want %d", lines, written, keptLines)
	}
}

// TestLogSaysWhatItDropped when somebody reads it again.
func TestLogSaysWhatItDropped(t *testing.T) {
	p := &patient{lines: make(chan []byte, 2)}
	for range 5 {
		_, _ = fmt.Fprintln(p, "line")
	}
	<-p.lines
	<-p.lines
	_, _ = fmt.Fprintln(p, "more")
	if first, second := <-p.lines, <-p.lines; !strings.Contains(string(first), "3 lines of this log were dropped") || string(second) != "more\n" {
		t.Errorf("%q, %q", first, second)
	}
}
