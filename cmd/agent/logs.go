package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/journal/journalfile"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/rules"
	"github.com/nodevitals/nodevitals/internal/tracker"
)

// This file: the commands that deal with logs by themselves.

// maxMatchLine bounds a line that `agent match` reads, in bytes; longer ones are
// read in pieces.
const maxMatchLine = 1 << 20

func newMatch() *cobra.Command {
	var source string
	cmd := &cobra.Command{
		Use: "match", Short: "Say of log lines on standard input which rules match them",
		Long: `match reads log lines as they stand in a log file from standard input and
prints for each: the kinds whose rules match it, comma-separated, or "-"; a tab;
the line. Your own rules in the configuration take part. What only matters when
it is said of several names, or for long, is printed from the line on that makes
it matter.`,
		Example: "  journalctl -u kubelet -o cat | agent match --source kubelet | grep -v '^-'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := rules.ParseSource(source)
			if err != nil {
				return fmt.Errorf("--source: %w", err)
			}
			file, err := cmd.Flags().GetString("config")
			if err != nil {
				return err
			}
			c, err := config.Load(file)
			if err != nil {
				return err
			}
			return match(cmd.InOrStdin(), cmd.OutOrStdout(), c, from)
		},
	}
	cmd.Flags().StringVar(&source, "source", "any", "whose lines they are: any, kubelet, docker, containerd, crio, kernel, kube-proxy, systemd, coredns, pod, other")
	return cmd
}

func match(in io.Reader, out io.Writer, c config.Config, from rules.Source) error {
	r := bufio.NewReaderSize(in, maxMatchLine)
	together := tracker.New(c.Catalogue, false)
	w := bufio.NewWriter(out)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			line = trimEnd(line)
			rec := journal.Record{Message: line, Kernel: from == rules.Kernel}
			var kinds []string
			for _, claim := range c.Rules.MatchText(&rec, time.Now(), from) {
				if matters(together, &rec, claim) {
					kinds = append(kinds, string(claim.Kind))
				}
			}
			if len(kinds) == 0 {
				kinds = []string{"-"}
			}
			if _, err := fmt.Fprintf(w, "%s\t%s\n", strings.Join(kinds, ","), line); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return w.Flush()
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return errors.Join(err, w.Flush())
		}
		if r.Buffered() == 0 { // somebody may be waiting for the answer
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
}

// matters reports whether a line says that something is wrong: by itself, or
// together with those before it that do not do so either.
func matters(together *tracker.Tracker, r *journal.Record, c problem.Claim) bool {
	if c.Resolves {
		return false
	}
	if c.Logs.Distinct == "" && c.Logs.Lasting == 0 {
		return true
	}
	at := r.Time
	if at.IsZero() {
		at = time.Now()
	}
	together.Match(time.Duration(at.UnixNano()), c)
	return slices.ContainsFunc(together.Active(), func(p problem.Tracked) bool { return p.Kind == c.Kind && p.Subject == c.Subject })
}

func trimEnd(line []byte) []byte {
	s := strings.TrimSuffix(string(line), "\n")
	return []byte(strings.TrimSuffix(s, "\r"))
}

func newJournal() *cobra.Command {
	var directory, since, output string
	var units []string
	cmd := &cobra.Command{
		Use: "journal", Short: "Print systemd's journal, on hosts and in images without journalctl",
		Example: "  agent journal --unit kubelet --since 1h\n  agent journal --root /host -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			print, err := printer(output)
			if err != nil {
				return err
			}
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			root, err := cmd.Flags().GetString("root")
			if err != nil {
				return err
			}
			dirs := []string{directory}
			if directory == "" {
				h, err := host.New(root)
				if err != nil {
					return err
				}
				dirs = nil
				for _, d := range config.Default().JournalDirs {
					dirs = append(dirs, h.Path(d))
				}
			}
			return printJournal(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), dirs, journalfile.Query{
				Match: journalfile.Match{Units: withSuffix(units)}, Since: from,
			}, print)
		},
	}
	f := cmd.Flags()
	f.StringVar(&directory, "directory", "", "folder with journal files (default /var/log/journal and /run/log/journal)")
	f.StringSliceVarP(&units, "unit", "u", nil, "only this unit; may be given again")
	f.StringVar(&since, "since", "", "from when on: a duration (1h30m) or a date (2006-01-02, 2006-01-02T15:04:05Z)")
	f.StringVarP(&output, "output", "o", "short", "short, json (one object a line) or cat (only the messages)")
	return cmd
}

func withSuffix(units []string) []string {
	var out []string
	for _, u := range units {
		if !strings.Contains(u, ".") {
			u += ".service"
		}
		out = append(out, u)
	}
	return out
}

// parseSince reads a duration before now, or a date.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q is neither a duration (1h30m) nor a date (2006-01-02T15:04:05Z)", s)
}

func printJournal(ctx context.Context, out, errs io.Writer, dirs []string, q journalfile.Query, print func(io.Writer, *journal.Record) error) error {
	w := bufio.NewWriterSize(out, 64<<10)
	health, err := journalfile.Read(dirs, q, func(r *journal.Record) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return print(w, r)
	})
	if err := errors.Join(err, w.Flush()); err != nil {
		return err
	}
	for _, p := range health.Problems {
		if _, err := fmt.Fprintln(errs, "agent:", p); err != nil {
			return err
		}
	}
	if health.Files == 0 {
		return fmt.Errorf("no journal files in %s", strings.Join(dirs, ", "))
	}
	return nil
}

// printer is how a record is printed.
func printer(output string) (func(io.Writer, *journal.Record) error, error) {
	switch output {
	case "cat":
		return func(w io.Writer, r *journal.Record) error {
			_, err := fmt.Fprintf(w, "%s\n", r.Message)
			return err
		}, nil
	case "json":
		return func(w io.Writer, r *journal.Record) error {
			return json.NewEncoder(w).Encode(struct {
				Time       time.Time `json:"time"`
				BootID     string    `json:"bootID,omitempty"`
				Unit       string    `json:"unit,omitempty"`
				Identifier string    `json:"identifier,omitempty"`
				PID        int       `json:"pid,omitempty"`
				Kernel     bool      `json:"kernel,omitempty"`
				Message    string    `json:"message"`
			}{r.Time, r.BootID, r.Unit, r.Identifier, r.PID, r.Kernel, string(r.Message)})
		}, nil
	case "short":
		// To a terminal, what a record holds is text and steers nothing.
		return func(w io.Writer, r *journal.Record) error {
			who := r.Identifier
			if r.PID > 0 {
				who += fmt.Sprintf("[%d]", r.PID)
			}
			_, err := fmt.Fprintf(w, "%s %s: %s\n", r.Time.Format("Jan 02 15:04:05.000"), harmless(who), harmless(string(r.Message)))
			return err
		}, nil
	}
	return nil, fmt.Errorf("--output %q is none of short, json, cat", output)
}

// harmless replaces control characters, but for tabs and line ends.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
