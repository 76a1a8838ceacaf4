package rules

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestRequiredLiterals(t *testing.T) {
	for _, tc := range []struct {
		pattern string
		want    []string
	}{
		{`PLEG is not healthy`, []string{"pleg is not healthy"}},
		{`[Ff]ailed to start`, []string{"failed to start"}},
		{`(?:foobar|barfoobar)\d+`, []string{"foobar", "barfoobar"}},
		{`abcdefgh(?:x|y)?ijklmnop`, []string{"abcdefghijklmnop", "abcdefghxijklmnop", "abcdefghyijklmnop"}},
		{`.*something.*`, []string{"something"}},
		{`(?:something)+`, []string{"something"}},
		{`(?:something){2,}`, []string{"something"}},
		{`(?i)containerd`, []string{"containerd"}},
		{`(?i)kubernetes`, []string{"ubernete"}}, // k and s fold to letters outside ASCII
		{`(?:something)*`, nil},
		{`(?:something|.)`, nil},
		{`\d+`, nil},
		{`a?`, nil},
	} {
		re, err := syntax.Parse(tc.pattern, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		got := requiredLiterals(re.Simplify(), newRarity(nil).cost)
		slices.Sort(got)
		slices.Sort(tc.want)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.pattern, got, tc.want)
		}
	}
}

// TestNoBuiltinRuleReadsEveryLine: a rule without a literal makes every line dear.
func TestNoBuiltinRuleReadsEveryLine(t *testing.T) {
	set := builtin(t)
	for _, i := range set.filter.always {
		t.Errorf("%s: %s needs no literal of four bytes or more", set.rules[i].Kind, set.rules[i].Pattern)
	}
	if s := set.filter.narrow.sources; s&^(Kernel|Systemd) != 0 {
		t.Errorf("lines of %v are searched for literals of fewer than %d bytes", s, window)
	}
}

// plain is the plain way: every regular expression on every line.
func (s *Set) plain(r *journal.Record, from Source) []problem.Claim {
	line := r.Message
	if len(line) > 0 && line[0] == '{' {
		if flat, ok := flatten(line); ok {
			line = flat
		}
	}
	var claims []problem.Claim
	for i := range s.rules {
		c := &s.rules[i]
		if c.Sources&from == 0 || c.Sure && from == Any {
			continue
		}
		m := c.pattern.FindSubmatchIndex(line)
		if m == nil || c.exclude != nil && c.exclude.Match(line) {
			continue
		}
		claims = merge(claims, c.claim(r, line, m))
	}
	return claims
}

func kindsOf(cs []problem.Claim) (kinds []problem.Kind) {
	for _, c := range cs {
		kinds = append(kinds, c.Kind)
	}
	return kinds
}

func corpus(t testing.TB) []string {
	lines := ordinaryLines()
	for _, w := range readWordings(t) {
		lines = append(append(lines, w.yes...), w.no...)
	}
	return lines
}

func TestPrefilterLosesNothing(t *testing.T) {
	set := builtin(t)
	lines := corpus(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 4000 {
		line := lines[rnd.IntN(len(lines))]
		if i >= len(lines) { // pieces of two lines, in any case
			other := lines[rnd.IntN(len(lines))]
			line = line[rnd.IntN(len(line)):] + other[rnd.IntN(len(other)):]
			if i%3 == 0 {
				line = strings.ToUpper(line)
			}
		}
		r := &journal.Record{Source: "x", Message: []byte(line)}
		for _, from := range []Source{Any, Kubelet, Kernel} {
			if got, want := kindsOf(set.match(r, nil, from, time.Time{})), kindsOf(set.plain(r, from)); !slices.Equal(got, want) {
				t.Fatalf("%v, every regexp on its own finds %v: %s", got, want, line)
			}
		}
	}
}

func FuzzPrefilter(f *testing.F) {
	f.Add(`fo+bar|(?i:Baz)`, "xx foobar")
	f.Add(`a(?:bc|de)[fg]hij`, "adeghij")
	f.Add(`(?i)kube\x{212a}`, "KUBEK")
	f.Fuzz(func(t *testing.T, pattern, line string) {
		re, err := regexp.Compile(pattern)
		if err != nil || pattern == "" || len(pattern) > 200 {
			return
		}
		s, err := Compile(BuiltinUnits(), []Rule{{Kind: "K", Pattern: pattern}})
		if err != nil {
			t.Fatal(err)
		}
		// Every text around it must be found at every alignment.
		for pad := range gramLen {
			text := strings.Repeat(" ", pad) + line
			got := len(s.filter.candidates([]byte(text), Any, nil)) > 0
			if !got && re.MatchString(text) {
				t.Errorf("%q matches %q at %d but is no candidate", pattern, line, pad)
			}
		}
	})
}

// everyday makes n records as a node logs them, a share of which matters.
func everyday(t testing.TB, n int, matching float64) []journal.Record {
	rnd := rand.New(rand.NewPCG(3, 4))
	ordinary := ordinaryLines()
	var bad []string
	for _, w := range readWordings(t) {
		bad = append(bad, w.yes...)
	}
	records := make([]journal.Record, n)
	for i := range records {
		line := ordinary[rnd.IntN(len(ordinary))]
		if rnd.Float64() < matching {
			line = bad[rnd.IntN(len(bad))]
		}
		r := journal.Record{Source: "journal", Message: []byte(line)}
		Parse(&r, now)
		switch {
		case r.Kernel:
		case strings.HasPrefix(line, "time="):
			r.Unit = "containerd.service"
		case regexp.MustCompile(`^[IWEF]\d{4} `).MatchString(line):
			r.Unit = "kubelet.service"
		case r.Identifier == "":
			r.Kernel = true
		}
		// Ids and numbers differ from line to line.
		r.Message = fmt.Appendf(nil, "%s %x", r.Message, rnd.Uint64())
		records[i] = r
	}
	return records
}

func BenchmarkMatch(b *testing.B) {
	set := builtin(b)
	for _, share := range []float64{0.001, 0.3} {
		records := everyday(b, 10000, share)
		bytes := 0
		for i := range records {
			bytes += len(records[i].Message)
		}
		for _, how := range []struct {
			name  string
			match func(*journal.Record) []problem.Claim
		}{
			{"rules", set.Match},
			{"every-regexp", func(r *journal.Record) []problem.Claim { return set.plain(r, set.units.Of(r)) }},
			{"search-only", func(r *journal.Record) []problem.Claim {
				var buf [16]int
				set.filter.candidates(r.Message, set.units.Of(r), buf[:0])
				return nil
			}},
		} {
			b.Run(fmt.Sprintf("%s/%g%%", how.name, 100*share), func(b *testing.B) {
				b.SetBytes(int64(bytes / len(records)))
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					how.match(&records[i])
					if i++; i == len(records) {
						i = 0
					}
				}
			})
		}
	}
}
