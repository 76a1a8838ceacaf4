package probes

import (
	"testing"
	"time"
)

func TestTrend(t *testing.T) {
	for _, tc := range []struct {
		name   string
		values []float64 // one a minute
		grown  float64
		over   time.Duration
	}{
		{"nothing", nil, 0, 0},
		{"one look", []float64{7}, 0, 0},
		{"level", repeat(120, func(int) float64 { return 50 }), 0, time.Hour},
		{"growing", repeat(120, func(i int) float64 { return float64(i) }), 60, time.Hour},
		{"falling", repeat(120, func(i int) float64 { return float64(-i) }), -60, time.Hour},
		{"look-alike: bursts that are over by themselves", repeat(120, func(i int) float64 { return float64(i % 5 * 1000) }), 0, time.Hour},
		{"half an hour only", repeat(31, func(i int) float64 { return float64(i) }), 30, 30 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var tr trend
			for i, v := range tc.values {
				tr.add(time.Duration(i)*time.Minute, v)
			}
			grown, over := tr.growth()
			if grown != tc.grown || over != tc.over {
				t.Errorf("growth %v over %v, want %v over %v", grown, over, tc.grown, tc.over)
			}
			if len(tr.lows) > trendSteps {
				t.Errorf("%d values are kept", len(tr.lows))
			}
		})
	}
}

func repeat(n int, f func(int) float64) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = f(i)
	}
	return values
}
