// Package rules says what log lines mean: each rule recognises the lines of one
// kind of failure and extracts from them what they are about.
package rules

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// maxLine is how much of a line is kept in a claim, in bytes. The rest of a
// stack trace tells a person nothing that the beginning does not.
const maxLine = 300

// Rule recognises the log lines of one failure. Named captures of the pattern
// become references of the claim: cgroup, pod, unit, device, mount, server.
type Rule struct {
	Kind problem.Kind
	// Literals: a line that holds none of them cannot match; the cheap first look.
	Literals []string
	Pattern  string
	// Exclude takes out look-alikes.
	Exclude string
	Message string
}

// Set is a compiled list of rules. It is safe for concurrent use.
type Set struct{ rules []compiled }

type compiled struct {
	Rule
	literals [][]byte
	pattern  *regexp.Regexp
	exclude  *regexp.Regexp
}

// Compile checks and compiles rules; the error names the rule.
func Compile(rules []Rule) (*Set, error) {
	s := &Set{}
	for i, r := range rules {
		c := compiled{Rule: r}
		var err error
		if c.pattern, err = regexp.Compile(r.Pattern); err != nil {
			return nil, fmt.Errorf("rule %d (%s): pattern: %w", i+1, r.Kind, err)
		}
		if r.Exclude != "" {
			if c.exclude, err = regexp.Compile(r.Exclude); err != nil {
				return nil, fmt.Errorf("rule %d (%s): exclude: %w", i+1, r.Kind, err)
			}
		}
		for _, l := range r.Literals {
			c.literals = append(c.literals, []byte(l))
		}
		s.rules = append(s.rules, c)
	}
	return s, nil
}

// Kinds are the kinds that some rule claims, in order of first appearance.
func (s *Set) Kinds() []problem.Kind {
	var kinds []problem.Kind
	seen := map[problem.Kind]bool{}
	for _, r := range s.rules {
		if !seen[r.Kind] {
			seen[r.Kind] = true
			kinds = append(kinds, r.Kind)
		}
	}
	return kinds
}

// Match says what a line of source claims; nothing for nearly every line.
func (s *Set) Match(source string, line []byte) []problem.Claim {
	var claims []problem.Claim
	for i := range s.rules {
		r := &s.rules[i]
		if !r.mayMatch(line) {
			continue
		}
		m := r.pattern.FindSubmatch(line)
		if m == nil || r.exclude != nil && r.exclude.Match(line) {
			continue
		}
		claims = append(claims, r.claim(source, line, m))
	}
	return claims
}

func (r *compiled) mayMatch(line []byte) bool {
	for _, l := range r.literals {
		if bytes.Contains(line, l) {
			return true
		}
	}
	return len(r.literals) == 0
}

func (r *compiled) claim(source string, line []byte, m [][]byte) problem.Claim {
	c := problem.Claim{Kind: r.Kind, Message: r.Message, Line: bounded(line), Source: source}
	for i, name := range r.pattern.SubexpNames() {
		if name != "" && len(m[i]) > 0 {
			c.Touches = append(c.Touches, problem.NewRef(name, string(m[i])))
		}
	}
	return c
}

func bounded(line []byte) string {
	s := strings.ToValidUTF8(string(line[:min(len(line), maxLine)]), "")
	if len(line) > maxLine {
		s += "…"
	}
	return s
}
