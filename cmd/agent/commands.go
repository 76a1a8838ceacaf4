package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodevitals/nodevitals/internal/agent"
	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/mounthelper"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/report"
)

type options struct {
	once    bool
	output  string
	file    string // where the report goes; empty: standard output
	since   time.Duration
	timeout time.Duration
	root    string
	config  string
	listen  string
	kube    string
	node    string
	state   *string // nil: as the configuration says
}

const long = `nodevitals examines the Kubernetes node that it runs on: it reads the vital
signs of the machine, says what is wrong, why, and what to do next.

Without a command it runs as a daemon and serves what it sees on :20258
(/metrics for Prometheus, /healthz, /readyz, and /status on loopback).

With --once it examines the node now, prints a report, and ends with
  0  nothing wrong        2  a critical problem
  1  a warning            3  a vital sign that cannot be told
It needs no kubelet, no runtime, no disk space and no other program, so it also
works on a node that is past all that. Run it as root to see everything.`

const example = `  agent --once                       examine this node now
  agent --once -o json               the same for a program
  agent --once -o prometheus --output-file /var/lib/node_exporter/nodevitals.prom
                                     the same for node_exporter's text-file collector
  agent --once --root /host          examine the host mounted at /host
  agent explain ForkRefused          what a finding means and what to do
  agent check-config my.yaml         is this configuration right?
  agent                              run as the daemon`

