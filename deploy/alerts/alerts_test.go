package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestRulesAreUpToDate(t *testing.T) {
	want, err := render(groups(problem.Builtin()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(rulesFile)
	if err != nil || string(got) != string(want) {
		t.Errorf("deploy/alerts/%s is not what the catalogue says (%v): run make generate", rulesFile, err)
	}
}

func TestEveryAlertTellsWhatToDo(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range groups(problem.Builtin()) {
		for _, r := range g.Rules {
			if seen[r.Alert] {
				t.Errorf("%s stands twice", r.Alert)
			}
			seen[r.Alert] = true
			page, ok := strings.CutPrefix(r.Annotations["runbook_url"], pages)
			if !ok || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s lacks an annotation: %v", r.Alert, r.Annotations)
			}
			page, _, _ = strings.Cut(page, "#")
			if _, err := os.Stat(filepath.Join("../../docs", page)); err != nil {
				t.Errorf("%s: its runbook is not there: %v", r.Alert, err)
			}
		}
	}
	for _, k := range problem.Builtin().All() {
		if !seen["Nodevitals"+string(k.Kind)] {
			t.Errorf("%s has no alert", k.Kind)
		}
	}
}
