package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/config"
)

func generated(t *testing.T) map[string]string {
	all, err := pages("../..")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The pages in the repository are those that the code makes.
func TestPagesAreUpToDate(t *testing.T) {
	all := generated(t)
	for name, want := range all {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil || string(got) != want {
			t.Errorf("docs/%s is not what the code says (%v): run go run ./docs/gen", name, err)
		}
	}
	files, err := filepath.Glob("../kinds/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := all["kinds/"+filepath.Base(f)]; !ok {
			t.Errorf("%s is about no kind of the catalogue: run go run ./docs/gen", f)
		}
	}
}

// A key that nobody explains is not documented.
func TestEverySettingIsExplained(t *testing.T) {
	c, err := readComments("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range config.Settings() {
		if c.of(s) == "" && (!strings.HasPrefix(s.Path, "probes.") || strings.Contains(s.Path, ".thresholds.")) {
			t.Errorf("%s: its field has no comment", s.Path)
		}
	}
}

func TestLinksLeadToPages(t *testing.T) {
	all := generated(t)
	for name, text := range all {
		for _, rest := range strings.Split(text, "](")[1:] {
			target, _, _ := strings.Cut(rest, ")")
			target, _, _ = strings.Cut(target, "#")
			if _, ok := all[filepath.Join(filepath.Dir(name), target)]; !ok {
				t.Errorf("%s links to %s, which is not there", name, target)
			}
		}
	}
}
