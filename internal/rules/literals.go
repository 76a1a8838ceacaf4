package rules

// This file: which literals a regular expression needs. Every text that it
// matches holds at least one of them, so that a text with none need not be tried.

import (
	"math"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxExact bounds how many texts an alternation is multiplied out into.
	maxExact = 24
	// maxClass is how many letters a character class may have to be multiplied out.
	maxClass = 4
)

// facts are what is known of one part of an expression.
type facts struct {
	// exact are all texts that it can match, if these are few; else nil.
	exact []string
	// need: each match holds one of them; nil if nothing is known.
	need []string
}

// requiredLiterals returns texts, ASCII letters in lower case, of which every
// match of the expression holds at least one (regardless of case), those that
// cost least by the measure given; nil if there are none.
func requiredLiterals(re *syntax.Regexp, cost func([]string) float64) []string {
	f := analyse(re, cost)
	if f.exact != nil {
		return usable(f.exact)
	}
	return f.need
}

// usable is a set of literals, or nil if one of them is empty, which is in every text.
func usable(set []string) []string {
	if len(set) == 0 || slices.Contains(set, "") {
		return nil
	}
	return set
}

func analyse(re *syntax.Regexp, cost func([]string) float64) facts {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return facts{exact: []string{""}}
	case syntax.OpLiteral:
		return literal(re)
	case syntax.OpCharClass:
		return class(re)
	case syntax.OpCapture:
		return analyse(re.Sub[0], cost)
	case syntax.OpConcat:
		return concat(re.Sub, cost)
	case syntax.OpAlternate:
		return alternate(re.Sub, cost)
	case syntax.OpQuest:
		if f := analyse(re.Sub[0], cost); f.exact != nil && len(f.exact) < maxExact {
			return facts{exact: union([]string{""}, f.exact)}
		}
	case syntax.OpPlus:
		return atLeastOnce(re, cost)
	case syntax.OpRepeat:
		if re.Min > 0 {
			return atLeastOnce(re, cost)
		}
	}
	return facts{}
}

func atLeastOnce(re *syntax.Regexp, cost func([]string) float64) facts {
	f := analyse(re.Sub[0], cost)
	if f.exact != nil {
		return facts{need: usable(f.exact)}
	}
	return f
}

// literal is lower-cased: the search for literals does not heed case, the
// expression itself does. A letter that folds to one outside ASCII (k to the
// Kelvin sign, s to the long s) is unknown where the expression ignores case.
func literal(re *syntax.Regexp) facts {
	if slices.Contains(re.Rune, utf8.RuneError) { // it also matches any byte that is no UTF-8
		return facts{}
	}
	if re.Flags&syntax.FoldCase == 0 {
		return facts{exact: []string{lower(string(re.Rune))}}
	}
	longest, start := "", 0
	whole := true
	for i, r := range re.Rune {
		if r < 0x80 && r != 'k' && r != 'K' && r != 's' && r != 'S' {
			continue
		}
		whole = false
		if part := string(re.Rune[start:i]); len(part) > len(longest) {
			longest = part
		}
		start = i + 1
	}
	if part := string(re.Rune[start:]); whole || len(part) > len(longest) {
		longest = part
	}
	if whole {
		return facts{exact: []string{lower(longest)}}
	}
	return facts{need: usable([]string{lower(longest)})}
}

func class(re *syntax.Regexp) facts {
	var letters []string
	for i := 0; i+1 < len(re.Rune); i += 2 {
		for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
			if r == utf8.RuneError {
				return facts{}
			}
			l := lower(string(r))
			if slices.Contains(letters, l) {
				continue
			}
			if letters = append(letters, l); len(letters) > maxClass {
				return facts{}
			}
		}
	}
	return facts{exact: letters}
}

// concat multiplies out what is exact and keeps the best of the pieces between
// what is not.
func concat(subs []*syntax.Regexp, cost func([]string) float64) facts {
	piece, all := []string{""}, true
	var best []string
	lowest := math.Inf(1)
	offer := func(set []string) {
		if set = usable(set); set == nil {
			return
		}
		if c := cost(set); c < lowest {
			best, lowest = set, c
		}
	}
	for _, sub := range subs {
		f := analyse(sub, cost)
		if f.exact == nil {
			all = false
			offer(piece)
			offer(f.need)
			piece = []string{""}
			continue
		}
		if len(piece)*len(f.exact) > maxExact {
			all = false
			offer(piece)
			piece = f.exact
			continue
		}
		piece = product(piece, f.exact)
	}
	if all {
		return facts{exact: piece}
	}
	offer(piece)
	return facts{need: best}
}

func alternate(subs []*syntax.Regexp, cost func([]string) float64) facts {
	var exact, need []string
	isExact, isNeed := true, true
	for _, sub := range subs {
		f := analyse(sub, cost)
		if isExact = isExact && f.exact != nil; isExact {
			exact = union(exact, f.exact)
		}
		n := f.need
		if f.exact != nil {
			n = usable(f.exact)
		}
		if isNeed = isNeed && n != nil; isNeed {
			need = union(need, n)
		}
	}
	if isExact && len(exact) <= maxExact {
		return facts{exact: exact}
	}
	if isNeed {
		return facts{need: need}
	}
	return facts{}
}

func product(a, b []string) []string {
	var out []string
	for _, x := range a {
		for _, y := range b {
			out = append(out, x+y)
		}
	}
	return out
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// lower is s with its ASCII letters in lower case, byte by byte, as the search
// compares them.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
