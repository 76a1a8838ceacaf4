package journalfile

import (
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/test/export"
)

// layouts are the fixtures: each holds the records of the oracle.
func layouts() []string {
	return []string{
		"dev-0-c0.journal", "dev-0-c1.journal", "dev-LZ4-c0.journal", "dev-LZ4-c1.journal", "dev-XZ-c0.journal",
		"dev-XZ-c1.journal", "dev-ZSTD-c0.journal", "dev-ZSTD-c1.journal", "dev-jenkins.journal",
	}
}

// TestLayouts: every layout yields every record of the oracle, in its order.
func TestLayouts(t *testing.T) {
	want := oracle(t)
	if len(want) != 2000 {
		t.Fatalf("the oracle has %d records", len(want))
	}
	for _, name := range layouts() {
		t.Run(name, func(t *testing.T) {
			f, err := Open(fixture(t, t.TempDir(), name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			compare(t, f, want)
		})
	}
}

// compare reads all of f and compares it with what journalctl says.
func compare(t *testing.T, f *File, want []export.Record) {
	t.Helper()
	i := 0
	if err := f.Each(Match{}, time.Time{}, func(r *journal.Record) error {
		if i < len(want) {
			if d := want[i].Differs(r, MaxMessage); d != "" {
				t.Fatalf("record %d: %s", i, d)
			}
		}
		i++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if i != len(want) || f.Loss() != (Loss{}) {
		t.Fatalf("%d records of %d; lost: %+v", i, len(want), f.Loss())
	}
}
