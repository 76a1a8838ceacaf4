package rules

// This file: logs written as one flat JSON object a line (kubelet's
// --logging-format=json, docker's and containerd's JSON, docker's log driver).

import (
	"bytes"
	"encoding/json"
	"iter"
)

// flatten turns a JSON line into the order in which the same program writes
// text, message, error, then the rest, so that one pattern does for both. ok is
// false if line is no JSON object with a message.
func flatten(line []byte) (flat []byte, ok bool) {
	var message, failure, rest []byte
	for key, value := range jsonFields(line) {
		switch string(key) {
		case "msg", "message", "MESSAGE":
			message = value
		case "err", "error":
			failure = value
		default:
			rest = append(rest, ' ')
			rest = append(append(append(rest, key...), `="`...), value...)
			rest = append(rest, '"')
		}
	}
	if message == nil {
		return nil, false
	}
	flat = append(flat, message...)
	if failure != nil {
		flat = append(append(append(flat, ` err="`...), failure...), '"')
	}
	return append(flat, rest...), true
}

// jsonFields are the keys and values of the JSON object that line is: strings
// without their quotes and escapes, all else as it stands. It ends at the first
// thing that is no JSON, so that a line that was cut off still gives its beginning.
func jsonFields(line []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		if len(line) == 0 || line[0] != '{' {
			return
		}
		rest := line[1:]
		for {
			key, after, ok := jsonString(bytes.TrimLeft(rest, " \t,"))
			if !ok {
				return
			}
			after = bytes.TrimLeft(after, " \t")
			if len(after) == 0 || after[0] != ':' {
				return
			}
			var value []byte
			if value, rest, ok = jsonValue(bytes.TrimLeft(after[1:], " \t")); !ok || !yield(key, value) {
				return
			}
		}
	}
}

func jsonValue(b []byte) (value, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	if b[0] == '"' {
		return jsonString(b)
	}
	depth := 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			end := stringEnd(b[i:])
			if end < 0 {
				return nil, nil, false
			}
			i += end - 1
		case c == '{' || c == '[':
			depth++
		case depth > 0 && (c == '}' || c == ']'):
			depth--
		case depth == 0 && (c == ',' || c == '}'):
			return bytes.TrimSpace(b[:i]), b[i:], i > 0
		}
	}
	return nil, nil, false
}

// jsonString reads the string at the beginning of b.
func jsonString(b []byte) (s, rest []byte, ok bool) {
	end := stringEnd(b)
	if end < 0 {
		return nil, nil, false
	}
	s = b[1 : end-1]
	if bytes.IndexByte(s, '\\') >= 0 {
		var unescaped string
		if json.Unmarshal(b[:end], &unescaped) != nil {
			return nil, nil, false
		}
		s = []byte(unescaped)
	}
	return s, b[end:], true
}

// stringEnd is where the string at the beginning of b ends, behind its quote; -1 if it does not.
func stringEnd(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return -1
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}
