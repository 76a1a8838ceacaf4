// Package problem is the vocabulary of nodevitals: what can be wrong with a
// node (Kind), where (Subject), how sure we are (State), how bad it is
// (Severity), and the Snapshot that reporters render. It knows nothing of how
// evidence is gathered or shown.
package problem

import (
	"fmt"
	"time"
)

// Kind names one failure of the catalogue, such as "ForkRefused". Users' own
// rules add kinds, so it is a string.
type Kind string

// Severity says how bad a problem is. The order is meaningful.
type Severity uint8

// The severities, mildest first.
const (
	Info Severity = iota + 1
	Warning
	Critical
)

var severityNames = [...]string{Info: "info", Warning: "warning", Critical: "critical"}

func (s Severity) String() string { return name(severityNames[:], int(s)) }

// MarshalText renders the severity as it is shown everywhere: info, warning, critical.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Severity) UnmarshalText(b []byte) error {
	i, err := parse("severity", severityNames[:], string(b))
	*s = Severity(i)
	return err
}

// Scope says whom a problem hurts: the node as a whole, or one pod or volume.
// Only problems of node scope turn a NodeCondition True, since consumers drain
// nodes on it.
type Scope uint8

// The scopes.
const (
	NodeScope Scope = iota + 1
	PodScope
)

var scopeNames = [...]string{NodeScope: "node", PodScope: "pod"}

func (s Scope) String() string { return name(scopeNames[:], int(s)) }

// MarshalText renders the scope: node or pod.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Scope) UnmarshalText(b []byte) error {
	i, err := parse("scope", scopeNames[:], string(b))
	*s = Scope(i)
	return err
}

// State is what a probe says of a kind. Fine needs no verdict: silence about a
// kind that the probe decides means that nothing is wrong.
type State uint8

// The states of a verdict. Fine is never given by a probe; it is what the
// tracker concludes from silence.
const (
	Fine State = iota + 1
	Wrong
	Unknown
	NotApplicable
)

var stateNames = [...]string{Fine: "fine", Wrong: "wrong", Unknown: "unknown", NotApplicable: "not-applicable"}

func (s State) String() string { return name(stateNames[:], int(s)) }

// MarshalText renders the state: fine, wrong, unknown or not-applicable.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *State) UnmarshalText(b []byte) error {
	i, err := parse("state", stateNames[:], string(b))
	*s = State(i)
	return err
}

func name(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("invalid(%d)", i)
	}
	return names[i]
}

func parse(what string, names []string, s string) (int, error) {
	for i, n := range names {
		if n == s { // the zero value is the empty text
			return i, nil
		}
	}
	return 0, fmt.Errorf("unknown %s %q (one of %q)", what, s, names[1:])
}

// Unit is the unit of a measured amount.
type Unit string

// The units in use. Times and sizes are base units, as Prometheus asks.
const (
	Bytes       Unit = "bytes"
	Seconds     Unit = "seconds"
	Ratio       Unit = "ratio" // 0 to 1
	Threads     Unit = "threads"
	Files       Unit = "files"
	Inodes      Unit = "inodes"
	Instances   Unit = "instances"
	Watches     Unit = "watches"
	Connections Unit = "entries"
	Mounts      Unit = "mounts"
	Cgroups     Unit = "cgroups"
	Processes   Unit = "processes"
	Pages       Unit = "pages"
	Kills       Unit = "kills"
	Sockets     Unit = "sockets"
	Changes     Unit = "changes"
	Restarts    Unit = "restarts"
	Addresses   Unit = "addresses"
)

// Measurement is one vital sign: how much of something is used, of how much.
type Measurement struct {
	// Resource is the stable name of what is measured, in snake case: a metric label.
	Resource string `json:"resource"`
	// Subject is whose it is; empty for the node.
	Subject string  `json:"subject,omitempty"`
	Used    float64 `json:"used"`
	// Max is the limit; 0 means that there is none.
	Max  float64 `json:"max,omitempty"`
	Unit Unit    `json:"unit,omitempty"`
	// Refused counts how often the limit itself has said no since it exists,
	// where the kernel keeps such a counter.
	Refused *uint64 `json:"refused,omitempty"`
	// Touches ties the measurement to what it was measured on.
	Touches []Ref `json:"touches,omitempty"`
}

// Fraction is Used/Max, or 0 where there is no limit.
func (m Measurement) Fraction() float64 {
	if m.Max <= 0 {
		return 0
	}
	return m.Used / m.Max
}

// Latency is how long a probe's calls of one sort took, since the agent started.
type Latency struct {
	// Call is what was called: a metric label.
	Call string `json:"call"`
	// Bounds are the upper bounds of the buckets in seconds, Below how many calls took
	// at most that long; Count are all.
	Bounds []float64 `json:"bounds"`
	Below  []uint64  `json:"below"`
	Count  uint64    `json:"count"`
	Sum    float64   `json:"sumSeconds"`
}

