package rules

// This file: node-problem-detector's log-monitor configurations, read unchanged.
//
// Its way of matching: each new line goes into a buffer of the last bufferSize
// lines; every rule's pattern is searched in the buffer's lines, joined by \n,
// and must end where they end (the end is put behind the pattern as it stands, so
// that of alternatives only the last must). A temporary rule makes an Event, a permanent one
// sets its condition, which here is over after a quiet time, whereas there it
// stays until a restart.

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	// npdBuffer is node-problem-detector's default of bufferSize, and maxNPDBuffer
	// the most that is kept for one configuration.
	npdBuffer    = 10
	maxNPDBuffer = 1000
	// DefaultNPDQuiet is how long after the last line a permanent problem is over.
	// It had no such time; an hour is long enough for somebody to see it.
	DefaultNPDQuiet = time.Hour
)

// NPD is one of node-problem-detector's log-monitor configurations.
type NPD struct {
	// Name is the file's.
	Name string
	// Plugin says where its lines come from: kmsg, journald, filelog.
	Plugin string
	// Source is the name by which it reports.
	Source string
	// LogPath is the log file of filelog. That of the other plugins is not kept:
	// the agent finds the kernel's log and the journal by itself.
	LogPath string
	// Identifier is the SYSLOG_IDENTIFIER that journald is filtered by.
	Identifier string
	// Message is filelog's pattern of a line, whose last group is the message.
	Message string
	// Timestamp is its pattern of a line's time, and TimestampFormat how to read it.
	Timestamp, TimestampFormat string
	// Lookback is how far back it reads at its first start; lines of the Delay after
	// the boot do not count. 0 where not given.
	Lookback, Delay time.Duration
	// BufferSize is how many lines a pattern may span.
	BufferSize int
	// SkipList are texts whose lines are not looked at.
	SkipList []string
	// Metrics says whether its problems are counted in metrics.
	Metrics    bool
	Conditions []NPDCondition
	Patterns   []NPDRule
}

// NPDCondition is a condition with what it says while nothing is wrong.
type NPDCondition struct {
	Type, Reason, Message string
}

// NPDRule is one rule of such a configuration.
type NPDRule struct {
	Permanent bool
	// Condition is the type that a permanent rule sets.
	Condition string
	Reason    string
	Pattern   string
	// Suffix is put behind the message.
	Suffix string
	// Multiline: a match may span lines.
	Multiline bool

	line int // in the file, of its reason
}

