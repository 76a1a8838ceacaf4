package main

// This file measures: requests as the API server counts them, CPU and memory as
// the kernel does.

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// sample is a state of all meters, or the difference of two.
type sample struct {
	at              time.Time
	wall            time.Duration
	apiPID          int // 0 while it is away
	apiCPU, etcdCPU time.Duration
	rss             int64 // of the API server, in bytes
	// bytes and connections between the agents and the API server.
	bytes, connections int64
	requests
}

// requests are what the API server has counted since it started.
type requests struct {
	writes, events, refused int64
	buckets                 map[float64]float64 // writes by their duration in seconds, cumulative
}

func (w *world) measure() (sample, error) {
	s := sample{at: time.Now(), etcdCPU: cpuOf(w.plane.Etcd.PID()), bytes: w.proxy.bytes.Load(), connections: w.proxy.connections.Load()}
	if w.plane.API.Ended() {
		return s, nil
	}
	s.apiPID = w.plane.API.PID()
	s.apiCPU, s.rss = cpuOf(s.apiPID), rssOf(s.apiPID)
	raw, err := w.plane.Do(http.MethodGet, "/metrics", "", nil)
	if err != nil {
		return s, err
	}
	s.requests, err = count(raw)
	return s, err
}

func count(metrics []byte) (requests, error) {
	r := requests{buckets: map[float64]float64{}}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(metrics))
	if err != nil {
		return r, err
	}
	for _, m := range families["apiserver_request_total"].GetMetric() {
		l, n := labels(m), int64(m.GetCounter().GetValue())
		switch {
		case l["code"] == "429" || l["code"] >= "500":
			r.refused += n
		case l["resource"] == "nodes/status" || l["resource"] == "nodes" && l["subresource"] == "status":
			r.writes += n
		case l["resource"] == "events" && (l["verb"] == "POST" || l["verb"] == "PATCH"):
			r.events += n
		}
	}
	for _, m := range families["apiserver_request_duration_seconds"].GetMetric() {
		if l := labels(m); l["verb"] == "PATCH" && l["resource"] == "nodes" {
			for _, b := range m.GetHistogram().GetBucket() {
				r.buckets[b.GetUpperBound()] += float64(b.GetCumulativeCount())
			}
		}
	}
	return r, nil
}

func labels(m *dto.Metric) map[string]string {
	l := map[string]string{}
	for _, p := range m.GetLabel() {
		l[p.GetName()] = p.GetValue()
	}
	return l
}

// minus is what came after before. An API server that was started anew counts from 0.
func (s sample) minus(before sample) sample {
	s.wall = s.at.Sub(before.at)
	s.etcdCPU -= before.etcdCPU
	s.bytes -= before.bytes
	s.connections -= before.connections
	if s.apiPID != before.apiPID {
		return s
	}
	s.apiCPU -= before.apiCPU
	s.writes, s.events, s.refused = s.writes-before.writes, s.events-before.events, s.refused-before.refused
	for b := range s.buckets {
		s.buckets[b] -= before.buckets[b]
	}
	return s
}

// quantile is an upper bound of that share of the writes' durations.
func (r requests) quantile(q float64) string {
	total := r.buckets[math.Inf(1)]
	if total == 0 {
		return "-"
	}
	bounds := make([]float64, 0, len(r.buckets))
	for b := range r.buckets {
		bounds = append(bounds, b)
	}
	slices.Sort(bounds)
	for _, b := range bounds {
		if r.buckets[b] >= q*total && !math.IsInf(b, 1) {
			return "≤" + time.Duration(b*float64(time.Second)).String()
		}
	}
	return ">1m"
}

// cpuOf is the CPU time of a process (proc_pid_stat(5): utime and stime, in ticks
// of 10 ms).
func cpuOf(pid int) time.Duration {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rssOf is the resident memory of a process.
func rssOf(pid int) int64 {
	return field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") << 10
}

func field(path, name string) int64 {
	raw, _ := os.ReadFile(path)
	_, after, _ := strings.Cut(string(raw), name)
	if f := strings.Fields(after); len(f) > 0 {
		n, _ := strconv.ParseInt(f[0], 10, 64)
		return n
	}
	return 0
}
