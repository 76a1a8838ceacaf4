package agent

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/diagnosis"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/rules"
	"github.com/nodevitals/nodevitals/internal/tracker"
)

// state is what the loop knows: it takes in reports and claims and makes
// snapshots of them. One goroutine owns it.
type state struct {
	agent        *Agent
	tracker      *tracker.Tracker
	status       map[string]*problem.ProbeStatus
	measurements map[string][]problem.Measurement // by probe
	logs         []problem.LogStatus
	claims       map[problem.Kind]uint64 // lines, by what they claim
	cursors      cursors                 // how far the logs have been taken in
	warnings     []string                // about the agent itself
}

func (a *Agent) newState(immediate bool) *state {
	s := &state{
		agent: a, tracker: tracker.New(a.catalogue, immediate),
		status: map[string]*problem.ProbeStatus{}, measurements: map[string][]problem.Measurement{},
		claims: map[problem.Kind]uint64{},
	}
	now := a.node.Host.Clock.Boot()
	for _, p := range a.specs {
		s.status[p.Name()] = &problem.ProbeStatus{Probe: p.Name(), Outcome: problem.OutcomeStarting}
		s.tracker.Expect(p.Name(), p.Kinds(), p.Period, now)
	}
	return s
}

// observe takes in one run of a probe.
func (s *state) observe(r problem.Report) {
	s.tracker.Observe(r)
	st := s.status[r.Probe]
	st.Runs++
	st.Last, st.Duration, st.CPU = wall(s.agent.node.Host.Clock, r.Ended), r.Ended-r.Begun, r.CPU
	st.Outcome, st.Reason = problem.OutcomeOK, r.Result.Partial
	var na *problem.NotApplicableError
	switch {
	case errors.As(r.Err, &na):
		st.Outcome, st.Reason = problem.OutcomeNotApplicable, na.Reason
	case r.Err != nil:
		st.Outcome, st.Reason = problem.OutcomeFailed, r.Err.Error()
		st.Failures++
	case r.Result.Partial != "":
		st.Outcome = problem.OutcomePartial
	}
	if r.Result.Latencies != nil {
		st.Latencies = r.Result.Latencies // counts only rise, also over a failed run
	}
	// What a failed run did not measure is not known any more.
	s.measurements[r.Probe] = r.Result.Measurements
}

// takeIn takes in what was read of the logs.
func (s *state) takeIn(b logBatch) {
	for _, c := range b.claims {
		if c.at >= 0 { // a reboot ends what lines before it complain of
			s.tracker.Match(c.at, c.claim)
		}
		if !c.claim.Resolves {
			s.claims[c.claim.Kind]++
		}
	}
	s.tracker.Tick(s.agent.node.Host.Clock.Boot()) // some lines are of what is over by now
	if b.status != nil {
		s.logs = b.status
	}
	if b.cursors != nil {
		s.cursors = *b.cursors
	}
}

// ready: every probe has had its first outcome.
func (s *state) ready() bool {
	for _, st := range s.status {
		if st.Outcome == problem.OutcomeStarting {
			return false
		}
	}
	return true
}

// snapshot is all that is known now.
func (s *state) snapshot() *problem.Snapshot {
	a := s.agent
	clock := a.node.Host.Clock
	now := clock.Boot()
	out := &problem.Snapshot{Time: clock.Wall(), Host: a.facts, Kinds: s.tracker.Kinds(now), Logs: slices.Clone(s.logs)}
	out.Host.Warnings = slices.Clone(s.warnings)
	if why := a.node.Host.Unconfined(); why != "" {
		out.Host.Warnings = append(out.Host.Warnings, why)
	}
	out.Kinds = append(out.Kinds, s.logKinds(out.Kinds)...)
	refreshFacts(a.node.Host, &out.Host, now)
	for _, k := range a.logKinds {
		if d, _ := a.catalogue.Get(k); !d.NoMetrics {
			out.Claims = append(out.Claims, problem.KindCount{Kind: k, Count: s.claims[k]})
		}
	}
	for _, p := range a.specs {
		out.Probes = append(out.Probes, *s.status[p.Name()])
		out.Measurements = append(out.Measurements, s.measurements[p.Name()]...)
	}
	out.Problems = diagnosis.Diagnose(diagnosis.Input{
		Catalogue: a.catalogue, Problems: s.tracker.Active(), Measurements: out.Measurements, Kinds: out.Kinds,
		Wall: func(t time.Duration) time.Time { return wall(clock, t) },
	})
	out.Conditions = diagnosis.Conditions(a.catalogue, out.Problems, out.Kinds, a.config.MinSeverity)
	return out
}

// wall maps a boot time to the date that it had by today's clock.
func wall(c host.Clock, boot time.Duration) time.Time {
	return c.Wall().Add(boot - c.Boot()).Round(time.Millisecond)
}

// logKinds is the state of the kinds that only the logs can tell: fine while a
// log that may hold their lines is read, for lack of a line that says otherwise.
func (s *state) logKinds(decided []problem.KindStatus) []problem.KindStatus {
	kernel, host := logSight{}, logSight{} // /dev/kmsg, and all other logs
	for _, l := range s.logs {
		of := &host
		if l.Source == kmsgName {
			of = &kernel
		}
		if l.Blind == "" {
			of.read = true
		} else {
			of.blind = l.Source + ": " + l.Blind
		}
	}
	var out []problem.KindStatus
	for _, k := range s.agent.logKinds {
		if slices.ContainsFunc(decided, func(d problem.KindStatus) bool { return d.Kind == k }) {
			continue
		}
		sight := host
		if s.agent.logSources(k) == rules.Kernel {
			sight = logSight{host.read || kernel.read, cmp.Or(host.blind, kernel.blind)}
		}
		st := problem.KindStatus{Kind: k, Probe: "logs", State: problem.Fine}
		switch {
		case sight.read:
		case s.logs == nil:
			st.State, st.Reason, st.Starting = problem.Unknown, "no log has been read yet", true
		case sight.blind != "":
			st.State, st.Reason, st.Overdue = problem.Unknown, sight.blind, true
		default:
			st.State, st.Reason = problem.NotApplicable, "this node has neither a journal nor a log file that would tell"
		}
		out = append(out, st)
	}
	return out
}

// kindsOf are the kinds that log lines can claim.
func kindsOf(set *rules.Set, buffers []*rules.Buffer) []problem.Kind {
	kinds := set.Kinds()
	for _, b := range buffers {
		for _, k := range b.Kinds() {
			if !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
		}
	}
	return kinds
}

// logSources are the programs whose lines may claim kind.
func (a *Agent) logSources(kind problem.Kind) rules.Source {
	from := a.rules.Sources(kind)
	for _, b := range a.buffers {
		if slices.Contains(b.Kinds(), kind) {
			from |= b.Sources()
		}
	}
	return from
}

// logSight says whether one of some logs is read, and if not, why not.
type logSight struct {
	read  bool
	blind string
}
