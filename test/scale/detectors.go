package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// detectors write as node-problem-detector does (pkg/exporters/k8sexporter, and
// problemclient): a patch of the status with all of its conditions when one
// changes, looked for each second; each 5 minutes without jitter; after an error
// again each 10 s; a connection that is not closed from here; the whole Node as the answer; an
// Event (core/v1) for each change.
type detectors struct {
	*world
	all    []*detector
	failed atomic.Int64
	ctx    context.Context
	cancel context.CancelFunc
}

const (
	npdTick      = time.Second
	npdHeartbeat = 5 * time.Minute
	npdResync    = 10 * time.Second
)

type detector struct {
	fleet  *detectors
	world  *world
	name   string
	client *http.Client
	wrong  atomic.Bool
	since  atomic.Int64
}

func newDetectors(w *world) fleet {
	d := &detectors{world: w}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	roots := x509.NewCertPool()
	ca, _ := os.ReadFile(filepath.Join(w.dir, "ca.crt"))
	roots.AppendCertsFromPEM(ca)
	for _, n := range w.names {
		t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
		d.all = append(d.all, &detector{fleet: d, world: w, name: n, client: &http.Client{Transport: t}})
	}
	return d
}

func (d *detectors) start() {
	for _, x := range d.all {
		go x.run(d.ctx)
	}
}

func (d *detectors) turn(wrong bool) {
	for _, x := range d.all {
		x.since.Store(time.Now().UnixNano())
		x.wrong.Store(wrong)
	}
}

func (d *detectors) stop() { d.cancel() }

func (d *detectors) failures() map[string]int { return map[string]int{"any": int(d.failed.Load())} }

func (x *detector) run(ctx context.Context) {
	tick := time.NewTicker(npdTick)
	defer tick.Stop()
	var written, tried time.Time
	shown, failing, told := false, false, false
	for {
		wrong := x.wrong.Load()
		switch {
		case wrong != shown || written.IsZero() && !failing, time.Since(tried) >= npdHeartbeat, failing && time.Since(tried) >= npdResync:
			if failing && time.Since(tried) < npdResync {
				break
			}
			tried = time.Now()
			err := x.patch(ctx, wrong)
			if failing = err != nil; !failing {
				shown, written = wrong, tried
			} else {
				x.fleet.failed.Add(1)
			}
		}
		if wrong != told { // it is told once, whether that works or not
			told = wrong
			_ = x.event(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (x *detector) patch(ctx context.Context, wrong bool) error {
	conditions := x.world.conditions(wrong, time.Unix(0, x.since.Load()), time.Now())
	return x.do(ctx, http.MethodPatch, "/api/v1/nodes/"+x.name+"/status", strategicMerge, map[string]any{"status": map[string]any{"conditions": conditions}})
}

func (x *detector) event(ctx context.Context) error {
	now := time.Now().UTC().Format(time.RFC3339)
	return x.do(ctx, http.MethodPost, "/api/v1/namespaces/default/events", "application/json", map[string]any{
		"metadata":       map[string]any{"name": fmt.Sprintf("%s.%x", x.name, time.Now().UnixNano()), "namespace": "default"},
		"involvedObject": map[string]any{"kind": "Node", "name": x.name, "uid": x.name}, "reason": "ForkRefused", "type": "Warning",
		"message": "fork fails", "source": map[string]any{"component": "kernel-monitor", "host": x.name}, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
	})
}

func (x *detector) do(ctx context.Context, method, path, content string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, x.world.url()+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", content)
	req.Header.Set("Authorization", "Bearer "+x.world.token)
	resp, err := x.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return errors.New(resp.Status)
	}
	return nil
}