// ParseNPD reads a log-monitor configuration; name is the file's name for
// errors. All mistakes are reported at once, joined, each with file and line,
// and the rule's number and reason: unknown keys, types and conditions, which
// node-problem-detector lets pass, are mistakes.
func ParseNPD(name string, raw []byte) (*NPD, error) {
	root, err := parseJSON(raw)
	if err != nil {
		var at *jsonError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("%s:%d: %w", name, at.line, at.err)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := npdParser{name: name}
	n := p.config(root)
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	return n, nil
}

type npdParser struct {
	name string
	rule string // "rule 2 (TaskHung): " while within one
	errs []error
}

func (p *npdParser) wrong(n *jsonNode, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %s%w", p.name, n.line, p.rule, fmt.Errorf(format, args...)))
}

func (p *npdParser) config(root *jsonNode) *NPD {
	n := &NPD{Name: p.name, BufferSize: npdBuffer, Metrics: true}
	if plugin := root.get("plugin"); plugin != nil && plugin.value == "custom" {
		p.wrong(plugin, `plugin "custom" runs other programs, which nodevitals never does; use its probes and rules instead`)
		return n
	}
	var conditions, rules, pluginConfig *jsonNode
	p.object(root, map[string]func(*jsonNode){
		"plugin":           p.text(&n.Plugin),
		"pluginConfig":     func(v *jsonNode) { pluginConfig = v },
		"skipList":         func(v *jsonNode) { p.list(v, func(e *jsonNode) { n.SkipList = append(n.SkipList, p.str(e)) }) },
		"logPath":          p.text(&n.LogPath),
		"lookback":         p.duration(&n.Lookback),
		"delay":            p.duration(&n.Delay),
		"bufferSize":       func(v *jsonNode) { n.BufferSize = cmp.Or(p.number(v, 0, maxNPDBuffer), npdBuffer) },
		"source":           p.text(&n.Source),
		"metricsReporting": p.flag(&n.Metrics),
		"conditions":       func(v *jsonNode) { conditions = v },
		"rules":            func(v *jsonNode) { rules = v },
	})
	p.plugin(root, pluginConfig, n)
	if conditions != nil {
		p.list(conditions, func(e *jsonNode) { n.Conditions = append(n.Conditions, p.condition(e)) })
	}
	if rules == nil {
		p.wrong(root, `"rules" is missing`)
		return n
	}
	i := 0
	p.list(rules, func(e *jsonNode) {
		i++
		p.rule = fmt.Sprintf("rule %d: ", i)
		n.Patterns = append(n.Patterns, p.pattern(e, i, n))
		p.rule = ""
	})
	return n
}

// plugin reads what each plugin may have in its configuration.
func (p *npdParser) plugin(root, config *jsonNode, n *NPD) {
	keys := map[string]func(*jsonNode){}
	var must []string
	switch n.Plugin {
	case "kmsg":
		keys["revive"] = p.text(new(string)) // ours is always re-opened
	case "journald":
		keys["source"] = p.text(&n.Identifier)
		must = []string{"source"}
	case "filelog":
		keys["timestamp"] = p.regexp(&n.Timestamp)
		keys["timestampFormat"] = func(v *jsonNode) {
			if n.TimestampFormat = p.str(v); time.Unix(0, 0).Format(n.TimestampFormat) == n.TimestampFormat {
				p.wrong(v, "%q holds no part of a date, such as \"Jan _2 15:04:05\"", n.TimestampFormat)
			}
		}
		keys["message"] = p.regexp(&n.Message)
		must = []string{"message"}
		if n.LogPath == "" {
			p.wrong(root, `"logPath" is missing`)
		}
	default:
		p.wrong(root, `plugin %q is not known (one of kmsg, journald, filelog)`, n.Plugin)
		return
	}
	if n.Plugin != "filelog" {
		n.LogPath = ""
	}
	if config == nil {
		config = &jsonNode{line: root.line, kind: jsonObject}
	}
	p.object(config, keys)
	if (config.get("timestamp") == nil) != (config.get("timestampFormat") == nil) {
		p.wrong(config, `"timestamp" and "timestampFormat" go together: where a line's time stands, and how it is written`)
	}
	for _, k := range must {
		if config.get(k) == nil {
			p.wrong(config, "pluginConfig of %s lacks %q", n.Plugin, k)
		}
	}
}

func (p *npdParser) condition(v *jsonNode) NPDCondition {
	var c NPDCondition
	p.object(v, map[string]func(*jsonNode){
		"type": p.text(&c.Type), "reason": p.text(&c.Reason), "message": p.text(&c.Message),
	})
	if c.Type == "" {
		p.wrong(v, `a condition lacks its "type"`)
	}
	return c
}

func (p *npdParser) pattern(v *jsonNode, i int, n *NPD) NPDRule {
	var r NPDRule
	var kind string
	if reason := v.get("reason"); reason != nil && reason.kind == jsonText {
		p.rule = fmt.Sprintf("rule %d (%s): ", i, reason.value)
	}
	p.object(v, map[string]func(*jsonNode){
		"type": p.text(&kind), "condition": p.text(&r.Condition), "reason": p.text(&r.Reason),
		"pattern": p.regexp(&r.Pattern), "patternGeneratedMessageSuffix": p.text(&r.Suffix),
	})
	at := func(key string) *jsonNode {
		if k := v.get(key); k != nil {
			return k
		}
		return v
	}
	switch {
	case kind == "permanent":
		r.Permanent = true
		if !slices.ContainsFunc(n.Conditions, func(c NPDCondition) bool { return c.Type == r.Condition }) {
			p.wrong(at("condition"), "condition %q is not among the file's conditions", r.Condition)
		}
	case kind != "temporary":
		p.wrong(at("type"), `type %q is neither "temporary" nor "permanent"`, kind)
	case r.Condition != "":
		p.wrong(at("condition"), "a temporary rule sets no condition")
	}
	if r.line = at("reason").line; r.Reason == "" {
		p.wrong(v, `"reason" is missing`)
	}
	if r.Pattern == "" {
		p.wrong(at("pattern"), `"pattern" is missing`)
	}
	if tree, err := syntax.Parse(r.Pattern, syntax.Perl); err == nil {
		r.Multiline = spansLines(tree)
	}
	return r
}

// Kinds are the definitions of the configuration's problems, one a reason: those
// of permanent rules with their condition, critical, over after the quiet time;
// those of temporary ones Events. Reasons that are kinds of the catalogue are
// left out: they are what the catalogue says. So a permanent rule whose reason has
// another condition there, or none, is a mistake; it is told with file and line.
func (n *NPD) Kinds(c *problem.Catalogue, quiet time.Duration) ([]problem.Definition, error) {
	var defs []problem.Definition
	var errs []error
	for i, r := range n.Patterns {
		kind := problem.Kind(r.Reason)
		if known, ok := c.Get(kind); ok {
			if r.Permanent && known.Condition != r.Condition {
				errs = append(errs, fmt.Errorf("%s:%d: rule %d (%s): the reason is a kind that sets %q already, not %q; give it another name",
					n.Name, r.line, i+1, r.Reason, cmp.Or(known.Condition, "no condition"), r.Condition))
			}
			continue
		}
		d := problem.Definition{
			Kind: kind, Scope: problem.NodeScope, Severity: problem.Info, Sources: problem.Log,
			Logs:     problem.Count{N: 1, Within: defaultWithin},
			Summary:  "A rule of node-problem-detector's (" + filepath.Base(n.Name) + ") found it in the logs.",
			Evidence: []string{"the lines of " + n.origin() + " that match " + r.Pattern}, NoMetrics: !n.Metrics,
		}
		if r.Permanent {
			d.Condition, d.Severity, d.Quiet = r.Condition, problem.Critical, quiet
		}
		i := slices.IndexFunc(defs, func(d problem.Definition) bool { return d.Kind == kind })
		switch {
		case i < 0:
			defs = append(defs, d)
		case defs[i].Condition == "": // a temporary rule with the same reason stood first
			defs[i] = d
		}
	}
	return defs, errors.Join(errs...)
}

// Healthy is what the configuration's conditions say while nothing is wrong.
func (n *NPD) Healthy() []problem.HealthyText {
	var texts []problem.HealthyText
	for _, c := range n.Conditions {
		texts = append(texts, problem.HealthyText(c))
	}
	return texts
}

func (n *NPD) origin() string {
	switch n.Plugin {
	case "journald":
		return n.Identifier + " in the journal"
	case "filelog":
		return n.LogPath
	}
	return "the kernel log"
}

// Rules are the rules whose matches lie within one line. The others are for
// Buffer.
func (n *NPD) Rules() []Rule {
	var rules []Rule
	for _, r := range n.Patterns {
		if !r.Multiline {
			rules = append(rules, n.ruleOf(r))
		}
	}
	return rules
}

// ruleOf is r as a rule of ours. What stands before the match does not matter,
// so a leading .* only costs time.
func (n *NPD) ruleOf(r NPDRule) Rule {
	out := Rule{
		Kind: problem.Kind(r.Reason), Pattern: trimLeadingAny(r.Pattern) + `\z`, WholeLine: true,
		Suffix: r.Suffix, Logs: problem.Count{N: 1, Within: defaultWithin},
		From: Origin{
			Identifier: n.Identifier, Skip: n.SkipList, Stamp: n.Timestamp, StampFormat: n.TimestampFormat,
			Span: &problem.Span{Delay: n.Delay, LookBack: n.Lookback},
		},
	}
	switch n.Plugin {
	case "kmsg":
		out.Sources = Kernel
	case "filelog":
		out.From.File, out.From.Extract = n.LogPath, n.Message
	}
	return out
}

// trimLeadingAny cuts ".*" off the beginning of a pattern that is searched for
// anywhere in a line: there it finds no more, and costs much. Of alternatives it
// belongs to the first, for which the same is true.
func trimLeadingAny(pattern string) string {
	rest := pattern
	for len(rest) > 2 && rest[:2] == ".*" && !strings.ContainsRune("?+*{|", rune(rest[2])) {
		rest = rest[2:]
	}
	return rest
}

// spansLines reports whether a match may hold a line break, or depend on where
// the buffer begins.
func spansLines(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpBeginText, syntax.OpBeginLine, syntax.OpEndLine:
		return true
	case syntax.OpLiteral:
		return slices.Contains(re.Rune, '\n')
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if re.Rune[i] <= '\n' && '\n' <= re.Rune[i+1] {
				return true
			}
		}
	}
	return slices.ContainsFunc(re.Sub, spansLines)
}
