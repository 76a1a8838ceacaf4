package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// poll collects the lines of one poll.
func poll(t *testing.T, l *TextLog) []string {
	t.Helper()
	var lines []string
	if err := l.Poll(func(b []byte) { lines = append(lines, string(b)) }); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return lines
}

func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, l *TextLog, want ...string) {
	t.Helper()
	if got := poll(t, l); !slices.Equal(got, want) {
		t.Fatalf("lines %q, want %q", got, want)
	}
}

// TestCursorInAPoll: while a line is handed over, the cursor stands before it, also where
// it began in an earlier poll or was read in pieces.
func TestCursorInAPoll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	want := []string{"a", "", "began before", strings.Repeat("long ", 9000), "b", "c"}
	write(t, path, "a\n\nbegan ")
	l, err := NewTextLog(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := 0
	check := func([]byte) {
		again, err := ResumeTextLog(path, l.Cursor())
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		left := poll(t, again)
		if all := min(len(left), len(want)-n); !slices.Equal(left, want[n:][:all]) || all == 0 {
			t.Errorf("before line %d a cursor of it leads to %q", n, left)
		}
		n++
	}
	for _, text := range []string{"", "before\n" + want[3] + "\nb\nc\n"} {
		write(t, path, text)
		if err := l.Poll(check); err != nil {
			t.Fatal(err)
		}
	}
	if n != len(want) {
		t.Errorf("%d lines", n)
	}
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "old\n")
	l, err := NewTextLog(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	expect(t, l)
	write(t, path, "a\nb\r\nha")
	expect(t, l, "a", "b")
	write(t, path, "lf\n")
	expect(t, l, "half")
	// Renamed: its tail is read, then the new file.
	write(t, path, "tail\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path+".1", "written to the old one\nno end")
	write(t, path, "new\n")
	expect(t, l, "tail", "written to the old one", "no end", "new")
	// Truncated in place.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write(t, path, "x\n")
	expect(t, l, "x")
	// Gone, and back.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect(t, l)
	write(t, path, "back\n")
	expect(t, l, "back")
}

// TestResumeOfAnAbsentFile: a file that was not there when the reader stopped, and
// came and was rotated before it went on, is read from its first line.
func TestResumeOfAnAbsentFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path+".9", "of long ago\n")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path+".9", old, old); err != nil {
		t.Fatal(err)
	}
	l, err := NewTextLog(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, l)
	cursor := l.Cursor()
	write(t, path, "first\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path, "second\n")
	again, err := ResumeTextLog(path, cursor)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	expect(t, again, "first", "second")
}

// TestRotatedTwiceBetweenPolls: the file in the middle is read, too.
func TestRotatedTwiceBetweenPolls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "a\n")
	l, err := NewTextLog(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	expect(t, l, "a")
	write(t, path, "b\n")
	old := time.Now().Add(-time.Hour)
	for i, name := range []string{".2", ".1"} {
		if err := os.Chtimes(path, old, old.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path, path+name); err != nil {
			t.Fatal(err)
		}
		write(t, path, fmt.Sprintln("after", name))
	}
	expect(t, l, "b", "after .2", "after .1")
}

func TestAbsentFileIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := NewTextLog(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, l)
	write(t, path, "first\n")
	// Rotated before anybody looked.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path, "second\n")
	expect(t, l, "first", "second")
}

func TestLongLinesAreCutNotLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := NewTextLog(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "a\n"+strings.Repeat("x", maxLine+10)+"\n"+strings.Repeat("x", 3*maxLine)+"\nnext\n")
	lines := poll(t, l)
	if len(lines) != 4 || len(lines[1]) != maxLine || len(lines[2]) != maxLine || lines[3] != "next" {
		t.Fatalf("%d lines", len(lines))
	}
}

func TestLookBackDropsTheHalfLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for i := range 1000 {
		write(t, path, fmt.Sprintf("line %d\n", i))
	}
	l, err := NewTextLog(path, 30)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, l, "line 997", "line 998", "line 999")
}

func TestNotARegularFile(t *testing.T) {
	if _, err := NewTextLog(t.TempDir(), 0); err == nil {
		t.Error("a folder was opened as a log")
	}
}

