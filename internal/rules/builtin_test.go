package rules

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func builtin(t testing.TB) *Set {
	t.Helper()
	s, err := Compile(BuiltinUnits(), Builtin())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// now is the day of the lines in testdata.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// text matches a line as it stands in a log file of which nothing is known.
func text(s *Set, line string) []problem.Claim {
	return s.MatchText(&journal.Record{Source: "/var/log/messages", Message: []byte(line)}, now, Any)
}

func claims(cs []problem.Claim, kind problem.Kind) bool {
	return slices.ContainsFunc(cs, func(c problem.Claim) bool { return c.Kind == kind && !c.Resolves })
}

func readLines(t testing.TB, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}

// TestWordings: testdata/lines/KIND.txt holds wordings of the kind, each behind
// "+ ", and lines that only look like it behind "- ".
func TestWordings(t *testing.T) {
	set := builtin(t)
	files, err := filepath.Glob("testdata/lines/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no lines", err)
	}
	for _, file := range files {
		kind := problem.Kind(strings.TrimSuffix(filepath.Base(file), ".txt"))
		t.Run(string(kind), func(t *testing.T) {
			yes, no := 0, 0
			for _, l := range readLines(t, file) {
				line, want := strings.CutPrefix(l, "+ ")
				if !want {
					line = strings.TrimPrefix(l, "- ")
				}
				if want {
					yes++
				} else {
					no++
				}
				if got := claims(text(set, line), kind); got != want {
					t.Errorf("claimed %v, want %v: %s", got, want, line)
				}
			}
			if yes < 3 || no < 2 {
				t.Errorf("%d wordings and %d look-alikes; at least 3 and 2 are wanted", yes, no)
			}
		})
	}
}

func TestEveryLogKindHasARuleAndLines(t *testing.T) {
	kinds := builtin(t).Kinds()
	c := problem.Builtin()
	for _, k := range kinds {
		if d, ok := c.Get(k); !ok || d.Sources&problem.Log == 0 || d.Logs.N == 0 {
			t.Errorf("%s: the catalogue has no log evidence for it", k)
		}
		if _, err := os.Stat("testdata/lines/" + string(k) + ".txt"); err != nil {
			t.Error(err)
		}
	}
	for _, d := range c.All() {
		if d.Sources&problem.Log != 0 && !slices.Contains(kinds, d.Kind) {
			t.Errorf("%s: the catalogue says that logs tell of it, but no rule does", d.Kind)
		}
	}
}

func TestOrdinaryLinesClaimNothing(t *testing.T) {
	set := builtin(t)
	for _, l := range ordinaryLines() {
		if cs := text(set, l); len(cs) > 0 {
			t.Errorf("%s: %s", cs[0].Kind, l)
		}
	}
}

// TestMessagesAreFilled: every rule's message can be filled whenever it matches.
func TestMessagesAreFilled(t *testing.T) {
	set := builtin(t)
	files, _ := filepath.Glob("testdata/lines/*.txt")
	for _, file := range files {
		for _, l := range readLines(t, file) {
			for _, c := range text(set, l[2:]) {
				if c.Message == "" || strings.ContainsAny(c.Message, "{}") || strings.HasSuffix(c.Message, " ") {
					t.Errorf("%s: message %q of %s", c.Kind, c.Message, l)
				}
			}
		}
	}
}
