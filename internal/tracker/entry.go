package tracker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// entry is what is known of one (kind, subject).
type entry struct {
	// Level evidence.
	Level   problem.State   `json:"level,omitempty"`
	Why     string          `json:"why,omitempty"` // of unknown
	Verdict problem.Verdict `json:"verdict"`       // the last wrong one
	Wrong   streak          `json:"wrong"`         // runs that found it wrong
	Crit    streak          `json:"crit"`          // runs that found it critical
	Below   int             `json:"below,omitempty"`
	Fines   int             `json:"fines,omitempty"` // fine runs begun after the last line
	Period  time.Duration   `json:"period,omitempty"`
	// WasWrong: the last run that could tell found it wrong.
	WasWrong bool `json:"wasWrong,omitempty"`

	// Log evidence.
	Claim    problem.Claim `json:"claim"`
	Windows  []window      `json:"windows,omitempty"`
	First    time.Duration `json:"first,omitempty"` // the oldest of the lines that raised the claim
	LastLine time.Duration `json:"lastLine,omitempty"`
	Lines    uint64        `json:"lines,omitempty"`
	Claimed  bool          `json:"claimed,omitempty"` // enough lines came together
	// Confirmed: a probe has found wrong what lines claim, so that its "fine" counts
	// also for what probes cannot always see.
	Confirmed bool `json:"confirmed,omitempty"`

	Active   bool             `json:"active,omitempty"`
	Severity problem.Severity `json:"severity,omitempty"`
	Since    time.Duration    `json:"since,omitempty"`
	// Began is the Since of the first time, of those that came one soon after the other;
	// Ended is when it was last over.
	Began time.Duration `json:"began,omitempty"`
	Ended time.Duration `json:"ended,omitempty"`
	// Found: it was wrong already when its kind was first looked at, and may have been
	// so for as long as the node is up.
	Found bool `json:"found,omitempty"`
}

// soon is within what time a problem that comes back is the same trouble that goes
// on: what it has brought about meanwhile did not begin before it.
const soon = 10 * time.Minute

// maxTouches bounds what the lines of one entry are about.
const maxTouches = 32

// maxWindows bounds the formulas of one entry, whatever rules ask for.
const maxWindows = 8

// streak is a number of consecutive runs, and since when it was so.
type streak struct {
	Runs int           `json:"runs,omitempty"`
	From time.Duration `json:"from,omitempty"`
}

func (s *streak) add(from time.Duration) {
	if s.Runs == 0 {
		s.From = from
	}
	s.Runs++
}

func (s streak) lasted(p problem.Persist, now time.Duration) bool {
	return s.Runs >= p.Runs && now-s.From >= p.For
}

// wrong takes in a verdict; first: of the first run that decided its kind.
func (e *entry) wrong(v problem.Verdict, begun time.Duration, first bool) {
	e.Found = e.Found || first && !e.Active
	e.Level, e.Why, e.Verdict, e.Fines, e.WasWrong = problem.Wrong, "", v, 0, true
	e.Confirmed = e.Confirmed || e.Lines > 0
	from := max(begun-v.Held, 0)
	e.Wrong.add(from)
	if v.Severity == problem.Critical {
		e.Crit.add(from)
	} else {
		e.Crit = streak{}
	}
	if v.Severity < e.Severity {
		e.Below++
	} else {
		e.Below = 0
	}
}

func (e *entry) fine(begun time.Duration) {
	if e.Claim.LogOnly && !e.Confirmed {
		e.unknown(problem.NotApplicable, "no probe can see it")
		return
	}
	e.Level, e.Why, e.WasWrong, e.Found = problem.Fine, "", false, false
	e.Wrong, e.Crit, e.Below = streak{}, streak{}, 0
	if begun > e.LastLine {
		e.Fines++
	}
}

// unknown leaves the streaks alone: a probe that fails once between two wrong
// runs has not seen a recovery.
func (e *entry) unknown(s problem.State, why string) {
	e.Level, e.Why, e.Fines = s, why, 0
	if s == problem.NotApplicable {
		e.Wrong, e.Crit, e.WasWrong = streak{}, streak{}, false
	}
}

func (e *entry) line(at time.Duration, c problem.Claim, def problem.Definition) {
	e.Lines++
	e.Confirmed = e.Confirmed || e.Level == problem.Wrong
	if at >= e.LastLine {
		if at-e.LastLine <= def.QuietTime() {
			// What the lines before it were about counts as well, the newest first.
			c.Touches = union(c.Touches, e.Claim.Touches)
			c.Touches = c.Touches[:min(len(c.Touches), maxTouches)]
		}
		e.LastLine, e.Claim = at, c
	}
	e.Fines = 0
	count := def.Logs
	if c.Logs.N > 0 {
		count = c.Logs // this wording needs more lines, or fewer, than the kind's others
	}
	count.N = min(max(count.N, 1), maxWindow)
	w := e.window(count)
	w.add(at, c)
	if first, ok := w.reached(); ok {
		if !e.Claimed {
			e.First = first
		}
		e.Claimed = true
	}
}

func (e *entry) window(count problem.Count) *window {
	i := slices.IndexFunc(e.Windows, func(w window) bool { return w.Count == count })
	if i < 0 {
		if len(e.Windows) >= maxWindows {
			e.Windows = slices.Delete(e.Windows, 0, 1)
		}
		e.Windows = append(e.Windows, window{Count: count})
		i = len(e.Windows) - 1
	}
	return &e.Windows[i]
}

