// Command gen writes the pages that are made of the code: docs/kinds, one page
// for each kind of failure, and docs/configuration.md. Run it in the project's
// top folder: go run ./docs/gen
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func main() {
	if err := write("docs"); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(folder string) error {
	all, err := pages(".")
	if err != nil {
		return err
	}
	// A kind that is gone takes its page with it.
	if err := os.RemoveAll(filepath.Join(folder, "kinds")); err != nil {
		return err
	}
	for name, text := range all {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pages are all generated files by their names below docs; top is the project's
// folder, whose source has the comments.
func pages(top string) (map[string]string, error) {
	comments, err := readComments(top)
	if err != nil {
		return nil, err
	}
	c := config.Default()
	all := kindPages(problem.Builtin(), deciders(c.Probes))
	all["configuration.md"] = configurationPage(config.Settings(), comments)
	return all, nil
}
