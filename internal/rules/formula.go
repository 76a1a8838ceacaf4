package rules

// This file: what a line must hold for a regular expression to match it, as a
// formula of literals. Looking for a few literals is many times cheaper than
// Go's regular expressions, so the formula is asked first; if the expression is
// no more than alternatives of literals, its answer is final.

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"
)

// minLeaf is the length from which a literal is worth looking for, in bytes.
const minLeaf = 3

// expr is a compiled regular expression with its formula.
type expr struct {
	*regexp.Regexp
	formula formula
	exact   bool // the expression matches if and only if the formula holds
}

func compileExpr(pattern string) (*expr, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	e := &expr{Regexp: re, formula: always{}}
	if tree, err := syntax.Parse(pattern, syntax.Perl); err == nil {
		e.formula, e.exact = formulaOf(tree), isLiterals(tree)
	}
	return e, nil
}

// mayMatch: false means that the expression does not match line.
func (e *expr) mayMatch(line []byte) bool { return e.formula.holds(line) }

// matches reports whether the expression matches line.
func (e *expr) matches(line []byte) bool {
	return e.formula.holds(line) && (e.exact || e.Match(line))
}

// formula is a condition on the literals that a line holds.
type formula interface{ holds(line []byte) bool }

type (
	always struct{}
	leaf   []byte
	all    []formula
	anyOf  []formula
)

func (always) holds([]byte) bool      { return true }
func (l leaf) holds(line []byte) bool { return bytes.Contains(line, l) }
func (a all) holds(line []byte) bool {
	for _, f := range a {
		if !f.holds(line) {
			return false
		}
	}
	return true
}

func (a anyOf) holds(line []byte) bool {
	for _, f := range a {
		if f.holds(line) {
			return true
		}
	}
	return false
}

// formulaOf is what is necessary for a match of re.
func formulaOf(re *syntax.Regexp) formula {
	if texts, ok := textsOf(re); ok {
		return oneOf(texts)
	}
	switch re.Op {
	case syntax.OpCapture, syntax.OpPlus:
		return formulaOf(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return formulaOf(re.Sub[0])
		}
	case syntax.OpConcat:
		return formulaOfAll(re.Sub)
	case syntax.OpAlternate:
		var a anyOf
		for _, sub := range re.Sub {
			f := formulaOf(sub)
			if _, yes := f.(always); yes {
				return always{}
			}
			a = append(a, f)
		}
		return a
	}
	return always{}
}

// formulaOfAll is what is necessary for subs one after another. Neighbours that
// are few texts each are multiplied out.
func formulaOfAll(subs []*syntax.Regexp) formula {
	var a all
	add := func(f formula) {
		if _, yes := f.(always); !yes {
			a = append(a, f)
		}
	}
	run := []string{""}
	for _, sub := range subs {
		texts, ok := textsOf(sub)
		if ok && len(run)*len(texts) <= maxExact {
			run = product(run, texts)
			continue
		}
		add(oneOf(run))
		if run = []string{""}; ok {
			run = texts
		} else {
			add(formulaOf(sub))
		}
	}
	add(oneOf(run))
	if len(a) == 0 {
		return always{}
	}
	return a
}

// oneOf: a line must hold one of texts.
func oneOf(texts []string) formula {
	var a anyOf
	for _, t := range texts {
		if len(t) < minLeaf {
			return always{}
		}
		a = append(a, leaf(t))
	}
	if len(a) == 1 {
		return a[0]
	}
	return a
}

// isLiterals: re is alternatives of literals, each long enough to be a leaf.
func isLiterals(re *syntax.Regexp) bool {
	texts, ok := textsOf(re)
	_, yes := oneOf(texts).(always)
	return ok && len(texts) > 0 && !yes
}

// textsOf are all texts that re matches, if these are few and it looks at nothing else.
func textsOf(re *syntax.Regexp) ([]string, bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpLiteral:
		return []string{string(re.Rune)}, plainLiteral(re)
	case syntax.OpCharClass:
		f := class(re)
		var texts []string
		for i := 0; i+1 < len(re.Rune) && f.exact != nil; i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				texts = append(texts, string(r))
			}
		}
		return texts, f.exact != nil
	case syntax.OpCapture:
		return textsOf(re.Sub[0])
	case syntax.OpQuest:
		texts, ok := textsOf(re.Sub[0])
		return union([]string{""}, texts), ok
	case syntax.OpConcat:
		out := []string{""}
		for _, sub := range re.Sub {
			texts, ok := textsOf(sub)
			if !ok || len(out)*len(texts) > maxExact {
				return nil, false
			}
			out = product(out, texts)
		}
		return out, true
	case syntax.OpAlternate:
		var out []string
		for _, sub := range re.Sub {
			texts, ok := textsOf(sub)
			if !ok || len(out)+len(texts) > maxExact {
				return nil, false
			}
			out = union(out, texts)
		}
		return out, true
	}
	return nil, false
}

func plainLiteral(re *syntax.Regexp) bool {
	if re.Flags&syntax.FoldCase != 0 {
		return false
	}
	for _, r := range re.Rune {
		if r == utf8.RuneError { // it also matches any byte that is no UTF-8
			return false
		}
	}
	return true
}
