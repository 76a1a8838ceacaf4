package journal

import (
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/journal/journalfile"
	"github.com/nodevitals/nodevitals/test/export"
)

// records is how many records the benchmarks read: systemd takes 15 s to write
// 200,000. NODEVITALS_BENCH_RECORDS says otherwise.
func records(b *testing.B) int {
	if s := os.Getenv("NODEVITALS_BENCH_RECORDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	return 200_000
}

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRead reads a node's journal: all of it, by a reader that follows, and
// one unit's records through the lists.
func BenchmarkRead(b *testing.B) {
	stream, _ := generate(b, export.Options{Records: records(b), Seed: 1, Long: 0.01})
	for _, layout := range []struct {
		name    string
		compact bool
	}{{"compact", true}, {"regular", false}} {
		dir := b.TempDir()
		makeJournal(b, dir, layout.compact, stream)
		for _, tc := range []struct {
			name string
			read func(visit func(*journal.Record) error) error
		}{
			{"all", func(visit func(*journal.Record) error) error {
				r := journalfile.NewReader([]string{dir}, journalfile.Options{})
				defer r.Close()
				_, err := r.Next(visit)
				return err
			}},
			{"unit", func(visit func(*journal.Record) error) error {
				_, err := journalfile.Read([]string{dir}, journalfile.Query{Match: journalfile.Match{Units: []string{"docker.service"}}}, visit)
				return err
			}},
		} {
			b.Run(layout.name+"/"+tc.name, func(b *testing.B) {
				b.ReportAllocs()
				n, began := 0, cpu(b)
				for b.Loop() {
					if err := tc.read(func(*journal.Record) error { n++; return nil }); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
				b.ReportMetric(float64(n)/(cpu(b)-began).Seconds(), "records/cpu-s")
			})
		}
	}
}

// BenchmarkIdlePoll is what following costs while nothing is written.
func BenchmarkIdlePoll(b *testing.B) {
	stream, _ := generate(b, export.Options{Records: 1000, Seed: 1})
	dir := b.TempDir()
	makeJournal(b, dir, true, stream)
	old := time.Now().Add(10 * time.Second) // the folder was not just changed
	r := journalfile.NewReader([]string{dir}, journalfile.Options{Now: func() time.Time { return old }})
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(func(*journal.Record) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