func newRoot() *cobra.Command {
	var o options
	var state string
	root := &cobra.Command{
		Use: "agent", Short: "Examines a Kubernetes node: what is wrong, why, and what to do next",
		Long: long, Example: example,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range []string{"output", "output-file", "since", "timeout"} {
				if cmd.Flags().Changed(name) && !o.once { // who wants a report wants no daemon
					return fmt.Errorf("--%s goes with --once", name)
				}
			}
			if cmd.Flags().Changed("state-file") {
				o.state = &state
			}
			return run(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	f := root.Flags()
	f.BoolVar(&o.once, "once", false, "examine the node once, print a report and exit")
	f.StringVarP(&o.output, "output", "o", "text", "format of the report with --once: text, json or prometheus")
	f.StringVar(&o.file, "output-file", "", "with --once, replace this file by the report as a whole, as node_exporter's text-file collector wants it")
	f.DurationVar(&o.since, "since", 10*time.Minute, "with --once, how far to look back in log files")
	f.DurationVar(&o.timeout, "timeout", 5*time.Second, "with --once, the longest that it may take in all")
	f.StringVar(&o.listen, "listen", "", "address to serve on as a daemon (default \":20258\")")
	f.StringVar(&state, "state-file", "", "where the daemon keeps what a restart needs; empty keeps nothing (default \"/var/lib/nodevitals/state.json\")")
	pf := root.PersistentFlags()
	pf.StringVar(&o.kube, "kubeconfig", "", "kubeconfig to reach the API server with; in a cluster the pod's service account is used")
	pf.StringVar(&o.node, "node-name", "", "name of this machine's Node (default $NODE_NAME, else the host name)")
	pf.StringVar(&o.root, "root", "/", "root of the host to examine, if it is mounted elsewhere (/host in a container)")
	pf.StringVar(&o.config, "config", "", "configuration file (default "+config.DefaultPath+", if it exists)")
	root.AddCommand(newExplain(), newCheckConfig(), newMatch(), newJournal(), newCleanup(&o), newVersion())
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

func run(ctx context.Context, o options, out io.Writer) error {
	c, err := o.load()
	if err != nil {
		return err
	}
	switch o.output {
	case "text", "json", "prometheus":
	default:
		return fmt.Errorf("--output %q is none of text, json, prometheus", o.output)
	}
	if o.timeout <= 0 || o.since < 0 {
		return errors.New("--timeout must be above 0 and --since not below")
	}
	h, err := host.New(o.root)
	if err != nil {
		return err
	}
	a := agent.New(h, c, version)
	a.AskMounts(mounthelper.New(c.RunDir))
	if !o.once {
		if os.Getenv("GOMAXPROCS") == "" {
			// The daemon gains nothing by running goroutines in parallel, and each of
			// its many small wake-ups would wake a second thread to look for work.
			runtime.GOMAXPROCS(1)
		}
		if os.Getenv("GOGC") == "" {
			// The live heap is a few MB: collecting twice as often costs nothing that
			// can be measured, and leaves the node some of them.
			debug.SetGCPercent(50)
		}
		// If nobody takes the log any more, that is no reason to die.
		signal.Ignore(syscall.SIGPIPE)
		log := newPatient(os.Stderr)
		defer log.end(lastWords)
		return a.Daemon(ctx, slog.New(slog.NewTextHandler(log, nil)))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("no answer within %v, the most that the report may take (--timeout)", o.timeout))
	defer cancel()
	s := a.Once(ctx, o.since)
	var content bytes.Buffer
	if o.file != "" {
		out = &content
	}
	if err := render(out, s, a.Catalogue(), o.output); err != nil {
		return err
	}
	if o.file != "" { // everybody may read it: node_exporter is not root
		if err := agent.ReplaceFile(o.file, content.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if code := agent.ExitCode(s); code != 0 {
		return exitCode(code)
	}
	return nil
}

// load reads the configuration; what the command line says comes before it.
func (o options) load() (config.Config, error) {
	c, err := config.Load(o.config)
	return o.over(c), err
}

// over puts the flags over a configuration.
func (o options) over(c config.Config) config.Config {
	if o.listen != "" {
		c.Listen = o.listen
	}
	if o.state != nil {
		c.StateFile = *o.state
	}
	if o.kube != "" {
		c.Kube.Kubeconfig = o.kube
	}
	if o.node != "" {
		c.Kube.NodeName = o.node
	}
	return c
}

func render(out io.Writer, s *problem.Snapshot, c *problem.Catalogue, format string) error {
	switch format {
	case "json":
		return report.JSON(out, s)
	case "prometheus":
		return report.Prometheus(out, s)
	}
	return report.Text(out, s, c, terminal(out))
}

func newExplain() *cobra.Command {
	return &cobra.Command{
		Use: "explain [KIND]", Short: "Say what a finding means, how to check it by hand, and what to do",
		Example: "  agent explain             list all kinds\n  agent explain ForkRefused",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var kinds []string
			for _, d := range problem.Builtin().All() {
				kinds = append(kinds, string(d.Kind))
			}
			return kinds, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c := problem.Builtin()
			if len(args) == 0 {
				return listKinds(cmd.OutOrStdout(), c)
			}
			d, ok := c.Get(problem.Kind(args[0]))
			if !ok {
				near := c.Suggest(args[0])
				if len(near) == 0 {
					return fmt.Errorf("there is no kind %q; `agent explain` lists them all", args[0])
				}
				if len(near) > 1 || !strings.EqualFold(string(near[0]), args[0]) {
					return fmt.Errorf("there is no kind %q; did you mean %s?", args[0], join(near))
				}
				d, _ = c.Get(near[0])
			}
			_, err := io.WriteString(cmd.OutOrStdout(), d.Explain(c))
			return err
		},
	}
}

func join(kinds []problem.Kind) string {
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, " or ")
}

func listKinds(w io.Writer, c *problem.Catalogue) error {
	for _, typ := range append(c.Conditions(), "") {
		title := typ
		if typ == "" {
			title = "Told by Events only"
		}
		if _, err := fmt.Fprintln(w, title); err != nil {
			return err
		}
		for _, d := range c.All() {
			if d.Condition == typ {
				if _, err := fmt.Fprintf(w, "  %-28s %s\n", d.Kind, d.Summary); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func newCheckConfig() *cobra.Command {
	return &cobra.Command{
		Use: "check-config FILE", Short: "Check a configuration file; every mistake is told with its line",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(args[0])
			if err != nil {
				return err
			}
			enabled := 0
			for _, p := range c.Probes {
				if p.Enabled {
					enabled++
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is good: %d of %d probes enabled, listening on %s\n", args[0], enabled, len(c.Probes), c.Listen)
			return err
		},
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "nodevitals", version)
			return err
		},
	}
}
