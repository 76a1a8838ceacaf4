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
	var buf [200]byte
	b := buf[:0]
	for _, p := range t {
		before := len(b)
		if b, ok = p.append(b, value); ok {
			continue
		}
		if !p.optional {
			return "", false
		}
		b = b[:before]
	}
	return string(b), true
}

// append adds the piece to b, as far as its captures are there; ok says if all are.
func (p *piece) append(b []byte, value func(string) string) (_ []byte, ok bool) {
	for _, q := range p.parts {
		text := q.text
		if q.name != "" {
			text = value(q.name)
		}
		if text == "" {
			return b, false
		}
		b = append(b, text...)
	}
	return b, true
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
