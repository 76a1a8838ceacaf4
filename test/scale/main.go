// Command scale runs thousands of agents' reporters against one real API server,
// and beside them as many that write as node-problem-detector does: in the quiet,
// when all nodes fail at once, and when the API server dies and comes back. It
// prints what each asks of the API server. See `make bench-cluster`.
//
// Clients and API server share the machine, so that rates and waits are those of
// the whole; the API server's CPU is its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/nodevitals/nodevitals/test/cluster"
)

type options struct {
	agents        int
	quiet, outage time.Duration
	within        time.Duration
	only          string
}

func main() {
	var o options
	flag.IntVar(&o.agents, "agents", 5000, "how many nodes")
	flag.DurationVar(&o.quiet, "quiet", 2*time.Minute, "how long to look at nodes on which nothing happens")
	flag.DurationVar(&o.outage, "outage", time.Minute, "how long the API server is away")
	flag.DurationVar(&o.within, "within", 10*time.Minute, "how long to wait for all nodes to be written")
	flag.StringVar(&o.only, "only", "", "only the agents whose name begins so")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	binary, err := cluster.Binary()
	if err != nil {
		return err
	}
	var rows []row
	for _, f := range []struct {
		name string
		of   func(*world) fleet
	}{{"nodevitals", newAgents}, {"as node-problem-detector", newDetectors}} {
		if !strings.HasPrefix(f.name, o.only) {
			continue
		}
		got, err := try(ctx, o, binary, f.name, f.of)
		rows = append(rows, got...)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", f.name, err), table(o, rows))
		}
	}
	return table(o, rows)
}

// try puts one fleet through everything, on an API server of its own.
func try(ctx context.Context, o options, binary, name string, newFleet func(*world) fleet) ([]row, error) {
	w, err := newWorld(o, binary)
	if err != nil {
		return nil, err
	}
	defer w.close()
	say("%s: %d agents start", name, o.agents)
	f := newFleet(w)
	defer f.stop()
	var rows []row
	phase := func(what string, do func(before sample) error) error {
		before, err := w.measure()
		if err != nil {
			return err
		}
		failed := f.failures()
		done := make(chan error, 1)
		go func() { done <- do(before) }()
		select {
		case err = <-done:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		after, err := w.measure()
		if err != nil {
			return err
		}
		rows = append(rows, row{fleet: name, phase: what, sample: after.minus(before), agents: o.agents, rss: after.rss, failed: more(f.failures(), failed)})
		say("%s: %s: done", name, what)
		return nil
	}
	steps := []struct {
		what string
		do   func(before sample) error
	}{
		{"start, and quiet", func(sample) error { f.start(); <-time.After(o.quiet); return nil }},
		{"quiet", func(sample) error { <-time.After(o.quiet); return nil }},
		{"all fail at once", func(before sample) error { f.turn(true); return f.await(true, before, o.within) }},
		{"API server away, all well by then", func(sample) error {
			w.plane.API.Kill()
			f.turn(false)
			<-time.After(o.outage)
			return nil
		}},
		{"API server back", func(before sample) error {
			if err := w.plane.API.Start(); err != nil {
				return err
			}
			return f.await(false, before, o.within)
		}},
		{"two minutes after", func(sample) error { <-time.After(2 * time.Minute); return nil }},
	}
	for _, s := range steps {
		if err := phase(s.what, s.do); err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// more says what has come to be since before.
func more(now, before map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(now)) {
		if n := now[k] - before[k]; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, k))
		}
	}
	return strings.Join(out, ", ")
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// row is a phase of a fleet.
type row struct {
	fleet, phase string
	agents       int
	rss          int64
	failed       string
	sample
}

func table(o options, rows []row) error {
	fmt.Printf("\n%d agents, one API server and etcd on the same machine\n\n", o.agents)
	// Flush tells what could not be written.
	t := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "agents\tphase\ttime\twrites\twrites/s\tEvents\trefused\tp50\tp99\tAPI server CPU\tetcd CPU\tAPI server memory\tbytes an agent\tconnections\tnot done\t")
	for _, r := range rows {
		s := r.wall.Seconds()
		_, _ = fmt.Fprintf(t, "%s\t%s\t%.0f s\t%d\t%.0f\t%d\t%d\t%s\t%s\t%.1f s\t%.1f s\t%d MiB\t%.1f KiB\t%d\t%s\t\n", r.fleet, r.phase, s, r.writes, float64(r.writes)/s,
			r.events, r.refused, r.quantile(0.5), r.quantile(0.99), r.apiCPU.Seconds(), r.etcdCPU.Seconds(), r.rss>>20, float64(r.bytes)/1024/float64(r.agents), r.connections, r.failed)
	}
	return t.Flush()
}
