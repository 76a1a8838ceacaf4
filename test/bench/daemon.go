package main

// This file watches a daemon, the agent or a peer: how soon it answers, what it
// needs, and how soon it ends.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/process"
)

const (
	lookEvery   = 5 * time.Second  // at its memory
	scrapeEvery = 15 * time.Second // as Prometheus' configurations mostly do
	// answerWithin is after how long a daemon that does not answer is given up.
	answerWithin = 30 * time.Second
	// endWithin is after how long one that ignores SIGTERM is killed.
	endWithin = 10 * time.Second
)

// daemon is an agent, or a peer of it, under watch.
type daemon struct {
	host    *host.Host
	cmd     *exec.Cmd
	url     string
	ready   string // a page
	started time.Time
	stderr  bytes.Buffer // to be read after ended is closed
	ended   chan struct{}

	metricsAfter, readyAfter time.Duration // from the start to the first 200
	looks                    []usage
	scrapes                  []time.Duration
	startCPU                 time.Duration // until it was ready
	cpu, watched             time.Duration
	endAfter                 time.Duration // from SIGTERM
}

// usage is what the agent and the processes that it has started need, in bytes.
type usage struct {
	resident, anonymous uint64
	processes, threads  int
}

// benchDaemon watches the agent, started with args, and then a peer of it.
func benchDaemon(ctx context.Context, w io.Writer, h *host.Host, o options, node string, args ...string) ([]figure, error) {
	say("the daemon, for %d s", o.seconds)
	long := time.Duration(o.seconds) * time.Second
	d, err := startDaemon(ctx, h, o.agent, args...)
	if err != nil {
		return nil, err
	}
	if err := d.live(ctx, long); err != nil {
		return nil, fmt.Errorf("%s: %w", o.agent, err)
	}
	if err := d.print(w, "daemon"); err != nil {
		return nil, err
	}
	own, peer := d.figures(node), []figure(nil)
	if o.peer != "" {
		say("%s, for %d s", peerName, o.seconds)
		if peer, err = benchPeer(ctx, w, h, o.peer, node, long); err != nil {
			return nil, err
		}
	}
	for i := range peer {
		own[i].beside, own[i].other = peerName, peer[i].value
	}
	return own, nil
}

// live watches the daemon for so long, and ends it.
func (d *daemon) live(ctx context.Context, long time.Duration) error {
	err := d.watch(ctx, long)
	if end := d.end(); err == nil {
		err = end
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, lastLine(d.stderr.Bytes()))
	}
	return err
}

// figures are what counts of it, beside what the project allows the agent.
func (d *daemon) figures(node string) []figure {
	const mb = 1e6
	return []figure{
		{what: "daemon, /metrics ready after start", node: node, value: millisOf(d.metricsAfter), budget: 200, unit: "ms"},
		{what: "daemon, resident memory, highest", node: node, value: float64(d.highest(func(u usage) uint64 { return u.resident })) / mb, budget: 25, unit: "MB"},
		{what: "daemon, anonymous memory, highest", node: node, value: float64(d.highest(func(u usage) uint64 { return u.anonymous })) / mb, budget: 12, unit: "MB"},
		{what: "daemon, share of a core, start included", node: node, value: d.share(), budget: 0.5, unit: "%"},
	}
}

// startDaemon starts the agent.
func startDaemon(ctx context.Context, h *host.Host, agent string, args ...string) (*daemon, error) {
	return start(h, "/readyz", func(address string) *exec.Cmd {
		return exec.CommandContext(ctx, agent, append([]string{"--listen", address, "--state-file", ""}, args...)...)
	})
}

// start starts what command makes of an address to listen on; ready is the page
// that says when it has seen everything once.
func start(h *host.Host, ready string, command func(address string) *exec.Cmd) (*daemon, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	d := &daemon{host: h, url: "http://" + address, ready: ready, cmd: command(address), ended: make(chan struct{})}
	d.cmd.Stderr = &d.stderr
	d.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL} // if we are killed, so is it
	d.started = time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = d.cmd.Wait() // how it ended shows in the process' state
		close(d.ended)
	}()
	return d, nil
}

