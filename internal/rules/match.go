package rules

// This file: what one record claims.

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	// maxLine is how much of a line is kept in a claim, in bytes. The rest of a
	// stack trace tells a person nothing that the beginning does not.
	maxLine = 300
	// maxScan is how much of a line is looked at, in bytes. Go's regular
	// expressions take time in proportion to it; what matters stands further in front.
	maxScan = 16 << 10
	// maxValue is how much of one capture is kept, in bytes.
	maxValue = 200
)

// Match says what a record claims; nothing for nearly every one. A claim that
// Resolves is the news that a failure is over.
func (s *Set) Match(r *journal.Record) []problem.Claim {
	return s.match(r, nil, s.units.Of(r), time.Time{})
}

// MatchText is Match of a line as it stands in a log file: r.Message is the
// line, and what its prefix says (time, identifier, pid, whether it is the
// kernel's) is put into r together with the message behind it. Most lines need
// not even be taken apart; r is then left as it is. The year that a prefix
// leaves out is taken from now. `from` is Any, or what the caller knows better.
func (s *Set) MatchText(r *journal.Record, now time.Time, from Source) []problem.Claim {
	raw := r.Message
	if !s.MayMatch(raw) {
		return nil
	}
	Parse(r, now)
	if from == Any {
		from = s.units.Of(r)
	}
	return s.match(r, raw, from, now)
}

// MayMatch is the first, cheap look at a line: false means that no rule matches it.
func (s *Set) MayMatch(line []byte) bool {
	if len(line) > 0 && line[0] == '{' { // JSON may spell anything as \u…
		return true
	}
	var buf [16]int
	return len(s.filter.candidates(head(line), Any, buf[:0])) > 0
}

func head(line []byte) []byte { return line[:min(len(line), maxScan)] }

func (s *Set) match(r *journal.Record, raw []byte, from Source, now time.Time) []problem.Claim {
	line := head(r.Message)
	if len(line) > 0 && line[0] == '{' {
		if flat, ok := flatten(line); ok {
			line = flat
		}
	}
	var buf [16]int
	search := line
	if len(raw) > 0 && raw[0] != '{' { // some rules look at the whole of it
		search = head(raw)
	}
	found := s.filter.candidates(search, from, buf[:0])
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found) // the order of the rules, whatever stands first in the line
	var claims []problem.Claim
	for _, i := range found {
		rule := &s.rules[i]
		c, ok := rule.match(r, line, raw, from)
		if ok && rule.readStamp(r, raw, now) {
			claims = merge(claims, c)
		}
	}
	return claims
}

// merge adds c, unless another rule has claimed the same of the line: then the
// first, which is the more specific, stands.
func merge(claims []problem.Claim, c problem.Claim) []problem.Claim {
	for _, have := range claims {
		if have.Kind == c.Kind {
			return claims
		}
	}
	return append(claims, c)
}

func (c *compiled) match(r *journal.Record, line, raw []byte, from Source) (problem.Claim, bool) {
	if c.Sources&from == 0 || c.Sure && from == Any || !c.isFrom(r, line) {
		return problem.Claim{}, false
	}
	line, ok := c.extracted(r, line, raw)
	if !ok {
		return problem.Claim{}, false
	}
	if c.exclude != nil && c.exclude.exact && c.exclude.matches(line) || !c.pattern.mayMatch(line) {
		return problem.Claim{}, false
	}
	m, ok := c.find(line)
	if !ok || c.exclude != nil && !c.exclude.exact && c.exclude.matches(line) {
		return problem.Claim{}, false
	}
	return c.claim(r, line, m), true
}

// find says where the pattern's captures are in line.
func (c *compiled) find(line []byte) (captures []int, ok bool) {
	if len(c.names) == 1 { // the whole match has no name, and nobody asks where it is
		return nil, c.pattern.matches(line)
	}
	captures = c.pattern.FindSubmatchIndex(line)
	return captures, captures != nil
}

// extracted is the part of the raw line that the rule's own format says is the
// message; line, if it has none.
func (c *compiled) extracted(r *journal.Record, line, raw []byte) ([]byte, bool) {
	if c.extract == nil {
		return line, true
	}
	if raw == nil {
		raw = r.Message
	}
	m := c.extract.FindSubmatch(head(bytes.TrimRight(raw, "\r\n")))
	if m == nil {
		return nil, false
	}
	return m[len(m)-1], true
}

// readStamp sets the record's time to what the rule's own format makes of the raw
// line. It reports false if the line has no such time.
func (c *compiled) readStamp(r *journal.Record, raw []byte, now time.Time) bool {
	if c.stamp == nil {
		return true
	}
	if raw == nil {
		raw = r.Message
	}
	m := c.stamp.FindSubmatch(head(bytes.TrimRight(raw, "\r\n")))
	if m == nil {
		return false
	}
	t, err := time.ParseInLocation(c.From.StampFormat, string(m[len(m)-1]), now.Location())
	if err != nil {
		return false
	}
	if t.Year() == 0 {
		t = journal.WithYear(t, now)
	}
	r.Time = t
	return true
}

// withSuffix puts a suffix behind a message as node-problem-detector does.
func withSuffix(message, suffix string) string {
	if suffix == "" {
		return message
	}
	return message + "; " + suffix
}

