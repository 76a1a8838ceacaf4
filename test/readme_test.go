package test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestReadmeConfiguration: the configuration that the README shows is one.
func TestReadmeConfiguration(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readme(t), -1)
	if len(blocks) == 0 {
		t.Fatal("no configuration is shown")
	}
	for _, b := range blocks {
		if _, err := config.Parse("README.md", []byte(b[1])); err != nil {
			t.Error(err)
		}
	}
}

// TestReadmeNamesWhatThereIs: make targets, files and conditions that the README
// names exist, and every condition that a probe decides is named.
func TestReadmeNamesWhatThereIs(t *testing.T) {
	text := readme(t)
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^make (\w+)`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(string(makefile), "\n"+m[1]+":") {
			t.Errorf("there is no make %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat("../" + m[1]); err != nil {
			t.Error(err)
		}
	}
	c := problem.Builtin()
	for _, p := range config.Default().Probes {
		for _, k := range p.Kinds() {
			if d, ok := c.Get(k); !ok || d.Condition != "" && !strings.Contains(text, "| "+d.Condition+" |") {
				t.Errorf("%s (%s) is decided by probe %s, and the README does not name its condition", k, d.Condition, p.Name())
			}
		}
	}
}

// TestProbesAndCatalogueAgree: each kind is decided by one probe only, is in the
// catalogue with level evidence, and the resources that the catalogue names for
// it are told apart from those of others.
func TestProbesAndCatalogueAgree(t *testing.T) {
	c := problem.Builtin()
	by := map[problem.Kind]string{}
	for _, p := range config.Default().Probes {
		for _, k := range p.Kinds() {
			if by[k] != "" {
				t.Errorf("%s is decided by %s and by %s", k, by[k], p.Name())
			}
			by[k] = p.Name()
			if d, ok := c.Get(k); !ok || d.Sources&problem.Level == 0 {
				t.Errorf("%s of probe %s has no level evidence in the catalogue", k, p.Name())
			}
		}
	}
}
