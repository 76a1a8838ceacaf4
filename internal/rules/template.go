package rules

// This file: the sentences of claims, with holes for what a line says.

import (
	"strings"
)

// template is a text in pieces. A piece of several parts is left out if one of
// its captures is not there.
type template []piece

type piece struct {
	parts    []part
	optional bool
}

// part is a text, or the name of a capture.
type part struct {
	text, name string
}

// parseTemplate reads "text {capture} text[ optional {capture}]".
func parseTemplate(s string) template {
	var t template
	for s != "" {
		i := strings.IndexByte(s, '[')
		j := strings.IndexByte(s, ']')
		if i < 0 || j < i || !strings.Contains(s[i:j], "{") { // brackets without a capture are text
			return append(t, piece{parts: parseParts(s)})
		}
		if i > 0 {
			t = append(t, piece{parts: parseParts(s[:i])})
		}
		t = append(t, piece{parts: parseParts(s[i+1 : j]), optional: true})
		s = s[j+1:]
	}
	return t
}

func parseParts(s string) []part {
	var parts []part
	for s != "" {
		i := strings.IndexByte(s, '{')
		j := strings.IndexByte(s, '}')
		if i < 0 || j < i {
			return append(parts, part{text: s})
		}
		if i > 0 {
			parts = append(parts, part{text: s[:i]})
		}
		parts = append(parts, part{name: s[i+1 : j]})
		s = s[j+1:]
	}
	return parts
}

// fill renders the template; ok is false if a capture that is not optional is
// not there.
func (t template) fill(value func(string) string) (s string, ok bool) {
	var b strings.Builder
	for _, p := range t {
		text, full := fillParts(p.parts, value)
		if !full && !p.optional {
			return "", false
		}
		if full {
			b.WriteString(text)
		}
	}
	return b.String(), true
}

func fillParts(parts []part, value func(string) string) (string, bool) {
	var b strings.Builder
	for _, p := range parts {
		if p.name == "" {
			b.WriteString(p.text)
			continue
		}
		v := value(p.name)
		if v == "" {
			return "", false
		}
		b.WriteString(v)
	}
	return b.String(), true
}

// captures are the names that a template needs or may use.
func (t template) captures() []string {
	var names []string
	for _, p := range t {
		for _, q := range p.parts {
			if q.name != "" {
				names = append(names, q.name)
			}
		}
	}
	return names
}
