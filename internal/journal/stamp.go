package journal

import (
	"bytes"
	"time"
)

// Stamp reads the time at the beginning of a log line: RFC 3339 (newer syslog,
// container logs), "Jan _2 15:04:05" (syslog, local time, no year) or klog's
// "I0102 15:04:05.000000". now gives the year that the line leaves out.
func Stamp(line []byte, now time.Time) (time.Time, bool) {
	if i := bytes.IndexByte(line, ' '); i >= len("2006-01-02T15:04:05Z") && i <= 40 {
		if t, err := time.Parse(time.RFC3339Nano, string(line[:i])); err == nil {
			return t, true
		}
	}
	if len(line) >= len(time.Stamp) {
		if t, err := time.ParseInLocation(time.Stamp, string(line[:len(time.Stamp)]), now.Location()); err == nil {
			return WithYear(t, now), true
		}
	}
	const klog = "0102 15:04:05.000000"
	if len(line) > len(klog) && bytes.IndexByte([]byte("IWEF"), line[0]) >= 0 {
		if t, err := time.ParseInLocation(klog, string(line[1:1+len(klog)]), now.Location()); err == nil {
			return WithYear(t, now), true
		}
	}
	return time.Time{}, false
}

// WithYear puts t into the year that makes it the newest past time: a line of
// December that is read in January is last year's.
func WithYear(t, now time.Time) time.Time {
	t = time.Date(now.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location())
	if t.After(now.Add(24 * time.Hour)) {
		t = t.AddDate(-1, 0, 0)
	}
	return t
}
