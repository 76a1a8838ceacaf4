package rules

// This file: what stands before a log line's message. A line may be wrapped by
// the container runtime, then bear a syslog prefix or the kernel's time stamp;
// the program's own header (klog, logfmt, JSON) stays in the message, since the
// rules look at its fields.

import (
	"bytes"
	"strconv"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// Parse takes r.Message, a line as it stands in a log file, apart: Time (where
// the line has one), Identifier, PID and Kernel are set, and Message is what
// stands behind the prefix. What it does not recognise it leaves alone. It keeps
// no reference to the line except Message, and allocates only for the
// identifier and to unwrap JSON.
//
// Known are: the CRI's wrapper ("2026-11-22T10:00:00.1Z stderr F …"), docker's
// ({"log":…}), RFC 3164 ("Nov 22 10:00:00 host tag[1]: …"), the same with an ISO
// date, RFC 5424 ("<13>1 …"), the kernel's "[  123.456789] " with or without such a
// prefix, dmesg -T's "[Sun Nov 22 10:00:00 2026] ", klog's and logrus' time.
func Parse(r *journal.Record, now time.Time) {
	line := bytes.TrimRight(r.Message, "\r\n")
	// What a container prints is taken as it stands: it may look like anything.
	if t, rest, ok := cutCRI(line); ok {
		r.Time, r.Message = t, rest
		return
	}
	if t, rest, ok := cutDocker(line); ok {
		r.Time, r.Message = t, rest
		return
	}
	if t, rest, ok := cutSyslog(line, now); ok {
		r.Time = t
		r.Identifier, r.PID, line = cutTag(rest)
		r.Kernel = r.Identifier == "kernel"
	} else if id, pid, rest := cutTag(line); id == "kernel" || pid > 0 { // a prefix without date and host
		r.Identifier, r.PID, r.Kernel, line = id, pid, id == "kernel", rest
	}
	if rest, ok := cutPriority(line); ok && len(rest) > 0 && rest[0] == '[' { // dmesg -r
		line = rest
	}
	if rest, ok := cutKernelStamp(line); ok && (r.Kernel || r.Identifier == "") {
		r.Kernel, r.Identifier, line = true, "kernel", rest
	}
	if r.Time.IsZero() {
		r.Time = ownTime(line, now)
	}
	r.Message = line
}

// ownTime is what the message itself says of its time.
func ownTime(line []byte, now time.Time) time.Time {
	if t, ok := journal.Stamp(line, now); ok {
		return t
	}
	for _, key := range []string{`time="`, `"time":"`, `"ts":"`} { // logrus and JSON
		i := bytes.Index(line[:min(len(line), 200)], []byte(key))
		if i < 0 {
			continue
		}
		v := line[i+len(key):]
		if end := bytes.IndexByte(v, '"'); end > 0 {
			if t, err := time.Parse(time.RFC3339Nano, string(v[:end])); err == nil {
				return t
			}
		}
	}
	return time.Time{}
}

// cutCRI: "TIME stdout|stderr F|P MESSAGE", as kubelet's log format for
// containers is (KEP "CRI logging").
func cutCRI(line []byte) (time.Time, []byte, bool) {
	i := bytes.IndexByte(line, ' ')
	if i < len("2006-01-02T15:04:05Z") || i > 40 {
		return time.Time{}, nil, false
	}
	rest := line[i+1:]
	if !bytes.HasPrefix(rest, []byte("stdout ")) && !bytes.HasPrefix(rest, []byte("stderr ")) {
		return time.Time{}, nil, false
	}
	rest = rest[len("stdout "):]
	if len(rest) < 1 || rest[0] != 'F' && rest[0] != 'P' {
		return time.Time{}, nil, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(line[:i]))
	if err != nil {
		return time.Time{}, nil, false
	}
	_, message, _ := bytes.Cut(rest, []byte{' '})
	return t, message, true
}

// cutDocker: {"log":"MESSAGE\n","stream":"stderr","time":"TIME"}, docker's
// json-file driver.
func cutDocker(line []byte) (time.Time, []byte, bool) {
	if !bytes.HasPrefix(line, []byte(`{"log":"`)) {
		return time.Time{}, nil, false
	}
	var message []byte
	var at time.Time
	for key, value := range jsonFields(line) {
		switch string(key) {
		case "log":
			message = bytes.TrimRight(value, "\r\n")
		case "time":
			at, _ = time.Parse(time.RFC3339Nano, string(value))
		}
	}
	return at, message, message != nil
}

// cutSyslog cuts the date and the host, if there is one, off. What is left begins with the tag.
func cutSyslog(line []byte, now time.Time) (time.Time, []byte, bool) {
	if rest, ok := cutPriority(line); ok {
		line = rest
	}
	t, dateLen, ok := cutDate(line, now)
	if !ok {
		return time.Time{}, nil, false
	}
	rest := line[dateLen+1:]
	host, tag, ok := bytes.Cut(rest, []byte{' '})
	if string(host) == "kernel:" || bytes.HasSuffix(host, []byte("]:")) { // journalctl --no-hostname
		return t, rest, true
	}
	if !ok || !hasTag(tag) {
		return time.Time{}, nil, false
	}
	return t, tag, true
}

// cutDate reads the date at the beginning of a syslog line, "Nov 22 10:00:00" or
// ISO 8601, and says how long it is; a space follows it.
func cutDate(line []byte, now time.Time) (time.Time, int, bool) {
	switch {
	case len(line) > len(time.Stamp) && line[3] == ' ' && line[6] == ' ' && line[9] == ':':
		t, ok := journal.Stamp(line[:len(time.Stamp)], now)
		n := bytes.IndexByte(line[len(time.Stamp):], ' ') // a fraction (journalctl -o short-precise)
		if n < 0 || n > 0 && (n == 1 || line[len(time.Stamp)] != '.' || !isDigits(line[len(time.Stamp)+1:len(time.Stamp)+n])) {
			return time.Time{}, 0, false
		}
		return t, len(time.Stamp) + n, ok
	case len(line) > 20 && line[4] == '-' && line[7] == '-' && (line[10] == 'T' || line[10] == ' '):
		n := bytes.IndexByte(line[11:], ' ') + 11
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999"} {
			if t, err := time.ParseInLocation(layout, string(line[:n]), now.Location()); err == nil {
				return t, n, true
			}
		}
	}
	return time.Time{}, 0, false
}

