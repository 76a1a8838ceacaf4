package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// command runs the program's command line within the test.
func command(args ...string) (string, error) {
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	return out.String(), err
}

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	for file, text := range map[string]string{good: "probes: {threads: {enabled: false}}\n", bad: "listen: a\nprobse: {}\n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name    string
		args    []string
		out     string // part of the output
		failure string // part of the error; empty if there must be none
	}{
		{"explain", []string{"explain", "ForkRefused"}, "fork rejected by pids controller", ""},
		{"explain in another case", []string{"explain", "forkrefused"}, "ForkRefused", ""},
		{"explain a misspelt kind", []string{"explain", "ForkRefusd"}, "", "did you mean ForkRefused?"},
		{"explain nonsense", []string{"explain", "qqqqqqqqqq"}, "", "lists them all"},
		{"explain lists", []string{"explain"}, "PIDExhaustion\n  ForkRefused", ""},
		{"a good config", []string{"check-config", good}, "is good: ", ""},
		{"a bad config", []string{"check-config", bad}, "", bad + `:2: unknown key "probse"`},
		{"an absent config", []string{"check-config", filepath.Join(dir, "none")}, "", "no such file"},
		{"a bad config is no daemon", []string{"--config", bad}, "", `unknown key "probse"`},
		{"no such format", []string{"--once", "-o", "xml"}, "", `--output "xml" is none of`},
		{"no such flag", []string{"--onec"}, "", "unknown flag: --onec"},
		{"no such command", []string{"onec"}, "", "unknown command"},
		{"no time at all", []string{"--once", "--timeout", "0s"}, "", "--timeout"},
		{"version", []string{"version"}, "nodevitals dev", ""},
		{"a file without --once", []string{"--output-file", filepath.Join(dir, "x.prom")}, "", "--output-file goes with --once"},
		{"a format without --once", []string{"-o", "json"}, "", "--output goes with --once"},
		{"a file in no folder", []string{"--once", "--output-file", filepath.Join(dir, "none", "x.prom")}, "", "no such file"},
		{"metrics of one look", []string{"--once", "-o", "prometheus"}, "nodevitals_build_info{", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := command(tc.args...)
			var code exitCode
			if errors.As(err, &code) {
				err = nil // how the node is
			}
			if !strings.Contains(out, tc.out) {
				t.Errorf("output lacks %q:\n%s", tc.out, out)
			}
			if (err == nil) != (tc.failure == "") || err != nil && !strings.Contains(err.Error(), tc.failure) {
				t.Errorf("error %v, want %q", err, tc.failure)
			}
		})
	}
}
