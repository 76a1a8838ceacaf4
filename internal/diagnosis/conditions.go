package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// Reasons of a condition that no kind explains.
const (
	ReasonHealthy    = "Healthy"
	ReasonCannotTell = "CannotTell"
	ReasonStarting   = "Starting"
)

// Conditions derives the NodeConditions: True for a problem of node scope at
// least as severe as minSeverity; Unknown where nothing is wrong but a verdict
// is overdue or was never had; False otherwise, with the kind of a milder
// problem as the reason. A problem that an earlier run of the agent has left is no
// verdict: until its kind has one, nobody knows. Problems are those of Diagnose, worst first.
func Conditions(c *problem.Catalogue, problems []problem.Problem, kinds []problem.KindStatus, minSeverity problem.Severity) []problem.Condition {
	var out []problem.Condition
	for _, typ := range c.Conditions() {
		of := func(k problem.Kind) bool { d, ok := c.Get(k); return ok && d.Condition == typ }
		out = append(out, healthy(c, condition(typ, of, problems, kinds, minSeverity)))
	}
	return out
}

// healthy puts the catalogue's own words for a condition in place of ours while
// nothing is wrong, and where nothing can set it.
func healthy(c *problem.Catalogue, cond problem.Condition) problem.Condition {
	text, ok := c.Healthy(cond.Type)
	nobody := !slices.ContainsFunc(c.All(), func(d problem.Definition) bool { return d.Condition == cond.Type })
	if !ok || cond.Reason != ReasonHealthy && !nobody {
		return cond
	}
	return problem.Condition{
		Type: cond.Type, Status: problem.ConditionFalse,
		Reason: cmp.Or(text.Reason, ReasonHealthy), Message: cmp.Or(text.Message, cond.Message),
	}
}

// condition sums up the kinds that of picks.
func condition(typ string, of func(problem.Kind) bool, problems []problem.Problem, kinds []problem.KindStatus, minSeverity problem.Severity) problem.Condition {
	s := summarise(kinds, of)
	var mild *problem.Problem
	for i, p := range problems {
		if !of(p.Kind) || p.Scope != problem.NodeScope || slices.Contains(s.starting, p.Kind) {
			continue
		}
		if p.Severity >= minSeverity {
			return problem.Condition{Type: typ, Status: problem.ConditionTrue, Reason: string(p.Kind), Message: Headline(p)}
		}
		if mild == nil {
			mild = &problems[i]
		}
	}
	switch {
	case mild != nil:
		return problem.Condition{Type: typ, Status: problem.ConditionFalse, Reason: string(mild.Kind), Message: Headline(*mild)}
	case s.applicable == 0:
		return problem.Condition{Type: typ, Status: problem.ConditionUnknown, Reason: ReasonCannotTell, Message: s.notApplicable, NotApplicable: true}
	case len(s.starting) > 0:
		return problem.Condition{Type: typ, Status: problem.ConditionUnknown, Reason: ReasonStarting, Message: "no verdict yet: " + string(s.starting[0])}
	case s.overdue != "":
		return problem.Condition{Type: typ, Status: problem.ConditionUnknown, Reason: ReasonCannotTell, Message: s.overdue}
	}
	return problem.Condition{Type: typ, Status: problem.ConditionFalse, Reason: ReasonHealthy, Message: s.healthy()}
}

// healthy is short: a Node is sent to everyone who watches it.
func (s summary) healthy() string {
	return fmt.Sprintf("nothing wrong is seen (%d of %d checks can tell)", s.fine, s.applicable)
}

type summary struct {
	applicable, fine       int
	starting               []problem.Kind
	overdue, notApplicable string
}

func summarise(kinds []problem.KindStatus, of func(problem.Kind) bool) summary {
	var s summary
	for _, k := range kinds {
		if !of(k.Kind) {
			continue
		}
		if k.State == problem.NotApplicable {
			if !strings.Contains(s.notApplicable, k.Reason) {
				s.notApplicable = strings.TrimPrefix(s.notApplicable+"; "+k.Reason, "; ")
			}
			continue
		}
		s.applicable++
		switch {
		case k.State != problem.Unknown:
			s.fine++
		case k.Starting:
			s.starting = append(s.starting, k.Kind)
		case k.Overdue && s.overdue == "":
			s.overdue = fmt.Sprintf("%s: %s", k.Kind, k.Reason)
		}
	}
	if s.applicable == 0 && s.notApplicable == "" {
		s.notApplicable = "no probe of this build or this node decides it"
	}
	return s
}

// Headline is a problem in one line that leads with its cause: what a person
// should mend comes first, and is not said twice.
func Headline(p problem.Problem) string {
	if len(p.Causes) == 0 {
		return about(p.Subject, p.Message)
	}
	root := p.Causes[0].Roots()[0]
	effect, repeats := strings.CutSuffix(p.Message, ": "+root.Message)
	if !repeats {
		effect = about(p.Subject, p.Message)
	}
	return fmt.Sprintf("%s: %s; hence %s", root.Kind, about(root.Subject, root.Message), effect)
}

// about is a message that says what it is about, where it does not say so itself.
func about(subject, message string) string {
	if strings.Contains(message, subject) {
		return message
	}
	return message + " (" + subject + ")"
}

// next fills the subject into the catalogue's next command, quoted for a shell
// where it is anything but a plain path or name.
func next(def problem.Definition, subject string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:@~", r)
	}
	if strings.ContainsFunc(subject, func(r rune) bool { return !plain(r) }) {
		subject = "'" + strings.ReplaceAll(subject, "'", `'\''`) + "'"
	}
	return strings.ReplaceAll(def.Next, "{subject}", subject)
}
