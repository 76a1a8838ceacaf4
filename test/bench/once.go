package main

// This file measures `agent --once` as a person meets it: from the start of the
// program to its end, beside other programs in the same minutes.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// command is a program to measure. Where it is not installed it is left out.
type command struct {
	args []string
	// okUpTo is the highest exit code that is no failure.
	okUpTo int
	walls  []time.Duration
	cpus   []time.Duration
}

func benchOnce(ctx context.Context, w io.Writer, o options, node string) ([]figure, error) {
	say("%s --once", o.agent)
	// --once tells by its code, 0 to 3, how the node is.
	agent := &command{args: []string{o.agent, "--once"}, okUpTo: 3}
	floor := &command{args: []string{"true"}}
	commands := []*command{floor, agent}
	var ps *command
	if installed("ps") {
		ps = &command{args: []string{"ps", "-eLf"}}
		commands = append(commands, ps)
	}
	// In turns, so that a slow second of the machine hits all alike.
	for i := range o.runs + 1 {
		for _, c := range commands {
			if err := c.run(ctx, i > 0); err != nil {
				return nil, err
			}
		}
	}
	if err := printOnce(w, commands, median(floor.walls)); err != nil {
		return nil, err
	}
	f := figure{what: "agent --once, wall time", node: node, value: millisOf(median(agent.walls)), budget: 500, unit: "ms"}
	if ps != nil {
		f.beside, f.other = "ps -eLf", millisOf(median(ps.walls))
	}
	return []figure{f}, nil
}

// run runs c once; keep is false for the warm-up.
func (c *command) run(ctx context.Context, keep bool) error {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 && exit.ExitCode() <= c.okUpTo {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%v: %w: %s", c.args, err, lastLine(stderr.Bytes()))
	}
	if keep {
		c.walls = append(c.walls, wall)
		c.cpus = append(c.cpus, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	}
	return nil
}

func printOnce(w io.Writer, commands []*command, floor time.Duration) error {
	var b strings.Builder
	fmt.Fprint(&b, "\nmedian\tmin\tmax\tCPU\t× true\t  command\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%s\t  %s\n", millis(median(c.walls)), millis(slices.Min(c.walls)), millis(slices.Max(c.walls)),
			millis(median(c.cpus)), ratio(median(c.walls), floor), strings.Join(c.args, " "))
	}
	return align(w, tabwriter.AlignRight, b.String())
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}
