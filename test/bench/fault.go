package main

// This file measures how soon a fault shows that no log tells of: a container at
// its limit of pids whose fork is refused, until the daemon's metrics say so. The
// kernel logs it, too, the first time; so the daemon reads no log here.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

const (
	// faultTries are few, as each takes up to a period of the probe.
	faultTries = 5
	faultTree  = "nodevitals-bench-fault"
	// faultWithin is after how long a fault counts as not seen.
	faultWithin = time.Minute
	// maxFaultPause before each fault, at random: a period of the probe.
	maxFaultPause = 10 * time.Second
)

func benchFault(ctx context.Context, w io.Writer, h *host.Host, agent string, tries int) (figures []figure, err error) {
	t, err := newTree(ctx, h, faultTree, pathsAbovePods+tries*(1+containers))
	if err != nil {
		say("SKIPPED: the time from a fault to the metrics: %v", err)
		return nil, nil
	}
	defer func() { err = errors.Join(err, t.close()) }()
	for _, leaf := range t.leafs {
		if err := write(filepath.Join(t.roots[0], leaf), "pids.max", "1"); err != nil {
			return nil, err
		}
	}
	say("%d refused forks, until they show in /metrics", tries)
	d, err := startOn(ctx, h, agent, nil, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.end()) }()
	if _, err := d.await(ctx, d.ready, 5*time.Millisecond); err != nil {
		return nil, err
	}
	var ways []time.Duration
	for i := range tries {
		way, err := d.fault(ctx, t, i)
		if err != nil {
			return nil, err
		}
		ways = append(ways, way)
	}
	if _, err := fmt.Fprintf(w, "\nrefused fork to /metrics: median %s, longest %s of %d\n", millis(median(ways)), millis(quantile(ways, 1)), len(ways)); err != nil {
		return nil, err
	}
	return []figure{
		{what: "refused fork to /metrics, p50", node: "fault", value: median(ways).Seconds(), budget: 10, unit: "s"},
		{what: "refused fork to /metrics, longest", node: "fault", value: quantile(ways, 1).Seconds(), budget: 15, unit: "s"},
	}, nil
}

// fault has a fork refused in the i-th pod, and waits until it shows.
func (d *daemon) fault(ctx context.Context, t *tree, i int) (time.Duration, error) {
	select {
	case <-time.After(rand.N(maxFaultPause)):
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, faultWithin, fmt.Errorf("refused fork %d does not show within %v", i, faultWithin))
	defer cancel()
	// It waits for a line, and forks then; and ends with its input.
	sh := exec.Command("sh", "-c", "read x; (read y); read z")
	sh.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	in, err := sh.StdinPipe()
	if err != nil {
		return 0, err
	}
	if err := sh.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = sh.Wait() }() // a shell that may not fork fails
	defer func() { _ = in.Close() }()
	leaf := t.leafs[i*containers]
	if err := write(filepath.Join(t.roots[0], leaf), "cgroup.procs", strconv.Itoa(sh.Process.Pid)); err != nil {
		return 0, err
	}
	start := time.Now()
	if _, err := io.WriteString(in, "now\n"); err != nil {
		return 0, err
	}
	pod := strings.TrimPrefix(filepath.Base(filepath.Dir(leaf)), "pod")
	err = d.seek(ctx, 20*time.Millisecond, func(line string) bool {
		return strings.HasPrefix(line, `nodevitals_problem{kind="ForkRefused"`) && strings.Contains(line, pod)
	})
	return time.Since(start), err
}