// cutPriority cuts "<13>" and RFC 5424's version "1 " off.
func cutPriority(line []byte) ([]byte, bool) {
	if len(line) < 3 || line[0] != '<' {
		return nil, false
	}
	end := bytes.IndexByte(line[:min(len(line), 5)], '>')
	if end < 2 {
		return nil, false
	}
	for _, c := range line[1:end] {
		if c < '0' || c > '9' {
			return nil, false
		}
	}
	return bytes.TrimPrefix(line[end+1:], []byte("1 ")), true
}

// hasTag: "name: ", "name[1]: ", or RFC 5424's "name 1 - - ".
func hasTag(line []byte) bool {
	i := bytes.IndexByte(line, ' ')
	return i > 1 && line[i-1] == ':' || is5424(line)
}

func is5424(line []byte) bool {
	f := bytes.SplitN(line, []byte{' '}, 5)
	return len(f) == 5 && (string(f[1]) == "-" || isDigits(f[1])) && len(f[3]) > 0 && (f[3][0] == '-' || f[3][0] == '[')
}

// cutTag splits "tag[pid]: message".
func cutTag(line []byte) (tag string, pid int, message []byte) {
	if is5424(line) {
		f := bytes.SplitN(line, []byte{' '}, 5)
		pid, _ = strconv.Atoi(string(f[1]))
		return string(f[0]), pid, f[4]
	}
	i := bytes.IndexByte(line, ' ')
	if i < 2 || line[i-1] != ':' || i > 80 {
		return "", 0, line
	}
	name := line[:i-1]
	if open := bytes.IndexByte(name, '['); open > 0 && name[len(name)-1] == ']' {
		pid, _ = strconv.Atoi(string(name[open+1 : len(name)-1]))
		name = name[:open]
	}
	return string(name), pid, line[i+1:]
}

// cutKernelStamp cuts "[  123.456789] ", with or without "T12" of the calling
// task behind it (CONFIG_PRINTK_CALLER), or dmesg -T's date, off.
func cutKernelStamp(line []byte) ([]byte, bool) {
	if len(line) < 2 || line[0] != '[' {
		return nil, false
	}
	end := bytes.IndexByte(line[:min(len(line), 40)], ']')
	if end < 0 {
		return nil, false
	}
	in := bytes.TrimLeft(line[1:end], " ")
	s, us, ok := bytes.Cut(in, []byte{'.'})
	if !ok || !isDigits(s) || len(us) != 6 || !isDigits(us) {
		if _, err := time.Parse(time.ANSIC, string(in)); err != nil {
			return nil, false
		}
	}
	rest := bytes.TrimPrefix(line[end+1:], []byte{' '})
	if caller := bytes.IndexByte(rest[:min(len(rest), 16)], ']'); caller > 2 && rest[0] == '[' {
		if c := bytes.TrimLeft(rest[1:caller], " "); len(c) > 1 && (c[0] == 'T' || c[0] == 'C') && isDigits(c[1:]) {
			rest = bytes.TrimPrefix(rest[caller+1:], []byte{' '})
		}
	}
	return rest, true
}

func isDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}
