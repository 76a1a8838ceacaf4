package rules

import (
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

// claims reports whether a line by itself says that kind is wrong. One that only
// matters together with others, of other names or over a long time, does not.
func claims(cs []problem.Claim, kind problem.Kind) bool {
	return slices.ContainsFunc(cs, func(c problem.Claim) bool {
		return c.Kind == kind && !c.Resolves && c.Logs.Distinct == "" && c.Logs.Lasting == 0
	})
}

// wordings are the test lines of one rule.
type wordings struct {
	rule    string   // its ID
	yes, no []string // what it must match, and what only looks like it
}

// readWordings reads testdata/lines: below a rule's ID in brackets stand its
// wordings, each behind "+ ", and look-alikes behind "- ".
func readWordings(t testing.TB) []wordings {
	t.Helper()
	files, err := filepath.Glob("testdata/lines/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no lines", err)
	}
	var all []wordings
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := &wordings{}
		for i, l := range strings.Split(string(raw), "\n") {
			line := l[min(2, len(l)):]
			switch {
			case l == "" || l[0] == '#':
			case l[0] == '[':
				all = append(all, wordings{rule: strings.Trim(l, "[]")})
				w = &all[len(all)-1]
			case strings.HasPrefix(l, "+ "):
				w.yes = append(w.yes, line)
			case strings.HasPrefix(l, "- "):
				w.no = append(w.no, line)
			default:
				t.Fatalf("%s:%d: %q", file, i+1, l)
			}
		}
	}
	return all
}

// TestWordings: each rule knows at least three wordings of its failure, also by
// itself, and at least two lines that look like it claim nothing of the kind.
func TestWordings(t *testing.T) {
	set := builtin(t)
	lines := map[string]wordings{}
	for _, w := range readWordings(t) {
		if _, twice := lines[w.rule]; twice {
			t.Errorf("[%s] stands twice", w.rule)
		}
		lines[w.rule] = w
	}
	for _, r := range Builtin() {
		t.Run(r.ID(), func(t *testing.T) {
			alone, err := Compile(BuiltinUnits(), []Rule{r})
			if err != nil {
				t.Fatal(err)
			}
			w := lines[r.ID()]
			delete(lines, r.ID())
			if len(w.yes) < 3 || len(w.no) < 2 {
				t.Fatalf("%d wordings and %d look-alikes; at least 3 and 2 are wanted", len(w.yes), len(w.no))
			}
			for i, l := range w.yes {
				if len(text(alone, l)) == 0 {
					t.Errorf("the rule does not match %s", l)
				}
				if !slices.ContainsFunc(text(set, l), func(c problem.Claim) bool { return c.Kind == r.Kind }) {
					t.Errorf("the rules together do not match %s", l)
				}
				if slices.Contains(w.yes[:i], l) {
					t.Errorf("stands twice: %s", l)
				}
			}
			for _, l := range w.no {
				if len(text(alone, l)) > 0 || claims(text(set, l), r.Kind) && !r.Resolves {
					t.Errorf("claimed: %s", l)
				}
			}
		})
	}
	for id := range lines {
		t.Errorf("[%s] is no rule's name", id)
	}
}

func TestEveryLogKindHasARule(t *testing.T) {
	kinds := builtin(t).Kinds()
	c := problem.Builtin()
	for _, k := range kinds {
		if d, ok := c.Get(k); !ok || d.Sources&problem.Log == 0 || d.Logs.N == 0 {
			t.Errorf("%s: the catalogue has no log evidence for it", k)
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
		for _, c := range text(set, l) {
			if !c.Resolves {
				t.Errorf("%s: %s", c.Kind, l)
			}
		}
	}
}

// TestMessagesAreFilled: every rule's message can be filled whenever it matches.
func TestMessagesAreFilled(t *testing.T) {
	set := builtin(t)
	for _, l := range corpus(t) {
		for _, c := range text(set, l) {
			if c.Message == "" || strings.ContainsAny(c.Message, "{}") || strings.HasSuffix(c.Message, " ") {
				t.Errorf("%s: message %q of %s", c.Kind, c.Message, l)
			}
		}
	}
}
