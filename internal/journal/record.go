package journal

import "time"

// Record is one log record, wherever it came from.
type Record struct {
	// Time is the record's own date and time; zero where it carries none.
	Time time.Time
	// Boot is its time since boot (CLOCK_BOOTTIME as near as the source tells),
	// and BootID the boot that it belongs to; empty where the source does not say.
	Boot   time.Duration
	BootID string
	// Source names where it was read: "journal", "kmsg", or a file's path.
	Source string
	// Unit is the systemd unit; Identifier the program's own tag (SYSLOG_IDENTIFIER,
	// the tag of a syslog line); PID the process. Empty or 0 where not known.
	Unit, Identifier string
	PID              int
	// Kernel says that the kernel itself wrote it.
	Kernel bool
	// Pod and Container are those whose log it is: "namespace/name", "coredns".
	Pod, Container string
	// Message is the text, without the source's own prefix. It is only good
	// during the call that hands it over.
	Message []byte
}
