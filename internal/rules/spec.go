package rules

// This file: rules as users write them in the configuration.

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// RuleSpec is one entry of the configuration's `rules`.
type RuleSpec struct {
	// Kind is what the rule finds: one of the catalogue's, or a name of the user's
	// own in CamelCase, which becomes the reason of Events and conditions.
	Kind string `yaml:"kind"`
	// Condition is the NodeCondition type that a kind of the user's own sets;
	// without one it is told by Events and metrics.
	Condition string `yaml:"condition,omitempty"`
	// Severity is info, warning or critical; by default the catalogue's, and
	// warning for a kind of the user's own.
	Severity string `yaml:"severity,omitempty"`
	// Sources are names of programs (see ParseSource); by default any.
	Sources []string `yaml:"sources,omitempty"`
	// Identifier narrows the rule to one syslog identifier or systemd unit's tag.
	Identifier string `yaml:"identifier,omitempty"`
	// Pattern and Exclude are regular expressions in Go's syntax (RE2).
	Pattern string `yaml:"pattern"`
	Exclude string `yaml:"exclude,omitempty"`
	// Count lines within Within raise the problem; by default one.
	Count  int           `yaml:"count,omitempty"`
	Within time.Duration `yaml:"within,omitempty"`
	// Distinct names a capture: Count different values of it are wanted, not lines.
	Distinct string `yaml:"distinct,omitempty"`
	// Lasting: the lines must have gone on for so long, with no gap longer than Within.
	Lasting time.Duration `yaml:"lasting,omitempty"`
	// Apart: a line that comes sooner than this after one that counts does not count.
	Apart time.Duration `yaml:"apart,omitempty"`
	// Quiet is how long after the last line it is over; by default three times
	// Within, at least 5 minutes. Only for a kind of the user's own; logs.quiet is for the others.
	Quiet time.Duration `yaml:"quiet,omitempty"`
	// Subject and Message are templates with {captures}; see Rule.
	Subject string `yaml:"subject,omitempty"`
	Message string `yaml:"message,omitempty"`
}

const (
	// maxCount bounds how many times of lines the tracker keeps for one problem.
	maxCount = 1000
	// defaultWithin is the window of a rule that names none.
	defaultWithin = 5 * time.Minute
)

// Kinds and condition types are used as reasons and types in the Kubernetes
// API, which asks for CamelCase (Event.reason: at most 128 bytes).
var letters = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)

func camelCase(s string) bool { return len(s) <= 128 && letters.MatchString(s) }

// FromSpecs turns users' rules into rules, and returns the definitions of those
// kinds that are not in the catalogue. All mistakes are reported at once, joined,
// each a *RuleError with the index of the entry and the key that is wrong.
func FromSpecs(specs []RuleSpec, c *problem.Catalogue) ([]Rule, []problem.Definition, error) {
	var rules []Rule
	var defs []problem.Definition
	var errs []error
	own := map[problem.Kind]RuleSpec{}
	for i, s := range specs {
		wrong := func(field, format string, args ...any) {
			errs = append(errs, &RuleError{i, s.Kind, field, fmt.Errorf(format, args...)})
		}
		r := s.rule(wrong)
		if _, field, err := compile(r); err != nil {
			wrong(field, "%w", err)
		}
		rules = append(rules, r)
		_, known := c.Get(r.Kind)
		first, again := own[r.Kind]
		switch {
		case known && s.Condition != "":
			wrong("condition", "%s is a kind of the catalogue and has its condition there", s.Kind)
		case known && s.Quiet != 0:
			wrong("quiet", "%s is a kind of the catalogue and has its quiet time there, which logs.quiet changes", s.Kind)
		case known:
		case again && (s.Condition != first.Condition || s.Quiet != first.Quiet):
			wrong("condition", "another rule gives %s another condition or quiet time", s.Kind)
		case again:
		default:
			own[r.Kind] = s
			defs = append(defs, s.definition(r))
		}
	}
	return rules, defs, errors.Join(errs...)
}

func (s RuleSpec) rule(wrong func(field, format string, args ...any)) Rule {
	r := Rule{
		Kind: problem.Kind(s.Kind), Pattern: s.Pattern, Exclude: s.Exclude,
		Subject: s.Subject, Message: s.Message, WholeLine: s.Message == "",
		From: Origin{Identifier: s.Identifier},
	}
	if s.Kind != "" && !camelCase(s.Kind) {
		wrong("kind", "%q is no CamelCase name", s.Kind)
	}
	if s.Condition != "" && !camelCase(s.Condition) {
		wrong("condition", "%q is no CamelCase name", s.Condition)
	}
	for _, name := range s.Sources {
		source, err := ParseSource(name)
		if err != nil {
			wrong("sources", "%w", err)
		}
		r.Sources |= source
	}
	if s.Severity != "" {
		if err := r.Severity.UnmarshalText([]byte(s.Severity)); err != nil {
			wrong("severity", "%w", err)
		}
	}
	switch {
	case s.Count < 0 || s.Count > maxCount:
		wrong("count", "%d is not from 1 to %d", s.Count, maxCount)
	case s.Within < 0:
		wrong("within", "%v is negative", s.Within)
	case s.Quiet < 0:
		wrong("quiet", "%v is negative", s.Quiet)
	case s.Lasting < 0:
		wrong("lasting", "%v is negative", s.Lasting)
	case s.Apart < 0:
		wrong("apart", "%v is negative", s.Apart)
	case s.Apart > 0 && s.Count < 2:
		wrong("count", "is missing: how many lines that are %v apart?", s.Apart)
	case s.Distinct != "" && s.Apart > 0:
		wrong("apart", "does not go with distinct")
	case s.Apart > 0 && time.Duration(s.Count-1)*s.Apart > s.Within:
		wrong("within", "%v has no room for %d lines that are %v apart", s.Within, s.Count, s.Apart)
	case s.Lasting > 0 && s.Within == 0:
		wrong("within", "is missing: how long a gap may there be?")
	case s.Distinct != "" && s.Count < 2:
		wrong("count", "is missing: how many different values of {%s}?", s.Distinct)
	case s.Distinct != "" && s.Lasting > 0:
		wrong("lasting", "does not go with distinct")
	case s.Count > 1 && s.Within == 0:
		wrong("within", "is missing: %d lines within what time?", s.Count)
	case s.Count > 0 || s.Within > 0:
		r.Logs = problem.Count{N: max(s.Count, 1), Within: s.Within, Distinct: s.Distinct, Lasting: s.Lasting, Apart: s.Apart}
	}
	return r
}

func (s RuleSpec) definition(r Rule) problem.Definition {
	d := problem.Definition{
		Kind: r.Kind, Condition: s.Condition, Scope: problem.NodeScope,
		Severity: r.Severity, Sources: problem.Log, Logs: r.Logs, Quiet: s.Quiet,
		Summary:  "A rule of this node's configuration found it in the logs.",
		Evidence: []string{"the log lines that match " + s.Pattern},
	}
	if d.Severity == 0 {
		d.Severity = problem.Warning
	}
	switch {
	case d.Logs.N == 0:
		d.Logs = problem.Count{N: 1, Within: defaultWithin}
	case d.Logs.Distinct != "" || d.Logs.Lasting > 0: // this rule's alone
		d.Logs = problem.Count{N: 1, Within: d.Logs.Within}
	}
	return d
}
