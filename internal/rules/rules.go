// Package rules says what log lines mean: each rule recognises the lines of one
// kind of failure and extracts from them what they are about.
//
// The built-in rules stand in the builtin_*.go files, one literal a rule; users'
// rules come from the configuration (spec.go), and node-problem-detector's from
// its own files (npd.go). They are compiled into one Set, which keeps no state
// between lines: how many lines within which time make a problem is the
// tracker's business.
package rules

import (
	"errors"
	"fmt"
	"regexp/syntax"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// Rule recognises the log lines of one failure.
//
// The pattern's named captures can be used as {name} in the templates below.
// Those whose name is a type of reference (cgroup, pod, unit, uid, mount,
// device, server, process, link, netns) become references of the claim as well.
// Further names are known of every line: {pod}, found by the shapes in which
// kubelet and runtimes write it, {unit} and {identifier} of the record.
type Rule struct {
	Kind problem.Kind
	// Name tells it from the kind's other rules; empty if it is the only one.
	Name string
	// Sources are those whose lines it reads; 0 means Any.
	Sources Source
	// Sure: a line of which nobody knows who wrote it does not do.
	Sure bool
	// From narrows it to records of one identifier or file; see Origin.
	From Origin
	// Pattern is searched for in the message, without the prefix that syslog or
	// the kernel puts before it.
	Pattern string
	// Exclude takes out look-alikes.
	Exclude string
	// Subject is what the claim is about: templates separated by "|", of which the
	// first whose captures are all there is taken; without any, it is the node.
	Subject string
	// Message is one sentence. A part in [brackets] is left out if one of its
	// captures is not there.
	Message string
	// Touches are further references: templates of "type:id".
	Touches []string
	// Logs, Severity and Scope override the catalogue's where they are not zero.
	Logs     problem.Count
	Severity problem.Severity
	Scope    problem.Scope
	// Error is what the call failed with, where causes differ by it.
	Error problem.Errno
	// Resolves: the line says that the failure is over.
	Resolves bool
	// WholeLine: the message of the claim is the line itself.
	WholeLine bool
	// Suffix is put behind the message of a WholeLine.
	Suffix string
}

// ID is the rule's name among all: "NoSpaceLeft", "SoftLockup/rcu".
func (r Rule) ID() string {
	if r.Name == "" {
		return string(r.Kind)
	}
	return string(r.Kind) + "/" + r.Name
}

// Origin narrows a rule to where records come from; what is empty does not count.
type Origin struct {
	Identifier string // the record's syslog identifier
	File       string // the record's source, for a log file
	// Skip are texts: a line that holds one of them is not looked at.
	Skip []string
	// Span is from when on its lines count; nil leaves that to the agent.
	Span *problem.Span
	// Stamp finds the line's own time in the raw line, in its last group, and
	// StampFormat reads it (see the time package); a line without one is not looked at.
	Stamp, StampFormat string
	// Extract is a pattern, of which the first group is what the rule's pattern is
	// searched in, instead of the message, within the raw line; a line that it does
	// not match is not looked at.
	Extract string
}

// Set is a compiled list of rules. It is safe for concurrent use.
type Set struct {
	rules  []compiled
	filter prefilter
	units  Units
}

type compiled struct {
	Rule
	pattern *expr
	exclude *expr // nil if there is none, as those below
	extract *expr
	stamp   *expr
	names   []string // of the pattern's captures
	subject []template
	message template
	touches []template
}

// RuleError is a mistake in one rule.
type RuleError struct {
	// Index is the rule's place in the list, from 0.
	Index int
	// Name is what the rule calls itself: its ID.
	Name string
	// Field is the key that is wrong: pattern, exclude, kind ….
	Field string
	Err   error
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("rule %d (%s): %s: %v", e.Index+1, e.Name, e.Field, e.Err)
}

func (e *RuleError) Unwrap() error { return e.Err }

// Compile checks and compiles rules. All mistakes are reported at once, joined,
// each a *RuleError.
func Compile(units Units, rules []Rule) (*Set, error) {
	s := &Set{
		units:  units.expanded(),
		filter: prefilter{wide: newGrams(gramLen), narrow: newGrams(1)},
	}
	common := newRarity(ordinaryLines())
	var errs []error
	for i, r := range rules {
		c, field, err := compile(r)
		if err != nil {
			errs = append(errs, &RuleError{i, r.ID(), field, err})
			continue
		}
		s.filter.add(len(s.rules), needs(c.pattern, common), isFatalOnly(r), c.Sources, common)
		s.rules = append(s.rules, c)
	}
	return s, errors.Join(errs...)
}

func compile(r Rule) (c compiled, field string, err error) {
	if r.Kind == "" {
		return c, "kind", errors.New("is missing")
	}
	if r.Pattern == "" {
		return c, "pattern", errors.New("is missing")
	}
	if r.Sources == 0 {
		r.Sources = Any
	}
	c = compiled{Rule: r}
	for _, p := range []struct {
		field, pattern string
		into           **expr
	}{
		{"pattern", r.Pattern, &c.pattern},
		{"exclude", r.Exclude, &c.exclude},
		{"extract", r.From.Extract, &c.extract},
		{"stamp", r.From.Stamp, &c.stamp},
	} {
		if p.pattern == "" {
			continue
		}
		if *p.into, err = compileExpr(p.pattern); err != nil {
			return c, p.field, err
		}
	}
	c.names = c.pattern.SubexpNames()
	if d := r.Logs.Distinct; d != "" {
		if err = c.known(d); err != nil {
			return c, "distinct", err
		}
	}
	return c, "message", c.parseTemplates()
}

// needs are the literals of which each match of the pattern holds one.
func needs(pattern *expr, common rarity) []string {
	tree, err := syntax.Parse(pattern.String(), syntax.Perl)
	if err != nil {
		return nil // it was compiled a moment ago
	}
	return requiredLiterals(tree.Simplify(), common.cost)
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

// Sources are the programs whose lines may claim kind.
func (s *Set) Sources(kind problem.Kind) Source {
	var from Source
	for _, r := range s.rules {
		if r.Kind == kind {
			from |= r.Sources
		}
	}
	return from
}
