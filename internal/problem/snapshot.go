package problem

import "time"

// Snapshot is all that is known of the node at one moment. Reporters are pure
// functions of it. It is never changed after it was handed out.
type Snapshot struct {
	Time time.Time `json:"time"`
	Host HostFacts `json:"host"`
	// Problems are the active ones, worst first.
	Problems []Problem `json:"problems"`
	// Conditions stand in the catalogue's order.
	Conditions   []Condition   `json:"conditions"`
	Kinds        []KindStatus  `json:"kinds"`
	Measurements []Measurement `json:"measurements"`
	Probes       []ProbeStatus `json:"probes"`
	Logs         []LogStatus   `json:"logs"`
	// Claims are how many log lines have claimed each kind that logs can tell, since
	// the agent started.
	Claims []KindCount `json:"-"`
	// Findings are what the logs of the time looked back on say, the earliest
	// first, also what is over by now. Only a single look has them.
	Findings []LogFinding `json:"findings,omitempty"`
}

// KindCount is how often something was said of a kind.
type KindCount struct {
	Kind  Kind
	Count uint64
}

// LogFinding sums up the log lines about one (kind, subject).
type LogFinding struct {
	Kind    Kind      `json:"kind"`
	Subject string    `json:"subject,omitempty"`
	Count   uint64    `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Message string    `json:"message"`
	Source  string    `json:"source"`
	Line    string    `json:"line"` // the last one
}

// HostFacts is the report's header: what machine this is.
type HostFacts struct {
	Node     string        `json:"node"`
	BootID   string        `json:"bootID,omitempty"`
	OS       string        `json:"os,omitempty"`
	Kernel   string        `json:"kernel,omitempty"`
	Cgroup   string        `json:"cgroup,omitempty"`
	Virt     string        `json:"virtualization,omitempty"`
	CPUs     int           `json:"cpus,omitempty"`
	Memory   uint64        `json:"memoryBytes,omitempty"`
	Load1    float64       `json:"load1"`
	Uptime   time.Duration `json:"-"`
	UptimeS  float64       `json:"uptimeSeconds"`
	Agent    string        `json:"agentVersion"`
	Warnings []string      `json:"warnings,omitempty"`
}

// Problem is one active problem.
type Problem struct {
	Kind     Kind      `json:"kind"`
	Subject  string    `json:"subject,omitempty"`
	Severity Severity  `json:"severity"`
	Scope    Scope     `json:"scope"`
	Since    time.Time `json:"since"`
	Message  string    `json:"message"`
	Evidence []string  `json:"evidence,omitempty"`
	Holders  []Holder  `json:"holders,omitempty"`
	Touches  []Ref     `json:"touches,omitempty"`
	Refused  bool      `json:"refused,omitempty"`
	// NoMetrics: it is not counted in metrics.
	NoMetrics bool `json:"-"`
	// Lines counts the log lines that claimed it since it became active.
	Lines uint64 `json:"logLines,omitempty"`
	// Stale says that it can no longer be confirmed, and why.
	Stale string `json:"stale,omitempty"`
	// Causes are what brought it about, the nearest first, each with its own causes; at
	// most some twenty in all.
	Causes []Cause `json:"causes,omitempty"`
	// Examined are candidate causes that were looked at and found fine, with their numbers.
	Examined []string `json:"examined,omitempty"`
	// Note says what is known where no cause was found, or too many.
	Note string `json:"note,omitempty"`
	// Effects are the active problems that this one explains.
	Effects []string `json:"effects,omitempty"`
	// Next is the command that a person would run next.
	Next string `json:"next,omitempty"`
}

// Cause is a node of a cause tree.
type Cause struct {
	Kind    Kind    `json:"kind"`
	Subject string  `json:"subject,omitempty"`
	Message string  `json:"message"`
	Causes  []Cause `json:"causes,omitempty"`
}

// Roots are the leaves of a cause tree: what to mend first.
func (c Cause) Roots() []Cause {
	if len(c.Causes) == 0 {
		return []Cause{c}
	}
	var roots []Cause
	for _, cc := range c.Causes {
		roots = append(roots, cc.Roots()...)
	}
	return roots
}

// ConditionStatus is a NodeCondition's status.
type ConditionStatus string

// The statuses that the API knows.
const (
	ConditionTrue    ConditionStatus = "True"
	ConditionFalse   ConditionStatus = "False"
	ConditionUnknown ConditionStatus = "Unknown"
)

// Condition is the state of one NodeCondition. True means that something is wrong.
type Condition struct {
	Type    string          `json:"type"`
	Status  ConditionStatus `json:"status"`
	Reason  string          `json:"reason"`
	Message string          `json:"message"`
	// NotApplicable: none of its kinds can occur on this node; it is not published.
	NotApplicable bool `json:"notApplicable,omitempty"`
}

// KindStatus is what the probes say of a kind as a whole.
type KindStatus struct {
	Kind   Kind   `json:"kind"`
	Probe  string `json:"probe"`
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // of unknown and not-applicable
	// Starting: no run of its probe has ended yet.
	Starting bool `json:"starting,omitempty"`
	// Missing is for how long no verdict was had while one was due.
	Missing time.Duration `json:"-"`
	// Overdue: missing for more than three periods.
	Overdue bool `json:"overdue,omitempty"`
}

// ProbeStatus is how a probe itself is doing.
type ProbeStatus struct {
	Probe    string        `json:"probe"`
	Outcome  Outcome       `json:"outcome"`
	Reason   string        `json:"reason,omitempty"`
	Last     time.Time     `json:"last,omitzero"`
	Duration time.Duration `json:"durationNanoseconds"`
	CPU      time.Duration `json:"cpuNanoseconds"`
	Runs     uint64        `json:"runs"`
	Failures uint64        `json:"failures"`
	// Latencies are of the calls that the probe makes, where it makes any.
	Latencies []Latency `json:"latencies,omitempty"`
}

// LogStatus is how the reading of one log source is doing.
type LogStatus struct {
	Source  string        `json:"source"`
	Records uint64        `json:"records"`
	Matches uint64        `json:"matches"`
	Lag     time.Duration `json:"lagNanoseconds"`
	// Blind says why the source cannot be read; empty while it can.
	Blind string `json:"blind,omitempty"`
}
