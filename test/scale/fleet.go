package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/report/kube"
	"github.com/nodevitals/nodevitals/test/cluster"
)

// fleet is one agent a node.
type fleet interface {
	start()
	// turn makes all nodes wrong, or well, in one moment.
	turn(wrong bool)
	// await waits until the API server shows it of all of them, which have written
	// since the sample was taken.
	await(wrong bool, since sample, within time.Duration) error
	// failures are the requests that were not done, so far, by how that was.
	failures() map[string]int
	stop()
}

// await waits until as many nodes are wrong as should be. To list them costs the API
// server seconds, so that is done only once there were as many writes.
func (w *world) await(wrong bool, since sample, within time.Duration) error {
	want := 0
	if wrong {
		want = len(w.names)
	}
	err := cluster.AwaitEvery(time.Second, within, func() error {
		now, err := w.measure()
		if err != nil {
			return err
		}
		if n := now.minus(since).writes; n < int64(len(w.names)) {
			return fmt.Errorf("%d writes, want %d", n, len(w.names))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return cluster.AwaitEvery(10*time.Second, within, func() error {
		n, err := w.wrongNodes()
		if err == nil && n != want {
			err = fmt.Errorf("%d nodes are shown to be wrong, want %d", n, want)
		}
		return err
	})
}

// agents are nodevitals' own reporters, all that of an agent which talks to the API
// server, in one process.
type agents struct {
	*world
	all    []*kube.Reporter
	ctx    context.Context
	cancel context.CancelFunc
}

func newAgents(w *world) fleet {
	a := &agents{world: w}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	catalogue := problem.Builtin()
	for _, n := range w.names {
		a.all = append(a.all, kube.New(kube.Options{
			Access: kube.Access{Kubeconfig: w.kubeconfig, Node: n, Agent: "nodevitals/scale"}, Events: true,
			Catalogue: catalogue, Log: slog.New(slog.DiscardHandler),
		}, kube.Memory{}))
	}
	return a
}

func (a *agents) start() {
	a.turn(false)
	for _, r := range a.all {
		go r.Run(a.ctx)
	}
}

func (a *agents) turn(wrong bool) {
	s := a.snapshot(wrong)
	for _, r := range a.all {
		r.Publish(s)
	}
}

func (a *agents) stop() { a.cancel() }

func (a *agents) failures() map[string]int {
	out := map[string]int{}
	all := make(chan prometheus.Metric)
	go func() {
		defer close(all)
		for _, r := range a.all {
			r.Collect(all)
		}
	}()
	for m := range all {
		var d dto.Metric
		if m.Write(&d) == nil && d.GetCounter() != nil {
			if result := labels(&d)["result"]; result != "success" {
				out[result] += int(d.GetCounter().GetValue())
			}
		}
	}
	return out
}
