// Package test holds the tests that concern the project as a whole.
package test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/nodevitals/nodevitals/"

// level says how high a package stands. The longest prefix counts.
func level(pkg string) (int, bool) {
	levels := map[string]int{
		"cmd/agent": 4, "internal/agent": 4,
		"internal/config": 3, "internal/report": 3,
		"internal/probes": 2, "internal/rules": 2, "internal/tracker": 2, "internal/diagnosis": 2,
		"internal/journal": 1, "internal/host/": 1, "internal/mounthelper": 1,
		"internal/problem": 0, "internal/host": 0,
	}
	best, found := "", false
	for prefix := range levels {
		exact := pkg == prefix || strings.HasPrefix(pkg, strings.TrimSuffix(prefix, "/")+"/") && (strings.HasSuffix(prefix, "/") || prefix != "internal/host")
		if exact && len(prefix) >= len(best) {
			best, found = prefix, true
		}
	}
	return levels[best], found
}

// TestLayers: a package imports only from lower levels, so that data flows one
// way. cmd/agent may use internal/agent.
func TestLayers(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(name, "test") || strings.HasPrefix(name, "deploy/") || strings.HasPrefix(name, "docs/") { // programs beside the product
			continue
		}
		own, ok := level(name)
		if !ok {
			t.Errorf("%s stands on no level: give it one in docs/design.md and here", name)
		}
		seen++
		for _, imp := range p.Imports {
			other, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			if other == "internal/agent" && name == "cmd/agent" {
				continue
			}
			if l, _ := level(other); l >= own && !sameHouse(name, other) {
				t.Errorf("%s (level %d) imports %s (level %d)", name, own, other, l)
			}
		}
	}
	if seen < 10 {
		t.Fatalf("only %d packages were looked at", seen)
	}
}

// sameHouse: the small packages about the host may use each other, since owner
// needs cgroup; the readers of logs all hand over journal's record.
func sameHouse(a, b string) bool {
	return strings.HasPrefix(a, "internal/host/") && strings.HasPrefix(b, "internal/host/") ||
		strings.HasPrefix(a, "internal/journal/") && b == "internal/journal"
}
