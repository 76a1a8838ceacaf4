package rules

// This file: which place in a program wrote a line. One failed call is told by
// several places, each once; the tracker counts calls.

import (
	"bytes"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// maxSite is how much of a line's constant beginning tells its place, in bytes.
const maxSite = 32

// site names the program and the place in it: the source file and line that klog
// puts in front of each message, else the words that the message begins with.
func site(r *journal.Record, line []byte) string {
	return r.Identifier + " " + string(place(line))
}

func place(line []byte) []byte {
	if p, ok := klogPlace(line); ok {
		return p
	}
	if p := field(line, `caller="`); p != nil { // klog's JSON, flattened
		return p
	}
	if i := bytes.Index(line, []byte(`msg="`)); i >= 0 { // logrus
		line = line[i+len(`msg="`):]
	}
	end := bytes.IndexFunc(line, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != ' ' && r != '-' && r != '_'
	})
	if end < 0 {
		end = len(line)
	}
	return line[:min(end, maxSite)]
}

// klogPlace reads "server.go:198" of "F1122 10:00:00.000000    1234 server.go:198] …".
func klogPlace(line []byte) ([]byte, bool) {
	if len(line) < 5 || bytes.IndexByte([]byte("IWEF"), line[0]) < 0 || !isDigits(line[1:5]) {
		return nil, false
	}
	end := bytes.Index(line[:min(len(line), 120)], []byte("] "))
	if end < 0 {
		return nil, false
	}
	begin := bytes.LastIndexByte(line[:end], ' ') + 1
	return line[begin:end], true
}

// field is the value behind key, up to the next quotation mark; nil if there is none.
func field(line []byte, key string) []byte {
	i := bytes.Index(line, []byte(key))
	if i < 0 {
		return nil
	}
	v := line[i+len(key):]
	if end := bytes.IndexByte(v, '"'); end > 0 {
		return v[:end]
	}
	return nil
}