// resolve takes in a line that says that what was logged until then is over. Where
// the probe sees nothing either, that settles it.
func (e *entry) resolve(at time.Duration) {
	if at < e.LastLine {
		return
	}
	e.forgetLines()
	if e.Level == problem.Fine {
		e.Fines = clearRuns
	}
}

func (e *entry) forgetLines() {
	e.Lines, e.Windows, e.Claim, e.Claimed, e.Confirmed = 0, nil, problem.Claim{}, false, false
}

// settle decides whether the problem stands.
func (e *entry) settle(now time.Duration, def problem.Definition, decided, immediate bool) {
	if sev, since, ok := e.wanted(now, def, decided, immediate); ok {
		e.raise(sev, since, immediate)
		return
	}
	if (e.Active || e.Claimed) && e.over(now, def, immediate) {
		if e.Active {
			e.Ended = now
		}
		e.Active, e.Severity, e.Below = false, 0, 0
		e.forgetLines()
	}
}

// wanted says how severe the evidence is now, and since when, if it suffices; decided:
// a probe decides the kind.
func (e *entry) wanted(now time.Duration, def problem.Definition, decided, immediate bool) (problem.Severity, time.Duration, bool) {
	var sev problem.Severity
	var since time.Duration
	if e.Level == problem.Wrong {
		switch {
		case immediate, e.Verdict.Severity == problem.Critical && e.Crit.lasted(def.Crit, now):
			sev, since = e.Verdict.Severity, e.Wrong.From
		case e.Wrong.lasted(def.Warn, now):
			sev, since = min(e.Verdict.Severity, problem.Warning), e.Wrong.From
		}
	}
	// Lines raise it even where the level is fine, until a run begun after the
	// last of them says so again.
	waits := def.Confirm && decided && (e.Level == problem.Fine || e.Level == 0) && !e.Active
	if e.Claimed && !waits && !e.logOver(now, def) && (e.Level != problem.Fine || e.Fines == 0) {
		if sev == 0 || e.First < since {
			since = e.First
		}
		sev = max(sev, cmp.Or(e.Claim.Severity, def.Severity))
	}
	return sev, since, sev != 0
}

func (e *entry) raise(sev problem.Severity, since time.Duration, immediate bool) {
	if !e.Active {
		if e.Ended == 0 || since-e.Ended > soon {
			e.Began = since
		}
		e.Active, e.Since, e.Severity = true, since, sev
		return
	}
	if sev >= e.Severity || immediate || e.Below >= clearRuns {
		e.Severity, e.Below = sev, 0
	}
}

// logOver: no line for the quiet time.
func (e *entry) logOver(now time.Duration, def problem.Definition) bool {
	return e.Lines == 0 || now-e.LastLine > def.QuietTime()
}

// over decides whether a problem that nothing confirms any more has ended.
func (e *entry) over(now time.Duration, def problem.Definition, immediate bool) bool {
	runs := clearRuns
	if immediate {
		runs = 1
	}
	quiet := e.logOver(now, def)
	switch {
	case e.Level == problem.Wrong: // wrong, but not for long enough to be raised again
		return false
	case e.Level == problem.Fine:
		return e.Fines >= runs && (quiet || !def.NeedsBoth)
	case e.WasWrong: // unknown now, and wrong when last seen
		return false
	default:
		return quiet
	}
}

// forgettable: nothing is left that would count towards a problem.
func (e *entry) forgettable(now time.Duration, def problem.Definition) bool {
	return !e.Active && e.Wrong.Runs == 0 &&
		now-e.LastLine > max(def.Logs.Within, def.QuietTime()) && (e.Ended == 0 || now-e.Ended > soon)
}

func (e *entry) tracked(id key, def problem.Definition) problem.Tracked {
	out := problem.Tracked{Since: e.Since, Began: min(cmp.Or(e.Began, e.Since), e.Since), Period: e.Period, Lines: e.Lines, LastLine: e.LastLine}
	if e.Found {
		out.Began = 0
	}
	if e.WasWrong || e.Lines == 0 {
		out.Verdict = e.Verdict
		out.Evidence = slices.Clone(e.Verdict.Evidence)
	} else {
		out.Verdict = problem.Verdict{
			Message: e.Claim.Message, Scope: e.Claim.Scope, Touches: e.Claim.Touches,
			// A refusal that was logged has happened.
			Refused: true, Error: e.Claim.Error,
		}
	}
	out.Kind, out.Subject, out.State, out.Severity = id.Kind, id.Subject, problem.Wrong, e.Severity
	if out.Scope == 0 {
		out.Scope = def.Scope
	}
	if e.Lines > 0 {
		out.Evidence = append(out.Evidence, fmt.Sprintf("%s: %s (%s)", e.Claim.Source, e.Claim.Line, times(e.Lines)))
		if e.WasWrong {
			out.Touches = union(e.Verdict.Touches, e.Claim.Touches)
		}
	}
	if e.Level == problem.Unknown {
		out.Stale = e.Why
	}
	return out
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func union(a, b []problem.Ref) []problem.Ref {
	out := slices.Clone(a)
	for _, r := range b {
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}
