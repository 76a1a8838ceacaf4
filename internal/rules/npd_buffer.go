package rules

// This file: node-problem-detector's patterns that span lines, for which the
// last lines must be kept. It is the only part of the rules with a memory, one
// Buffer a configuration, and none if all of its patterns stay within a line.

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// maxBufferLine is how much of one line is kept, in bytes.
const maxBufferLine = 4 << 10

// Buffer keeps the last lines of one configuration's log and searches its
// multi-line patterns in them. It is not safe for concurrent use.
type Buffer struct {
	units  Units
	origin compiled // whose lines
	rules  []multiline
	lines  [][]byte // the oldest first
	joined []byte
}

type multiline struct {
	rule    Rule
	pattern *regexp.Regexp
	formula formula // on any of the lines joined
}

// Buffer is what finds the configuration's multi-line patterns; nil if it has none.
func (n *NPD) Buffer(units Units) (*Buffer, error) {
	// There, too, lines that have not come yet are empty ones.
	b := &Buffer{units: units.expanded(), lines: make([][]byte, n.BufferSize)}
	for _, r := range n.Patterns {
		if !r.Multiline {
			continue
		}
		rule := n.ruleOf(r)
		// A leading .* may be of several lines' (?s), and the match begins with it.
		e, err := compileExpr(r.Pattern + `\z`)
		if err != nil {
			return nil, err
		}
		b.rules = append(b.rules, multiline{rule, e.Regexp, e.formula})
		if b.origin.pattern == nil {
			if b.origin, _, err = compile(rule); err != nil {
				return nil, err
			}
		}
	}
	if len(b.rules) == 0 {
		return nil, nil //nolint:nilnil // none is needed
	}
	return b, nil
}

// Kinds are the kinds that the patterns claim.
func (b *Buffer) Kinds() []problem.Kind {
	var kinds []problem.Kind
	for _, m := range b.rules {
		if !slices.Contains(kinds, m.rule.Kind) {
			kinds = append(kinds, m.rule.Kind)
		}
	}
	return kinds
}

// Sources are the programs whose lines the patterns read.
func (b *Buffer) Sources() Source { return b.origin.Sources }

// Add takes in one record, as MatchText does, and says what it claims together with
// those before it.
func (b *Buffer) Add(r *journal.Record, raw []byte, now time.Time) []problem.Claim {
	line, ok := b.message(r, raw)
	if !ok || !b.origin.readStamp(r, raw, now) {
		return nil
	}
	b.push(line)
	b.joined = b.joined[:0]
	for i, l := range b.lines {
		if i > 0 {
			b.joined = append(b.joined, '\n')
		}
		b.joined = append(b.joined, l...)
	}
	var claims []problem.Claim
	for _, m := range b.rules {
		if !m.formula.holds(b.joined) {
			continue
		}
		at := m.pattern.FindIndex(b.joined)
		if at == nil {
			continue
		}
		// node-problem-detector reports the whole lines that the match touches.
		begin := bytes.LastIndexByte(b.joined[:at[0]], '\n') + 1
		text := printable(mask(b.joined[begin:]), maxLine)
		claims = append(claims, problem.Claim{
			Kind: m.rule.Kind, Message: withSuffix(text, m.rule.Suffix), Line: text, Source: origin(r), Logs: m.rule.Logs, Span: m.rule.From.Span,
		})
	}
	return claims
}

// message is the part of the record that patterns are searched in, if it is of
// this configuration's log. A line of a log file may not have been taken apart
// yet, and for the kernel's log it must be known to be the kernel's: here every
// line counts, since it may stand between two that matter.
func (b *Buffer) message(r *journal.Record, raw []byte) ([]byte, bool) {
	c := &b.origin
	if strings.HasPrefix(r.Source, "/") && r.Identifier == "" && !r.Kernel {
		if raw == nil {
			raw = r.Message
		}
		parsed := *r
		Parse(&parsed, time.Time{}) // its date is of no interest
		r = &parsed
	}
	from := b.units.Of(r)
	if c.Sources&from == 0 || c.Sources != Any && from == Any || !c.isFrom(r, r.Message) {
		return nil, false
	}
	return c.extracted(r, r.Message, raw)
}

// push puts line in the place of the oldest, whose memory it takes over.
func (b *Buffer) push(line []byte) {
	oldest := b.lines[0][:0]
	copy(b.lines, b.lines[1:])
	b.lines[len(b.lines)-1] = append(oldest, line[:min(len(line), maxBufferLine)]...)
}