func (c *compiled) isFrom(r *journal.Record, line []byte) bool {
	f := &c.From
	if f.Identifier != "" && f.Identifier != r.Identifier || f.File != "" && f.File != r.Source {
		return false
	}
	for _, skip := range f.Skip {
		if bytes.Contains(line, []byte(skip)) {
			return false
		}
	}
	return true
}

func (c *compiled) claim(r *journal.Record, line []byte, m []int) problem.Claim {
	v := values{compiled: c, record: r, line: line, masked: mask(line), match: m}
	claim := problem.Claim{
		Kind: c.Kind, Line: printable(v.masked, maxLine), Source: origin(r), Site: printable([]byte(site(r, v.masked)), maxValue),
		Logs: c.Logs, Severity: c.Severity, Scope: c.Scope, Resolves: c.Resolves, Error: c.Error, Span: c.From.Span,
	}
	if c.Logs.Distinct != "" {
		claim.Value = v.get(c.Logs.Distinct)
	}
	for _, t := range c.subject {
		if s, ok := t.fill(v.get); ok {
			claim.Subject = s
			break
		}
	}
	if c.WholeLine {
		claim.Message = withSuffix(claim.Line, c.Suffix)
	} else {
		claim.Message, _ = c.message.fill(v.get)
	}
	claim.Touches = v.refs()
	return claim
}

// origin is where a person finds the line.
func origin(r *journal.Record) string {
	switch {
	case strings.HasPrefix(r.Source, "/"):
		return r.Source
	case r.Kernel:
		return r.Source + " (kernel)"
	case r.Unit != "":
		return r.Source + " (" + r.Unit + ")"
	case r.Identifier != "":
		return r.Source + " (" + r.Identifier + ")"
	}
	return r.Source
}

// values is what a matching line says.
type values struct {
	*compiled
	record *journal.Record
	line   []byte
	masked []byte // line without its secrets
	match  []int
	pod    podName
	hasPod bool
}

// podCapture and others are names that templates know without a capture.
const (
	podCapture        = "pod"
	unitCapture       = "unit"
	identifierCapture = "identifier"
)

func (v *values) get(name string) string {
	for i, n := range v.names {
		if n == name && v.match[2*i] >= 0 && v.match[2*i] < v.match[2*i+1] {
			return printable(maskedPart(v.line[v.match[2*i]:v.match[2*i+1]], v.masked), maxValue)
		}
	}
	switch name {
	case podCapture:
		return v.podName().String()
	case unitCapture:
		return v.record.Unit
	case identifierCapture:
		return printable([]byte(v.record.Identifier), maxValue)
	}
	return ""
}

func (v *values) podName() podName {
	if !v.hasPod {
		v.hasPod = true
		if v.pod = findPod(v.line); v.pod == (podName{}) && v.record.Pod != "" {
			ns, name, _ := strings.Cut(v.record.Pod, "/")
			v.pod = podName{namespace: ns, name: name}
		}
	}
	return v.pod
}

// refs are the claim's references: the captures that are named after a type of
// reference, the rule's own, the pod, and the unit that wrote the line, whose
// limits may be the cause.
func (v *values) refs() []problem.Ref {
	var refs []problem.Ref
	add := func(r problem.Ref) {
		if !slices.Contains(refs, r) {
			refs = append(refs, r)
		}
	}
	for i, n := range v.names {
		if i > 0 && isRefType(n) {
			if s := v.get(n); s != "" && v.match[2*i] >= 0 {
				add(problem.NewRef(n, s))
			}
		}
	}
	for _, t := range v.touches {
		if s, ok := t.fill(v.get); ok {
			add(problem.Ref(s))
		}
	}
	if r := v.podName().ref(); r != "" {
		add(r)
	}
	if u := v.record.Unit; u != "" && !v.record.Kernel && !slices.Contains(v.names, unitCapture) {
		add(problem.NewRef(problem.RefUnit, u))
	}
	return refs
}

func isRefType(name string) bool {
	switch name {
	case problem.RefCgroup, problem.RefUnit, problem.RefUID, problem.RefMount, problem.RefDevice,
		problem.RefServer, problem.RefProcess, problem.RefLink, problem.RefNetns:
		return true
	}
	return false
}

func (c *compiled) parseTemplates() error {
	if c.Subject != "" {
		for s := range strings.SplitSeq(c.Subject, "|") {
			c.subject = append(c.subject, parseTemplate(s))
		}
	}
	for _, s := range c.Touches {
		c.touches = append(c.touches, parseTemplate(s))
	}
	c.message = parseTemplate(c.Message)
	for _, t := range append(append([]template{c.message}, c.subject...), c.touches...) {
		for _, n := range t.captures() {
			if err := c.known(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// known: the name is one that a template can use.
func (c *compiled) known(name string) error {
	switch {
	case name == podCapture, name == unitCapture, name == identifierCapture, slices.Contains(c.names, name):
		return nil
	}
	return fmt.Errorf("{%s} is no capture of the pattern", name)
}

// printable is at most n bytes of b as text that is safe to show: valid UTF-8
// without control characters, which a log line may hold on purpose.
func printable(b []byte, n int) string {
	cut := len(b) > n
	if !cut && !slices.ContainsFunc(b, func(c byte) bool { return c < ' ' || c > '~' }) {
		return string(b) // as nearly all is
	}
	s := strings.ToValidUTF8(string(b[:min(len(b), n)]), "")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	if cut {
		s += "…"
	}
	return s
}
