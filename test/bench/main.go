// Command bench measures nodevitals on the machine that it runs on, quiet and
// busy: what each probe costs, how long `agent --once` takes, what the daemon
// needs, how fast logs are read and understood, and how soon a line shows. It
// asserts nothing: it prints figures, beside those of something that everyone
// knows from the same run, and beside the project's budget.
package main

// This file holds the command line and the order of the measurements.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/probes"
)

type options struct {
	agent    string
	peer     string
	image    string
	probe    string
	runs     int
	seconds  int
	skipBusy bool
	records  int
	tries    int
}

func main() {
	// The thread's CPU clock must be ours, and a child that is to die with us dies
	// with the thread that started it (PR_SET_PDEATHSIG, prctl(2)).
	runtime.LockOSThread()
	// SIGPIPE too: `make bench | head` must not leave a busy node behind.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		exit(child(ctx, os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == logChildCommand {
		exit(logChild(os.Stdout, os.Args[2:]))
	}
	var o options
	flag.StringVar(&o.agent, "agent", "bin/agent", "the agent to measure")
	flag.StringVar(&o.peer, "peer", "", "node_exporter, to measure it beside the agent")
	flag.StringVar(&o.image, "image", "dist/nodevitals-image.tar", "the image whose size is told")
	flag.StringVar(&o.probe, "probe", "", "measure only this probe, and neither --once nor the daemon")
	flag.IntVar(&o.runs, "runs", 7, "how often each thing is measured; the median is printed")
	flag.IntVar(&o.seconds, "seconds", 60, "for how long the daemon is watched")
	flag.BoolVar(&o.skipBusy, "skip-busy", false, "do not make the machine busy")
	flag.IntVar(&o.records, "log-records", 1_000_000, "how many log records are read and matched; 0 leaves the logs out")
	flag.IntVar(&o.tries, "log-tries", 200, "how many log lines are timed on their way to the metrics")
	flag.Parse()
	if flag.NArg() > 0 || o.runs < 1 || o.seconds < 1 || o.records < 0 || o.tries < 1 {
		exit(fmt.Errorf("bench takes flags only; -log-records is at least 0, the other numbers at least 1"))
	}
	exit(run(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// say tells the progress, apart from the tables.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

func run(ctx context.Context, o options) error {
	h, err := host.New("/")
	if err != nil {
		return err
	}
	if o.probe != "" && !known(o.probe) {
		return fmt.Errorf("there is no probe %q; -probe takes one of: %s", o.probe, strings.Join(probeNames(), ", "))
	}
	if o.probe == "" {
		if _, err := os.Stat(o.agent); err != nil {
			return fmt.Errorf("%w (make build)", err)
		}
	}
	fmt.Println(machine(h))
	// Of a run that was killed.
	if err := errors.Join(treeAt(h, fullLoad.name).remove(), treeAt(h, faultTree).remove(), unmountVolumes(fullLoad.name)); err != nil {
		say("cgroups or mounts of an earlier run are still there: %v", err)
	}
	figures, err := node(ctx, h, o, "quiet")
	if err != nil {
		return err
	}
	if !o.skipBusy {
		say("making the node busy: %d processes, %d descriptors, %d cgroups, %d mounts", fullLoad.processes, fullLoad.processes*fullLoad.descriptors, fullLoad.cgroups, fullLoad.pods*volumesOfPod)
		b, err := newBusy(ctx, h, fullLoad)
		if err == nil && o.probe == "" {
			b.talk(ctx)
		}
		for _, hole := range b.holes {
			say("the busy node is less busy than it should be: %v", hole)
		}
		if err == nil {
			var busy []figure
			busy, err = node(ctx, h, o, "busy", b.args()...)
			figures = append(figures, busy...)
		}
		say("tidying up")
		if tidy := b.close(); err == nil {
			err = tidy
		}
		if err != nil {
			return err
		}
	}
	if o.probe == "" {
		fault, err := benchFault(ctx, os.Stdout, h, o.agent, faultTries)
		if err != nil {
			return err
		}
		sized, err := sizes(o)
		if err != nil {
			return err
		}
		hung, err := benchHung(ctx, os.Stdout, h, o)
		if err != nil {
			return err
		}
		figures = slices.Concat(figures, fault, sized, hung)
	}
	if o.probe == "" && o.records > 0 {
		logs, err := benchLogs(ctx, os.Stdout, h, o)
		if err != nil {
			return err
		}
		figures = append(figures, logs...)
	}
	if len(figures) == 0 {
		return nil
	}
	return printBudget(os.Stdout, figures)
}

// node makes all measurements of one state of the node; args are the daemon's.
func node(ctx context.Context, h *host.Host, o options, name string, args ...string) ([]figure, error) {
	fmt.Printf("\n%s node: %s\n", name, census(ctx, h))
	if err := benchProbes(ctx, os.Stdout, h, o); err != nil {
		return nil, err
	}
	if o.probe != "" {
		return nil, nil
	}
	once, err := benchOnce(ctx, os.Stdout, o, name)
	if err != nil {
		return nil, err
	}
	daemon, err := benchDaemon(ctx, os.Stdout, h, o, name, args...)
	return append(once, daemon...), err
}

func known(probe string) bool {
	for _, s := range probes.All() {
		if s.Name() == probe {
			return true
		}
	}
	return false
}

func probeNames() []string {
	var names []string
	for _, s := range probes.All() {
		names = append(names, s.Name())
	}
	return names
}

// machine says what the figures were measured on.
func machine(h *host.Host) string {
	kernel, err := h.ReadString("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = "unknown"
	}
	return fmt.Sprintf("Linux %s, %s, %d CPUs, %s, uid %d", kernel, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), os.Getuid())
}
