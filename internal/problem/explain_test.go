package problem

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestExplainGolden(t *testing.T) {
	c := Builtin()
	for _, kind := range []Kind{ForkRefused, PLEGUnhealthy, FilesystemSpaceLow, ContainerOOM} {
		t.Run(string(kind), func(t *testing.T) {
			d, _ := c.Get(kind)
			got := d.Explain(c)
			file := filepath.Join("testdata", "explain", string(kind)+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the page changed (accept with -update):\n%s", got)
			}
		})
	}
}

func TestExplainFitsTheTerminal(t *testing.T) {
	c := Builtin()
	for _, d := range c.All() {
		for line := range strings.Lines(d.Explain(c)) {
			line = strings.TrimSuffix(line, "\n")
			if utf8.RuneCountInString(line) > explainWidth || strings.TrimRight(line, " ") != line {
				t.Errorf("%s: line too long, or with trailing space: %q", d.Kind, line)
			}
		}
	}
}

// A user's own kind has few columns; its page must do without the others.
func TestExplainOfASparseKind(t *testing.T) {
	d := Definition{
		Kind: "Mine", Scope: NodeScope, Severity: Critical, Sources: Level | Log,
		Warn: Persist{Runs: 2, For: 90 * time.Second}, Crit: Persist{For: 90 * time.Minute},
		Logs:    Count{N: 2, Within: time.Minute, Lasting: 2 * time.Hour},
		Summary: "A " + strings.Repeat("long", 30) + " word.",
	}
	c, err := NewCatalogue([]Definition{d})
	if err != nil {
		t.Fatal(err)
	}
	page := d.Explain(c)
	for _, want := range []string{"after 2 runs in a row and 90 s", "lasted 90 min", "on 2 lines within 1 min", "for 2 h; those", "no condition", strings.Repeat("long", 30)} {
		if !strings.Contains(page, want) {
			t.Errorf("lacks %q:\n%s", want, page)
		}
	}
	for _, absent := range []string{"looks the same", "brought it about", "bring about"} {
		if strings.Contains(page, absent) {
			t.Errorf("has an empty section %q:\n%s", absent, page)
		}
	}
}

func TestSuggest(t *testing.T) {
	c := Builtin()
	nearLimit := slices.IndexFunc(c.All(), func(d Definition) bool { return strings.HasSuffix(string(d.Kind), "NearLimit") })
	for _, tc := range []struct {
		asked string
		first Kind // "" for none
		all   int  // how many in all, -1: any
	}{
		{"ForkRefused", ForkRefused, 1},
		{"forkrefused", ForkRefused, 1},
		{"fork-refused", ForkRefused, 1},
		{"PLEG_unhealthy", PLEGUnhealthy, 1},
		{"ForkRefussed", ForkRefused, 1},
		{"FrokRefused", ForkRefused, 1},
		{"pleg", PLEGUnhealthy, 1},
		{"oom", NodeOOM, 3},
		{"conntrack", ConntrackNearLimit, 2},
		{"inotify", InotifyInstancesNearLimit, 3},
		{"Kubelet", KubeletDown, -1},
		{"NearLimit", c.All()[nearLimit].Kind, maxSuggestions},
		{"ReadOnlyFileSystem", ReadonlyFilesystem, 1},
		{"", "", 0},
		{"--", "", 0},
		{"zzzzzzzz", "", 0},
		{"qq", "", 0},
		{strings.Repeat("ForkRefused", 100), "", 0},
		{"ForkRefusé", ForkRefused, 1},
		{"\xff\xfe", "", 0},
	} {
		got := c.Suggest(tc.asked)
		var first Kind
		if len(got) > 0 {
			first = got[0]
		}
		if first != tc.first || (tc.all >= 0 && len(got) != tc.all) || len(got) > maxSuggestions {
			t.Errorf("Suggest(%q) = %v, want %d, the first %q", tc.asked, got, tc.all, tc.first)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"abc", "abc", 0}, {"flaw", "lawn", 2},
	} {
		if got := editDistance(tc.a, tc.b); got != tc.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func FuzzSuggest(f *testing.F) {
	for _, s := range []string{"pleg", "ForkRefussed", "", "\xff", "Ünïcode"} {
		f.Add(s)
	}
	c := Builtin()
	f.Fuzz(func(t *testing.T, s string) {
		kinds := c.Suggest(s)
		for i, k := range kinds {
			if _, ok := c.Get(k); !ok || slices.Contains(kinds[:i], k) {
				t.Errorf("Suggest(%q) = %v: %s is no kind, or there twice", s, kinds, k)
			}
		}
		if len(kinds) > maxSuggestions {
			t.Errorf("Suggest(%q) gives %d kinds", s, len(kinds))
		}
	})
}
