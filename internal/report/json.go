// Package report renders a snapshot for people and machines: text, JSON and
// Prometheus metrics. Its reporters are pure functions of a snapshot.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// APIVersion names the format of the JSON report.
const APIVersion = "nodevitals.io/v1"

// JSON writes the snapshot as one indented JSON document. What a terminal would
// obey and encoding/json leaves as it is (C1 controls, DEL, marks of direction) is
// written as \u escapes, which mean the same to a program; a string that is longer
// than any path is cut.
func JSON(w io.Writer, s *problem.Snapshot) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		*problem.Snapshot
	}{APIVersion, "NodeVitals", s}); err != nil {
		return err
	}
	_, err := w.Write(escaped(b.Bytes()))
	return err
}

// maxString bounds any single string of the JSON report, in runes: Linux' longest
// path.
const maxString = 4096

// escaped is a JSON document with every rune printable and no string too long.
func escaped(doc []byte) []byte {
	out := make([]byte, 0, len(doc))
	inString, runes := false, 0
	for len(doc) > 0 {
		r, n := utf8.DecodeRune(doc)
		switch {
		case r == '"':
			inString, runes = !inString, 0
		case !inString: // JSON has nothing but ASCII there
		default:
			if r == '\\' {
				n = len(`\n`)
				if doc[1] == 'u' {
					n = len(`\u0000`)
				}
			}
			if runes++; runes > maxString {
				if runes == maxString+1 {
					out = append(out, "…"...)
				}
				doc = doc[n:]
				continue
			}
			if r != '\\' && !unicode.IsPrint(r) {
				out = appendEscape(out, r)
				doc = doc[n:]
				continue
			}
		}
		out = append(out, doc[:n]...)
		doc = doc[n:]
	}
	return out
}

// appendEscape appends r as JSON's \u escape, which takes two of them beyond the
// basic plane (RFC 8259, section 7).
func appendEscape(out []byte, r rune) []byte {
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return fmt.Appendf(out, `\u%04x\u%04x`, high, low)
	}
	return fmt.Appendf(out, `\u%04x`, r)
}
