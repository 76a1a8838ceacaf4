package rules

// This file: JSON with line numbers, strictly: unknown and repeated keys and
// values of the wrong type are mistakes that name their line.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"
)

type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonText
	jsonNumber
	jsonBool
	jsonList
	jsonObject
)

// jsonNode is a value with its place.
type jsonNode struct {
	line   int
	kind   jsonKind
	value  string // of text, number, bool
	list   []*jsonNode
	fields []jsonField
}

type jsonField struct {
	key   string
	line  int
	value *jsonNode
}

func (n *jsonNode) get(key string) *jsonNode {
	for _, f := range n.fields {
		if f.key == key {
			return f.value
		}
	}
	return nil
}

type jsonError struct {
	line int
	err  error
}

func (e *jsonError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *jsonError) Unwrap() error { return e.err }

// maxJSONDepth keeps a malicious file from using up the stack.
const maxJSONDepth = 32

type jsonReader struct {
	raw []byte
	dec *json.Decoder
}

func parseJSON(raw []byte) (*jsonNode, error) {
	r := &jsonReader{raw: raw, dec: json.NewDecoder(bytes.NewReader(raw))}
	r.dec.UseNumber()
	n, err := r.value(0)
	if err == nil {
		if _, more := r.dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something stands behind the end of the object")
		}
	}
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, &jsonError{r.lineAt(int64(len(r.raw))), io.ErrUnexpectedEOF}
	case errors.As(err, &syntax):
		return nil, &jsonError{r.lineAt(syntax.Offset), err}
	}
	return nil, &jsonError{r.line(), err}
}

// line is where the decoder is: the line of the token just read.
func (r *jsonReader) line() int { return r.lineAt(r.dec.InputOffset()) }

func (r *jsonReader) lineAt(offset int64) int {
	return 1 + bytes.Count(r.raw[:min(int(offset), len(r.raw))], []byte{'\n'})
}

func (r *jsonReader) value(depth int) (*jsonNode, error) {
	if depth > maxJSONDepth {
		return nil, errors.New("nested too deeply")
	}
	t, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	n := &jsonNode{line: r.line()}
	switch t := t.(type) {
	case string:
		n.kind, n.value = jsonText, t
	case json.Number:
		n.kind, n.value = jsonNumber, t.String()
	case bool:
		n.kind, n.value = jsonBool, strconv.FormatBool(t)
	case json.Delim:
		if t == '{' {
			n.kind = jsonObject
			return n, r.object(n, depth)
		}
		n.kind = jsonList
		for r.dec.More() {
			e, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.list = append(n.list, e)
		}
		_, err = r.dec.Token()
		return n, err
	}
	return n, nil
}

func (r *jsonReader) object(n *jsonNode, depth int) error {
	for r.dec.More() {
		t, err := r.dec.Token()
		if err != nil {
			return err
		}
		key, line := t.(string), r.line() // keys are strings, or the decoder has failed
		if n.get(key) != nil {
			return fmt.Errorf("key %q stands twice", key)
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.fields = append(n.fields, jsonField{key, line, v})
	}
	_, err := r.dec.Token()
	return err
}

// object hands each field to the reader of its key.
func (p *npdParser) object(n *jsonNode, keys map[string]func(*jsonNode)) {
	if n.kind != jsonObject {
		p.wrong(n, "an object {…} was expected")
		return
	}
	for _, f := range n.fields {
		read, ok := keys[f.key]
		if !ok {
			p.wrong(&jsonNode{line: f.line}, "unknown key %q", f.key)
			continue
		}
		read(f.value)
	}
}

func (p *npdParser) list(n *jsonNode, each func(*jsonNode)) {
	if n.kind != jsonList {
		p.wrong(n, "a list […] was expected")
	}
	for _, e := range n.list {
		each(e)
	}
}

func (p *npdParser) str(n *jsonNode) string {
	if n.kind != jsonText {
		p.wrong(n, "a string was expected")
	}
	return n.value
}

func (p *npdParser) text(into *string) func(*jsonNode) {
	return func(n *jsonNode) { *into = p.str(n) }
}

func (p *npdParser) regexp(into *string) func(*jsonNode) {
	return func(n *jsonNode) {
		*into = p.str(n)
		if _, err := regexp.Compile(*into); err != nil {
			p.wrong(n, "%w", err)
		}
	}
}

func (p *npdParser) duration(into *time.Duration) func(*jsonNode) {
	return func(n *jsonNode) {
		s := p.str(n)
		d, err := time.ParseDuration(s)
		if s != "" && (err != nil || d < 0) {
			p.wrong(n, "%q is no duration, such as 5m", s)
		}
		*into = d
	}
}

func (p *npdParser) flag(into *bool) func(*jsonNode) {
	return func(n *jsonNode) {
		if n.kind != jsonBool {
			p.wrong(n, "true or false was expected")
		}
		*into = n.value == "true"
	}
}

func (p *npdParser) number(n *jsonNode, least, most int) int {
	v, err := strconv.Atoi(n.value)
	if n.kind != jsonNumber || err != nil || v < least || v > most {
		p.wrong(n, "a number from %d to %d was expected", least, most)
		return least
	}
	return v
}
