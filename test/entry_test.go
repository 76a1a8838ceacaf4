package test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestEntryPoint: whatever is shipped begins at nodevitals_entry, which the linker
// must be told.
func TestEntryPoint(t *testing.T) {
	version := regexp.MustCompile(`.*-X main\.version=.*`)
	for _, name := range []string{"../Makefile", "../deploy/Dockerfile", "e2e/main_test.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := version.FindAllString(string(text), -1)
		if len(lines) != 1 || !strings.Contains(lines[0], " -E nodevitals_entry ") {
			t.Errorf("%s links with %q", name, lines)
		}
	}
}
