package probes

import (
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestEvaluateFiles(t *testing.T) {
	th := NewFiles().Thresholds
	for _, tc := range []struct {
		name string
		raw  string
		want problem.Severity // 0: nothing
	}{
		{"healthy", "1024\t0\t100000\n", 0},
		{"just below", "79999\t0\t100000\n", 0},
		{"warning", "80000\t0\t100000\n", problem.Warning},
		{"critical", "95000\t0\t100000\n", problem.Critical},
		{"look-alike: systemd's file-max of 2^63-1 is no limit", "9000000\t0\t9223372036854775807\n", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table, err := parseFileNr([]byte(tc.raw))
			if err != nil {
				t.Fatal(err)
			}
			checkSeverity(t, evaluateFiles(table, th), problem.SystemFileTableNearLimit, "", tc.want)
		})
	}
}

func TestParseFileNrGarbled(t *testing.T) {
	for _, raw := range []string{"", "1 2", "1 0 x", "-1 0 5", "1 2 3 4"} {
		if got, err := parseFileNr([]byte(raw)); err == nil {
			t.Errorf("%q parsed as %+v", raw, got)
		}
	}
}

func FuzzParseFileNr(f *testing.F) {
	f.Add([]byte("1024\t0\t100000\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if table, err := parseFileNr(raw); err == nil {
			evaluateFiles(table, NewFiles().Thresholds)
		}
	})
}