// freeAddress is one on loopback on which nobody listens at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// watch looks at the daemon until it has run for so long.
func (d *daemon) watch(ctx context.Context, long time.Duration) (err error) {
	if d.metricsAfter, err = d.await(ctx, "/metrics", time.Millisecond); err != nil {
		return err
	}
	if d.readyAfter, err = d.await(ctx, d.ready, 5*time.Millisecond); err != nil {
		return err
	}
	if err := d.look(ctx); err != nil {
		return err
	}
	d.startCPU = d.cpu
	look, scrape := time.NewTicker(lookEvery), time.NewTicker(scrapeEvery)
	defer look.Stop()
	defer scrape.Stop()
	over := time.After(long - time.Since(d.started))
	for {
		select {
		case <-look.C:
			err = d.look(ctx)
		case <-scrape.C:
			start := time.Now()
			err = d.get(ctx, "/metrics")
			d.scrapes = append(d.scrapes, time.Since(start))
		case <-over:
			d.watched = time.Since(d.started)
			return d.look(ctx)
		case <-d.ended:
			return fmt.Errorf("it ended by itself: %v", d.cmd.ProcessState)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// await asks for a page until it is there, and says how long after the start
// that was. It asks less and less often, by a tenth of the time gone by, so that
// the asking does not itself become the daemon's load.
func (d *daemon) await(ctx context.Context, page string, every time.Duration) (time.Duration, error) {
	for {
		err := d.get(ctx, page)
		after := time.Since(d.started)
		if err == nil {
			return after, nil
		}
		if after > answerWithin {
			return 0, fmt.Errorf("no answer within %v: %w", answerWithin, err)
		}
		select {
		case <-time.After(max(every, after/10)):
		case <-d.ended:
			return 0, fmt.Errorf("it ended by itself: %v", d.cmd.ProcessState)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (d *daemon) get(ctx context.Context, page string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+page, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", page, resp.Status)
	}
	return nil
}

// look adds up what the agent and its children need at the moment.
func (d *daemon) look(ctx context.Context) error {
	var u usage
	d.cpu = 0
	family := map[int]bool{d.cmd.Process.Pid: true}
	err := process.Walk(ctx, d.host, func(p process.Process) error { // by rising PID: mostly parents first
		if !family[p.PID] && !family[p.PPID] {
			return nil
		}
		family[p.PID] = true
		s, err := process.ReadStatus(d.host, p.PID)
		if errors.Is(err, process.ErrGone) {
			return nil
		}
		u.processes++
		u.threads += s.Threads
		u.resident += s.RSSAnon + s.RSSFile
		u.anonymous += s.RSSAnon
		d.cpu += cpuClock(processClock(p.PID))
		return err
	})
	d.looks = append(d.looks, u)
	return err
}

// end asks the daemon to end and waits for it.
func (d *daemon) end() error {
	start := time.Now()
	if err := d.cmd.Process.Signal(unix.SIGTERM); err != nil && !isEnded(d.ended) {
		return err
	}
	select {
	case <-d.ended:
		d.endAfter = time.Since(start)
		return nil
	case <-time.After(endWithin):
		err := fmt.Errorf("SIGTERM did not end it within %v", endWithin)
		if kill := d.cmd.Process.Kill(); kill != nil {
			return errors.Join(err, kill)
		}
		<-d.ended
		return err
	}
}

func isEnded(ended <-chan struct{}) bool {
	select {
	case <-ended:
		return true
	default:
		return false
	}
}

func (d *daemon) highest(of func(usage) uint64) uint64 {
	var most uint64
	for _, u := range d.looks {
		most = max(most, of(u))
	}
	return most
}

// share is its CPU over the whole time, in percent of a core.
func (d *daemon) share() float64 { return 100 * d.cpu.Seconds() / d.watched.Seconds() }

// shareThen is the same without its start.
func (d *daemon) shareThen() float64 {
	return 100 * (d.cpu - d.startCPU).Seconds() / (d.watched - d.readyAfter).Seconds()
}

func (d *daemon) print(w io.Writer, name string) error {
	last := d.looks[len(d.looks)-1]
	scrapes := "none"
	if len(d.scrapes) > 0 {
		scrapes = fmt.Sprintf("%d, median %s, longest %s", len(d.scrapes), millis(median(d.scrapes)), millis(slices.Max(d.scrapes)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\tover %v\n", name, d.watched.Round(time.Second))
	for _, line := range [][2]string{
		{"/metrics answers after", millis(d.metricsAfter)},
		{"all has been looked at once after", millis(d.readyAfter)},
		{"scrapes", scrapes},
		{"resident, anonymous at the end", fmt.Sprintf("%.1f MB, %.1f MB", float64(last.resident)/1e6, float64(last.anonymous)/1e6)},
		{"processes, threads", fmt.Sprintf("%d, %d", last.processes, last.threads)},
		{"CPU", fmt.Sprintf("%s, %.3f %% of a core", millis(d.cpu), d.share())},
		{"without the start", fmt.Sprintf("%s, %.3f %% of a core", millis(d.cpu-d.startCPU), d.shareThen())},
		{"SIGTERM ends it within", millis(d.endAfter)},
	} {
		fmt.Fprintf(&b, "%s\t%s\n", line[0], line[1])
	}
	return align(w, 0, b.String())
}