// Holder is one of those who use a resource up.
type Holder struct {
	// Owner is a pod, container, unit or user session, as owner.Owner prints it.
	Owner string `json:"owner,omitempty"`
	// Process is the command name (comm) of the process, never its arguments.
	Process string  `json:"process,omitempty"`
	PID     int     `json:"pid,omitempty"`
	Amount  float64 `json:"amount"`
	Unit    Unit    `json:"unit,omitempty"`
}

// Verdict is what a probe found: something wrong, or something that it could
// not tell.
type Verdict struct {
	Kind Kind `json:"kind"`
	// Subject is what it is about: mount point, cgroup owner, unit, device …; empty for the node.
	Subject  string   `json:"subject,omitempty"`
	State    State    `json:"state"`
	Severity Severity `json:"severity,omitempty"`
	// Scope overrides the catalogue's, where the subject decides it; 0 keeps it.
	Scope Scope `json:"scope,omitempty"`
	// Message is one sentence with the numbers, coarse enough not to change every run.
	Message string `json:"message"`
	// Evidence says where it was read, as a person would check it.
	Evidence []string `json:"evidence,omitempty"`
	Holders  []Holder `json:"holders,omitempty"`
	// Touches are the typed references that tie causes to effects.
	Touches []Ref `json:"touches,omitempty"`
	// Refused says that the limit itself has said no (a counter rose, a table
	// is full, a date has passed), not only that it is near. Only such a
	// problem can be the cause of a refusal.
	Refused bool `json:"refused,omitempty"`
	// Error is what the call failed with, where an edge of the catalogue asks for it.
	Error Errno `json:"error,omitempty"`
	// Held is for how long it had been so already when it was found, as far as the
	// evidence tells.
	Held time.Duration `json:"held,omitempty"`
}

// Claim is what a log line says went wrong.
type Claim struct {
	Kind     Kind     `json:"kind"`
	Subject  string   `json:"subject,omitempty"`
	Severity Severity `json:"severity,omitempty"` // 0: the catalogue's
	Scope    Scope    `json:"scope,omitempty"`    // 0: the catalogue's
	Message  string   `json:"message"`
	Line     string   `json:"line"`   // the log line, bounded in length
	Source   string   `json:"source"` // the file or journal unit it came from
	Touches  []Ref    `json:"touches,omitempty"`
	// Logs is how many such lines within which time raise it; the zero value
	// leaves that to the catalogue.
	Logs Count `json:"logs,omitzero"`
	// Resolves: the line says that the failure is over.
	Resolves bool `json:"resolves,omitempty"`
	// Site is the place in a program that writes such lines. Lines from different
	// sites within a moment are about one failure; from the same site they are not.
	Site string `json:"site,omitempty"`
	// Value is what the capture Logs.Distinct held.
	Value string `json:"value,omitempty"`
	// Error is what the call failed with, where an edge of the catalogue asks for it.
	Error Errno `json:"error,omitempty"`
	// LogOnly: no probe can see it, so that one's "fine" does not end it.
	LogOnly bool `json:"logOnly,omitempty"`
	// Span is from when on its lines count; nil leaves that to the agent.
	Span *Span `json:"-"`
}

// Span is from when on lines count: not so soon after the boot, and not so long
// before the agent's first start.
type Span struct{ Delay, LookBack time.Duration }

// Outcome is how a probe's run ended.
type Outcome string

// The outcomes of a run.
const (
	OutcomeOK            Outcome = "ok"
	OutcomePartial       Outcome = "partial"
	OutcomeFailed        Outcome = "failed"
	OutcomeNotApplicable Outcome = "not-applicable"
	OutcomeStarting      Outcome = "starting" // no run has ended yet
)

// Report is one run of one probe, as it is handed to the tracker.
type Report struct {
	Probe string
	// Kinds are all that the probe decides.
	Kinds  []Kind
	Period time.Duration
	// Begun and Ended are boot times (CLOCK_BOOTTIME).
	Begun, Ended time.Duration
	CPU          time.Duration
	Result       Result
	// Err is nil, a NotApplicableError, or what went wrong; then all Kinds are Unknown.
	Err error
}

// Result is what one run of a probe found.
type Result struct {
	Measurements []Measurement
	Verdicts     []Verdict
	Latencies    []Latency
	// Partial says why not all was seen; then absent means unchanged, not fine.
	Partial string
}

// NotApplicableError says that what a probe looks for does not exist on this
// node, and why. It is not a failure.
type NotApplicableError struct {
	Reason string
	// LogsTell: logs tell of the probe's kinds all the same.
	LogsTell bool
}

func (e *NotApplicableError) Error() string { return "not applicable: " + e.Reason }

// NotApplicablef makes a NotApplicableError.
func NotApplicablef(format string, args ...any) error {
	return &NotApplicableError{Reason: fmt.Sprintf(format, args...)}
}

// LogsTellf makes a NotApplicableError of a probe whose kinds logs tell of all the same.
func LogsTellf(format string, args ...any) error {
	return &NotApplicableError{Reason: fmt.Sprintf(format, args...), LogsTell: true}
}
