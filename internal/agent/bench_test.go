package agent

import (
	"context"
	"testing"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
)

// ownNode is the agent on this machine as it is shipped.
func ownNode(b *testing.B) *Agent {
	b.Helper()
	h, err := host.New("/")
	if err != nil {
		b.Fatal(err)
	}
	return New(h, config.Default(), "bench")
}

// BenchmarkIdlePoll is one look at all logs with nothing new in them: ten a second.
func BenchmarkIdlePoll(b *testing.B) {
	l := ownNode(b).newLogReader(cursors{}, 0, false)
	defer l.close()
	l.poll(context.Background(), func(logBatch) {})
	b.ReportAllocs()
	for b.Loop() {
		l.poll(context.Background(), func(logBatch) {})
		l.statuses()
	}
}

// BenchmarkSnapshot is what each report of a probe costs beside the probe.
func BenchmarkSnapshot(b *testing.B) {
	a := ownNode(b)
	s := a.newState(false)
	for _, spec := range a.specs {
		r, _ := a.run(context.Background(), spec)
		s.observe(r)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.snapshot()
	}
}
