package probes

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func meminfo(unreclaim, total int) string {
	return fmt.Sprintf("MemTotal:       %8d kB\nMemFree:          123456 kB\nSReclaimable:     999999 kB\nSUnreclaim:     %8d kB\n", total, unreclaim)
}

func TestKernelMemoryOverTime(t *testing.T) {
	const ram = 1000_000 // kB
	for _, tc := range []struct {
		name string
		slab func(minute int) int // kB
		want problem.Severity
	}{
		{"healthy", func(int) int { return 30_000 }, 0},
		{"small, but growing", func(m int) int { return 30_000 + 1000*m }, 0},
		{"look-alike: large and level", func(int) int { return 400_000 }, 0},
		{"look-alike: large and shrinking", func(m int) int { return 600_000 - 1000*m }, 0},
		{"large and growing", func(m int) int { return 240_000 + 1000*m }, problem.Warning},
		{"large and growing slowly", func(m int) int { return 300_000 + 200*m }, problem.Warning},
		{"look-alike: large, with noise", func(m int) int { return 300_000 + m%7*1000 }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := tree(t, map[string]string{meminfoFile: meminfo(1, ram)})
			clock := &testClock{}
			n.Host.Clock = clock
			p := NewKernelMemory()
			var last problem.Result
			for minute := range 90 {
				clock.boot = time.Duration(minute) * time.Minute
				writeFile(t, n.Host.Root(), meminfoFile, meminfo(tc.slab(minute), ram))
				r, err := p.Run(t.Context(), n)
				if err != nil {
					t.Fatal(err)
				}
				if minute == 0 && len(r.Verdicts) != 0 {
					t.Fatalf("a verdict about growth at the first look: %+v", r.Verdicts)
				}
				last = r
			}
			checkSeverity(t, last, problem.KernelMemoryGrowth, "", tc.want)
			if m := last.Measurements[0]; m.Resource != "slab_unreclaimable" || m.Used != float64(tc.slab(89))*1024 || m.Max != ram*1024 {
				t.Errorf("measurement %+v", m)
			}
		})
	}
}

func TestParseSlabGarbled(t *testing.T) {
	for _, raw := range []string{"", "SUnreclaim: 1 kB\n", "MemTotal: 1 kB\n", "MemTotal: 0 kB\nSUnreclaim: 1 kB\n", "MemTotal: x\nSUnreclaim: 1 kB\n"} {
		if got, err := parseSlab([]byte(raw)); err == nil {
			t.Errorf("%q parsed as %+v", raw, got)
		}
	}
}

func FuzzParseSlab(f *testing.F) {
	f.Add([]byte(meminfo(1, 100)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := parseSlab(raw); err == nil {
			evaluateKernelMemory(s, s.unreclaimable, time.Hour, NewKernelMemory().Thresholds)
		}
	})
}

// The defaults of the probes of memory and cgroups are sound, and zero is not.
func TestMemoryThresholdsValidate(t *testing.T) {
	for _, tc := range []struct{ good, bad interface{ Validate() error } }{
		{NewKernelMemory().Thresholds, KernelMemoryThresholds{}},
		{NewFragmentation().Thresholds, FragmentationThresholds{}},
		{NewFragmentation().Thresholds, FragmentationThresholds{Order: -1, Index: 500}},
		{NewCgroupLeak().Thresholds, CgroupLeakThresholds{}},
		{NewOOM().Thresholds, OOMThresholds{}},
		{NewPressure().Thresholds.Memory, Levels{}},
	} {
		if err := tc.good.Validate(); err != nil {
			t.Errorf("%+v: %v", tc.good, err)
		}
		if tc.bad.Validate() == nil {
			t.Errorf("%+v passes", tc.bad)
		}
	}
}
