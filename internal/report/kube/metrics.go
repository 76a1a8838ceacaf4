package kube

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what is written to the API server, and how that ends.
type metrics struct {
	writes, events *prometheus.CounterVec
	last           prometheus.Gauge
}

func newMetrics() metrics {
	m := metrics{
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nodevitals_kube_writes_total", Help: "Writes of the Node's conditions, by how they ended.",
		}, []string{"result"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nodevitals_kube_events_total", Help: "Events made or counted up, by how that ended.",
		}, []string{"result"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "nodevitals_kube_last_success_timestamp_seconds",
			Help: "When the Node's conditions were last written, in seconds since 1970; 0 for never.",
		}),
	}
	m.writes.WithLabelValues(string(success))
	m.events.WithLabelValues(string(success))
	return m
}

func (m metrics) wrote(f *failure, now time.Time) {
	m.writes.WithLabelValues(string(resultOf(f))).Inc()
	if f == nil {
		m.last.Set(float64(now.Unix()))
	}
}

func (m metrics) told(f *failure) { m.events.WithLabelValues(string(resultOf(f))).Inc() }

func resultOf(f *failure) result {
	if f == nil {
		return success
	}
	return f.result
}

// Describe implements prometheus.Collector.
func (r *Reporter) Describe(ch chan<- *prometheus.Desc) {
	r.metrics.writes.Describe(ch)
	r.metrics.events.Describe(ch)
	r.metrics.last.Describe(ch)
}

// Collect implements prometheus.Collector.
func (r *Reporter) Collect(ch chan<- prometheus.Metric) {
	r.metrics.writes.Collect(ch)
	r.metrics.events.Collect(ch)
	r.metrics.last.Collect(ch)
}