func TestStamp(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 30, 0, 0, time.UTC)
	for _, tc := range []struct{ line, want string }{
		{"2025-12-31T23:59:58.5Z host x", "2025-12-31T23:59:58.5Z"},
		{"2025-12-31T23:59:58.123456+01:00 host x", "2025-12-31T22:59:58.123456Z"},
		{"2025-12-31T23:59:58Z host x", "2025-12-31T23:59:58Z"},
		{"Dec 31 23:59:58 host kernel: x", "2025-12-31T23:59:58Z"},
		{"Jan  1 13:30:00 a clock or zone ahead of ours", "2026-01-01T13:30:00Z"},
		{"Jan  1 00:10:00 host kernel: x", "2026-01-01T00:10:00Z"},
		{"E1231 23:59:58.000001    1 x.go:1] y", "2025-12-31T23:59:58.000001Z"},
		{"no time at all", ""},
		{"", ""},
		{"I9999 99:99:99.000000 x", ""},
	} {
		got, ok := Stamp([]byte(tc.line), now)
		if ok != (tc.want != "") || ok && got.UTC().Format(time.RFC3339Nano) != tc.want {
			t.Errorf("%q: %v %v, want %s", tc.line, got, ok, tc.want)
		}
	}
}

func FuzzStamp(f *testing.F) {
	f.Add([]byte("Dec 31 23:59:58 host kernel: x"))
	f.Fuzz(func(_ *testing.T, line []byte) { Stamp(line, time.Unix(1.7e9, 0)) })
}

// TestResume: a reader that was stopped goes on at the line where it stopped.
func TestResume(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, path string)
		want   []string
	}{
		{"more was written", func(t *testing.T, path string) { write(t, path, "lf\nc\n") }, []string{"half", "c"}},
		{"nothing was written", func(*testing.T, string) {}, nil},
		{"rotated", func(t *testing.T, path string) {
			write(t, path, "lf\n")
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
			write(t, path, "new\n")
		}, []string{"half", "new"}},
		{"rotated twice", func(t *testing.T, path string) {
			write(t, path, "lf\n")
			old := time.Now().Add(-time.Hour)
			for i, step := range []struct{ from, to, next string }{{path, path + ".2", "between\n"}, {path, path + ".1", "new\n"}} {
				if err := os.Chtimes(step.from, old, old.Add(time.Duration(i)*time.Minute)); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(step.from, step.to); err != nil {
					t.Fatal(err)
				}
				write(t, path, step.next)
			}
			write(t, path+".3.gz", "compressed\n")
			write(t, path+"rotate", "somebody else's\n")
		}, []string{"half", "between", "new"}},
		{"truncated", func(t *testing.T, path string) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
			write(t, path, "x\n")
		}, []string{"x"}},
		{"another file", func(t *testing.T, path string) {
			write(t, path+".new", "other\n")
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}, []string{"other"}},
		{"gone", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			write(t, path, "a\nb\nha")
			// What stands beside it: another log, and a version of it that was done with long ago.
			write(t, filepath.Join(filepath.Dir(path), "auth"), "another\n")
			write(t, path+".9", "long ago\n")
			if err := os.Chtimes(path+".9", time.Time{}, time.Now().Add(-48*time.Hour)); err != nil {
				t.Fatal(err)
			}
			l, err := NewTextLog(path, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, l, "a", "b")
			cursor := l.Cursor()
			l.Close()
			tc.change(t, path)
			again, err := ResumeTextLog(path, cursor)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			expect(t, again, tc.want...)
		})
	}
}

// FuzzSplit: however the bytes of a file come, its lines are the same.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("a\r\n\n\x00b\nhalf"), uint8(1))
	f.Add(bytes.Repeat([]byte("x"), 300), uint8(7))
	f.Fuzz(func(t *testing.T, text []byte, chunk uint8) {
		var want, got []string
		rest := text
		for {
			line, behind, whole := bytes.Cut(rest, []byte("\n"))
			if !whole {
				break
			}
			want, rest = append(want, strings.TrimSuffix(string(line), "\r")), behind
		}
		l := newTextLog("x")
		for part := range slices.Chunk(text, int(chunk)+1) {
			l.split(bytes.Clone(part), func(b []byte) { got = append(got, string(b)) })
		}
		if len(text) <= maxLine && !slices.Equal(got, want) {
			t.Errorf("%q in pieces of %d: %q, want %q", text, chunk+1, got, want)
		}
		if len(got) != len(want) || len(l.partial) > maxLine {
			t.Errorf("%d lines of %d, and %d bytes kept", len(got), len(want), len(l.partial))
		}
	})
}
