package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/journal/journalfile"
	"github.com/nodevitals/nodevitals/test/export"
)

// check returns a visitor that compares the records with want, one by one, and
// a function that says whether all of them came.
func check(t *testing.T, want []export.Record) (visit func(*journal.Record) error, done func()) {
	t.Helper()
	i := 0
	visit = func(r *journal.Record) error {
		if i >= len(want) {
			return fmt.Errorf("one record more than the %d that there are: %q", len(want), r.Message)
		}
		if d := want[i].Differs(r, journalfile.MaxMessage); d != "" {
			return fmt.Errorf("record %d: %s", i, d)
		}
		i++
		return nil
	}
	done = func() {
		t.Helper()
		if i != len(want) {
			t.Errorf("%d records, want %d", i, len(want))
		}
	}
	return visit, done
}

// TestAgainstJournalctl: order, times, unit, process and message of every record
// are those that were written, and those that journalctl finds.
func TestAgainstJournalctl(t *testing.T) {
	stream, source := generate(t, export.Options{Records: 20_000, Seed: 7, Boots: 3, Long: 0.03, Huge: 4})
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprintf("compact %v", compact), func(t *testing.T) {
			dir := t.TempDir()
			makeJournal(t, dir, compact, stream)
			for name, want := range map[string][]export.Record{"source": source, "journalctl": journalctl(t, dir)} {
				visit, done := check(t, want)
				h, err := journalfile.Read([]string{dir}, journalfile.Query{}, visit)
				if err != nil || h.Loss != (journalfile.Loss{}) {
					t.Fatalf("against %s: %v; %+v", name, err, h.Loss)
				}
				done()
			}
			for name, tc := range map[string]struct {
				args []string
				q    journalfile.Query
			}{
				"unit":   {[]string{"_SYSTEMD_UNIT=docker.service"}, journalfile.Query{Match: journalfile.Match{Units: []string{"docker.service"}}}},
				"kernel": {[]string{"_TRANSPORT=kernel"}, journalfile.Query{Match: journalfile.Match{Kernel: true}}},
				"a unit and what systemd says of it": {
					[]string{"_SYSTEMD_UNIT=kubelet.service", "+", "_PID=1", "UNIT=kubelet.service"},
					journalfile.Query{Match: journalfile.Match{Units: []string{"kubelet.service"}}},
				},
				"identifiers since": {
					[]string{"SYSLOG_IDENTIFIER=containerd", "+", "SYSLOG_IDENTIFIER=systemd", "--since=@" + fmt.Sprint(export.Start/1_000_000+600)},
					journalfile.Query{Match: journalfile.Match{Identifiers: []string{"containerd", "systemd"}}, Since: time.UnixMicro(export.Start + 600_000_000)},
				},
			} {
				want := journalctl(t, dir, tc.args...)
				if len(want) < 50 {
					t.Fatalf("%s: only %d records", name, len(want))
				}
				visit, done := check(t, want)
				if _, err := journalfile.Read([]string{dir}, tc.q, visit); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				done()
			}
		})
	}
}

// TestWhileWritten: a file that systemd is writing is read in pieces, by readers
// that are stopped and started anew.
func TestWhileWritten(t *testing.T) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprintf("compact %v", compact), func(t *testing.T) {
			stream, source := generate(t, export.Options{Records: 20_000, Seed: 8, Boots: 2, Long: 0.02})
			dir := t.TempDir()
			cmd := remoteCommand(t, filepath.Join(dir, "system.journal"), compact)
			cmd.Stdin = bytes.NewReader(stream)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			visit, done := check(t, source)
			var cursor journalfile.Cursor
			polls, pieces := 0, 0
			for over := false; !over; polls++ {
				select {
				case err := <-ended:
					if err != nil {
						t.Fatalf("%v: %s", err, out.String())
					}
					over = true
				default:
				}
				r := journalfile.NewReader([]string{dir}, journalfile.Options{})
				r.SeekCursor(cursor)
				n, err := r.Next(visit)
				if err != nil {
					t.Fatal(err)
				}
				if n > 0 {
					pieces++
				}
				cursor = r.Cursor()
				if h := r.Health(time.Now()); h.Loss != (journalfile.Loss{}) {
					t.Fatalf("%+v", h)
				}
				r.Close()
			}
			done()
			t.Logf("%d records in %d pieces and %d polls", len(source), pieces, polls)
			if pieces < 2 {
				t.Errorf("the file was read in %d pieces: nothing was written meanwhile", pieces)
			}
		})
	}
}

// TestCrashed: a writer that was killed leaves a file in state ONLINE.
func TestCrashed(t *testing.T) {
	stream, source := generate(t, export.Options{Records: 20_000, Seed: 9, Long: 0.02})
	dir := t.TempDir()
	path := filepath.Join(dir, "system.journal")
	cmd := remoteCommand(t, path, true)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The last part of the stream is held back, so that the writer cannot end.
	if _, err := in.Write(stream[:len(stream)-1000]); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	f, err := journalfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	h := f.Header()
	f.Close()
	if h.State != journalfile.Online || h.Entries < 1000 {
		t.Fatalf("state %d, %d records", h.State, h.Entries)
	}
	for _, name := range []string{"system.journal", "system@0006-00.journal~"} { // as journald renames it at its next start
		if err := os.Rename(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, name)
		visit, done := check(t, source[:h.Entries])
		health, err := journalfile.Read([]string{dir}, journalfile.Query{}, visit)
		if err != nil || health.Loss.Records != 0 {
			t.Fatalf("%s: %v, %+v", name, err, health.Loss)
		}
		done()
	}
}
