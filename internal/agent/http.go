package agent

import (
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nodevitals/nodevitals/internal/report"
)

// deadAfter is after how long without a turn the loop counts as dead. Nothing
// in the loop waits for a probe, a mount or the network, so that only a bug or
// a machine that stands still can bring this about.
const deadAfter = 30 * time.Second

// newServer serves what the loop has published last; no request waits for a probe.
func newServer(l *loop) *http.Server {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		report.NewMetrics(l.latest.Load),
		oneAtATime{collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &sync.Mutex{}},
		collectors.NewGoCollector(),
	)
	if l.kube != nil {
		registry.MustRegister(l.kube)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", l.healthz)
	mux.HandleFunc("GET /readyz", l.readyz)
	mux.HandleFunc("GET /status", l.status)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "nodevitals\n\n/metrics  for Prometheus\n/healthz  alive\n/readyz   every probe has run\n/status   the whole report (on loopback only)\n")
	})
	open := newConnections()
	return &http.Server{
		Handler: mux, ConnState: open.track,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		// Prometheus asks once a minute at most, over the connection that it keeps.
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(l.log.Handler(), slog.LevelWarn),
	}
}

// oneAtATime lets one request at a time read the files of our own process, so
// that a crowd of them does not come to need a thread each.
type oneAtATime struct {
	prometheus.Collector
	turn *sync.Mutex
}

// Collect implements prometheus.Collector. Nobody who reads ch waits for a client.
func (c oneAtATime) Collect(ch chan<- prometheus.Metric) {
	c.turn.Lock()
	defer c.turn.Unlock()
	c.Collector.Collect(ch)
}

// healthz says whether the loop turns; what the probes find does not matter.
func (l *loop) healthz(w http.ResponseWriter, _ *http.Request) {
	if since := l.stoodStill(); since > deadAfter {
		http.Error(w, fmt.Sprintf("the loop has not turned for %v", since.Round(time.Second)), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// stoodStill is since when the loop has not turned.
func (l *loop) stoodStill() time.Duration {
	return l.agent.node.Host.Clock.Boot() - time.Duration(l.beat.Load())
}

func (l *loop) readyz(w http.ResponseWriter, _ *http.Request) {
	if !l.ready.Load() {
		http.Error(w, "not every probe has had its first run", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// newPage is /status as a browser shows it.
func newPage() *template.Template {
	return template.Must(template.New("status").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="10"><title>{{.Node}} – nodevitals</title>
<style>body{font-family:system-ui,sans-serif;margin:2em}pre{font-size:14px;line-height:1.4}</style></head>
<body><pre>{{.Report}}</pre></body></html>
`))
}

// status is the whole report: JSON, or a plain page for a browser. It names
// pods and processes, so that only the node itself may read it.
func (l *loop) status(w http.ResponseWriter, r *http.Request) {
	if addr, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || !net.ParseIP(addr).IsLoopback() {
		http.Error(w, "/status answers on loopback only", http.StatusForbidden)
		return
	}
	s := l.latest.Load()
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "application/json")
		_ = report.JSON(w, s) // the client went away
		return
	}
	var text strings.Builder
	_ = report.Text(&text, s, l.agent.catalogue, report.TextOptions{Width: 120}) // a Builder never fails
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = newPage().Execute(w, map[string]string{"Node": s.Host.Node, "Report": text.String()})
}
