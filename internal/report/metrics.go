package report

import (
	"cmp"
	"io"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// maxSubjects bounds the series of one kind or resource; the rest is summed up
// as the subject "other".
const maxSubjects = 100

// Metrics is a Prometheus collector over the newest snapshot. A scrape never
// waits for a probe: it reads what is there.
type Metrics struct {
	latest func() *problem.Snapshot

	build, problem, condition, used, limit, refused   *prometheus.Desc
	success, duration, cpu, runs, failures, rootCause *prometheus.Desc
	calls, records, lines, lag, blind                 *prometheus.Desc
}

// NewMetrics makes the collector. latest may return nil while there is nothing yet.
func NewMetrics(latest func() *problem.Snapshot) *Metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("nodevitals_"+name, help, labels, nil)
	}
	return &Metrics{
		latest:    latest,
		build:     desc("build_info", "Version of the agent; always 1.", "version"),
		problem:   desc("problem", "1 for each active problem.", "kind", "subject", "severity"),
		condition: desc("condition", "1 for the status that a node condition has now, 0 for the others.", "type", "status"),
		used:      desc("limit_used", "How much of a limited resource is used.", "resource", "subject"),
		limit:     desc("limit_max", "The limit of a resource.", "resource", "subject"),
		refused:   desc("limit_refused_total", "How often a limit has refused a request, as the kernel counts it.", "resource", "subject"),
		success:   desc("probe_success", "1 if the probe's last run succeeded (or does not apply to this node), 0 if it failed.", "probe"),
		duration:  desc("probe_duration_seconds", "Wall time of the probe's last run.", "probe"),
		cpu:       desc("probe_cpu_seconds", "CPU time of the probe's last run.", "probe"),
		runs:      desc("probe_runs_total", "Runs of the probe since the agent started.", "probe"),
		failures:  desc("probe_failures_total", "Failed runs of the probe since the agent started.", "probe"),
		calls:     desc("call_duration_seconds", "How long calls took that the probe makes to others, such as the container runtime; also those without an answer.", "probe", "call"),
		rootCause: desc("root_cause", "1 for each active problem (effect, subject) and the root of its cause tree (cause).", "effect", "subject", "cause"),
		records:   desc("log_records_total", "Log records read.", "source"),
		lines:     desc("log_claims_total", "Log lines that say that a kind of problem is there, since the agent started.", "kind"),
		lag:       desc("log_lag_seconds", "Age of the newest record when it was read.", "source"),
		blind:     desc("log_blind", "1 while a log source cannot be read.", "source"),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.build, m.problem, m.condition, m.used, m.limit, m.refused, m.success, m.duration, m.cpu,
		m.runs, m.failures, m.rootCause, m.calls, m.records, m.lines, m.lag, m.blind,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.latest()
	if s == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		for i, l := range labels {
			labels[i] = clean(l)
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		for i, l := range labels {
			labels[i] = clean(l)
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge(m.build, 1, s.Host.Agent)
	for _, c := range s.Claims {
		counter(m.lines, float64(c.Count), string(c.Kind))
	}
	problems := bounded(slices.DeleteFunc(slices.Clone(s.Problems), func(p problem.Problem) bool { return p.NoMetrics }))
	for _, p := range problems {
		gauge(m.problem, 1, string(p.Kind), p.Subject, p.Severity.String())
	}
	for _, c := range rootCauses(problems) {
		gauge(m.rootCause, 1, c.effect, c.subject, c.cause)
	}
	for _, c := range s.Conditions {
		if c.NotApplicable {
			continue
		}
		for _, status := range []problem.ConditionStatus{problem.ConditionTrue, problem.ConditionFalse, problem.ConditionUnknown} {
			gauge(m.condition, truth(c.Status == status), c.Type, string(status))
		}
	}
	for _, x := range fullest(s.Measurements) {
		gauge(m.used, x.Used, x.Resource, x.Subject)
		if x.Max > 0 {
			gauge(m.limit, x.Max, x.Resource, x.Subject)
		}
		if x.Refused != nil {
			counter(m.refused, float64(*x.Refused), x.Resource, x.Subject)
		}
	}
	for _, p := range s.Probes {
		if p.Outcome == problem.OutcomeStarting {
			continue
		}
		gauge(m.success, truth(p.Outcome != problem.OutcomeFailed), p.Probe)
		gauge(m.duration, p.Duration.Seconds(), p.Probe)
		gauge(m.cpu, p.CPU.Seconds(), p.Probe)
		counter(m.runs, float64(p.Runs), p.Probe)
		counter(m.failures, float64(p.Failures), p.Probe)
		for _, l := range p.Latencies {
			below := make(map[float64]uint64, len(l.Bounds))
			for i, bound := range l.Bounds {
				below[bound] = l.Below[i]
			}
			ch <- prometheus.MustNewConstHistogram(m.calls, l.Count, l.Sum, below, p.Probe, l.Call)
		}
	}
	for _, l := range s.Logs {
		counter(m.records, float64(l.Records), l.Source)
		gauge(m.lag, l.Lag.Seconds(), l.Source)
		gauge(m.blind, truth(l.Blind != ""), l.Source)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// bounded keeps at most maxSubjects problems of a kind, the worst; of the rest
// one stands for all, as "other". Two subjects that look alike once cleaned
// count as one.
func bounded(problems []problem.Problem) []problem.Problem {
	type id struct {
		kind    problem.Kind
		subject string
		sev     problem.Severity
	}
	count := map[problem.Kind]int{}
	seen := map[id]bool{}
	var out []problem.Problem
	for _, p := range problems {
		if count[p.Kind]++; count[p.Kind] > maxSubjects {
			p.Subject = "other"
		}
		k := id{p.Kind, clean(p.Subject), p.Severity}
		if !seen[k] {
			seen[k] = true
			out = append(out, p)
		}
	}
	return out
}

// fullest keeps at most maxSubjects measurements of a resource, the fullest; of
// the rest the fullest stands for all, as "other".
func fullest(ms []problem.Measurement) []problem.Measurement {
	sorted := slices.Clone(ms)
	slices.SortStableFunc(sorted, func(a, b problem.Measurement) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), -cmp.Compare(a.Fraction(), b.Fraction()),
			-cmp.Compare(a.Used, b.Used), cmp.Compare(a.Subject, b.Subject))
	})
	type id struct{ resource, subject string }
	count := map[string]int{}
	seen := map[id]bool{}
	var out []problem.Measurement
	for _, m := range sorted {
		if count[m.Resource]++; count[m.Resource] > maxSubjects {
			m.Subject, m.Refused = "other", nil
		}
		k := id{m.Resource, clean(m.Subject)}
		if !seen[k] {
			seen[k] = true
			out = append(out, m)
		}
	}
	return out
}

type rootCause struct{ effect, subject, cause string }

// rootCauses are those of each problem. The effect's subject belongs to them, so
// that of two effects of one kind an alert about the explained one is told apart.
func rootCauses(problems []problem.Problem) []rootCause {
	var out []rootCause
	for _, p := range problems {
		for _, c := range p.Causes {
			for _, root := range c.Roots() {
				found := rootCause{string(p.Kind), clean(p.Subject), string(root.Kind)}
				if !slices.Contains(out, found) {
					out = append(out, found)
				}
			}
		}
	}
	return out
}

// Prometheus writes the snapshot in the text exposition format.
func Prometheus(w io.Writer, s *problem.Snapshot) error {
	reg := prometheus.NewRegistry()
	if err := reg.Register(NewMetrics(func() *problem.Snapshot { return s })); err != nil {
		return err
	}
	families, err := reg.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}
