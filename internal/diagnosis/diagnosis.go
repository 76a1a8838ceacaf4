// Package diagnosis links symptoms to their causes: it turns tracked problems
// and the catalogue's edges into cause trees, says which candidates were looked
// at and found fine, and derives the NodeConditions. It is pure.
package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// slack is how much later than its effect a cause may have been seen to begin,
// beyond the period at which it is looked for: lines and samples of one
// incident arrive in any order within it.
const slack = 30 * time.Second

// Input is all that a diagnosis looks at.
type Input struct {
	Catalogue    *problem.Catalogue
	Problems     []problem.Tracked // in the order in which they are to be shown
	Measurements []problem.Measurement
	Kinds        []problem.KindStatus
	// Wall maps a boot time to the date for display.
	Wall func(time.Duration) time.Time
}

// Diagnose explains each problem by those that are its causes.
func Diagnose(in Input) []problem.Problem {
	d := newDiagnosis(in)
	out := make([]problem.Problem, len(in.Problems))
	for i, t := range in.Problems {
		out[i] = problem.Problem{
			Kind: t.Kind, Subject: t.Subject, Severity: t.Severity, Scope: t.Scope,
			Since: in.Wall(t.Since), Message: t.Message, Evidence: t.Evidence, Holders: t.Holders,
			Touches: t.Touches, Refused: t.Refused, Lines: t.Lines, Stale: t.Stale,
		}
		p := &out[i]
		def, _ := in.Catalogue.Get(t.Kind)
		p.NoMetrics = def.NoMetrics
		left := maxCauses
		p.Causes = d.tree(i, &left)
		p.Examined = d.examined(i, def)
		if left == 0 {
			p.Note = "further causes are problems listed by themselves"
		}
		if len(p.Causes) == 0 && len(def.Causes) > 0 && !def.Itself {
			p.Note = "cause not found on this node"
		}
		p.Next = next(def, t.Subject)
		if unseen := d.unseen(t, def); p.Note != "" && len(unseen.Evidence) > 0 {
			p.Note += fmt.Sprintf("; the next to look at is %s, which could not be told", unseen.Kind)
			p.Next = unseen.Evidence[0]
		}
	}
	for i, causes := range d.direct {
		effect := title(in.Problems[i].Kind, in.Problems[i].Subject)
		for _, c := range causes {
			out[c].Effects = append(out[c].Effects, effect)
		}
	}
	// Of problems that weigh the same, the one that nothing else comes of leads:
	// it is what people notice, and its causes stand right below it.
	slices.SortStableFunc(out, func(a, b problem.Problem) int {
		return cmp.Or(-cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Scope, b.Scope),
			cmp.Compare(min(len(a.Effects), 1), min(len(b.Effects), 1)))
	})
	return out
}

type diagnosis struct {
	Input
	kinds  map[problem.Kind]problem.KindStatus
	of     map[problem.Kind][]int // the indices of the problems of a kind
	direct [][]int                // for each problem, the indices of its direct causes
	causes []set                  // for each problem, all its causes, at whatever remove
}

func newDiagnosis(in Input) *diagnosis {
	n := len(in.Problems)
	d := &diagnosis{
		Input: in, kinds: map[problem.Kind]problem.KindStatus{}, of: map[problem.Kind][]int{},
		direct: make([][]int, n), causes: make([]set, n),
	}
	for _, k := range in.Kinds {
		d.kinds[k.Kind] = k
	}
	for i, p := range in.Problems {
		d.of[p.Kind] = append(d.of[p.Kind], i)
	}
	for i := range in.Problems {
		d.direct[i] = d.linked(i)
	}
	for i := range in.Problems {
		d.collect(i)
	}
	// Only then are chains known: what is reached through a nearer cause is
	// not named beside it.
	for i, causes := range d.direct {
		further := newSet(n)
		for _, c := range causes {
			further.addAll(d.causes[c])
		}
		d.direct[i] = slices.DeleteFunc(causes, further.has)
	}
	return d
}

// collect fills in all causes of problem i. No kind is among its own causes, so that
// this comes to an end.
func (d *diagnosis) collect(i int) set {
	if d.causes[i] == nil {
		all := newSet(len(d.Problems))
		for _, c := range d.direct[i] {
			all.add(c)
			all.addAll(d.collect(c))
		}
		d.causes[i] = all
	}
	return d.causes[i]
}

// linked are all problems that an edge of the catalogue ties to problem i.
func (d *diagnosis) linked(i int) []int {
	effect := d.Problems[i]
	def, _ := d.Catalogue.Get(effect.Kind)
	var out []int
	for _, edge := range def.Causes {
		for _, j := range d.of[edge.Kind] {
			if d.explains(edge, d.Problems[j], effect) && !slices.Contains(out, j) {
				out = append(out, j)
			}
		}
	}
	return out
}

// explains applies the rules of a tie: the edge's own narrowing, a refusal only
// by a refusal, common references, and the order in time.
func (d *diagnosis) explains(edge problem.Edge, cause, effect problem.Tracked) bool {
	return concerns(edge, effect) && d.tied(edge, cause, effect) && inTime(cause, effect)
}

// tied is all but the order in time.
func (d *diagnosis) tied(edge problem.Edge, cause, effect problem.Tracked) bool {
	switch {
	case edge.Refused && !cause.Refused:
		return false
	case len(edge.Touching) > 0: // the tie itself: whoever logged the effect, it is about these
		return problem.AnyReaches(edge.Touching, cause.Touches)
	}
	away := elsewhere(effect)
	if edge.By == "" && !away && d.ofTheNode(cause) {
		return true
	}
	return slices.ContainsFunc(cause.Touches, func(r problem.Ref) bool {
		switch {
		case cause.Scope == problem.PodScope && r.Type() == problem.RefUnit:
			return false // what is wrong with one pod is not felt by all that the daemon does that has logged it
		case edge.By != "":
			if r.Type() != edge.By {
				return false
			}
		case away && r == problem.RefNode:
			return false
		}
		return problem.AnyReaches([]problem.Ref{r}, effect.Touches)
	})
}

// elsewhere tells whether the effect is in a network namespace that is not the
// node's, of which no probe says anything.
func elsewhere(effect problem.Tracked) bool {
	return effect.Scope == problem.PodScope && slices.ContainsFunc(effect.Touches, func(r problem.Ref) bool { return r.Type() == problem.RefNetns })
}

// inTime: the cause began no later than its effect, as far as that can be told. One
// that comes and goes began when it first came.
func inTime(cause, effect problem.Tracked) bool {
	return cause.Began <= effect.Since+cause.Period+slack
}

// ofTheNode tells whether the problem concerns the node as a whole: it is of node
// scope and about no single thing, so it needs no reference to reach the others.
func (d *diagnosis) ofTheNode(t problem.Tracked) bool {
	def, _ := d.Catalogue.Get(t.Kind)
	return def.Scope == problem.NodeScope && t.Subject == "" && len(t.Touches) == 0
}

// concerns tells whether the edge is about effects like this one.
func concerns(edge problem.Edge, effect problem.Tracked) bool {
	return (edge.Subject == "" || edge.Subject == effect.Subject) && (edge.Error == "" || edge.Error == effect.Error)
}

// maxCauses bounds the causes that are shown below one problem, at all removes: a
// hundred volumes of one server may hang. Each is a problem with an entry of its own.
const maxCauses = 20

// tree is the cause tree under problem i, of at most left causes.
func (d *diagnosis) tree(i int, left *int) []problem.Cause {
	var out []problem.Cause
	for _, c := range d.direct[i] {
		if *left == 0 {
			break
		}
		*left--
		t := d.Problems[c]
		out = append(out, problem.Cause{Kind: t.Kind, Subject: t.Subject, Message: t.Message, Causes: d.tree(c, left)})
	}
	return out
}

// examined says of each candidate that is not a cause why it is not, with its
// numbers: what an on-call wants to know most after the cause.
func (d *diagnosis) examined(i int, def problem.Definition) []string {
	effect := d.Problems[i]
	var out []string
	var done []problem.Kind
	for _, edge := range def.Causes {
		if elsewhere(effect) || slices.Contains(done, edge.Kind) || !concerns(edge, effect) || d.isCause(i, edge.Kind) {
			continue
		}
		done = append(done, edge.Kind)
		out = append(out, d.alibi(edge, effect)...)
	}
	return out
}

// unseen is the first candidate, if any, of which nothing is known: if no other is the
// cause, that is where a person should look next.
func (d *diagnosis) unseen(effect problem.Tracked, def problem.Definition) problem.Definition {
	for _, edge := range def.Causes {
		if status, ok := d.kinds[edge.Kind]; ok && status.State == problem.Unknown && !status.Starting && concerns(edge, effect) && !elsewhere(effect) {
			candidate, _ := d.Catalogue.Get(edge.Kind)
			return candidate
		}
	}
	return problem.Definition{}
}

// isCause: a problem of the kind is a cause of problem i, at whatever remove.
func (d *diagnosis) isCause(i int, kind problem.Kind) bool {
	return slices.ContainsFunc(d.of[kind], d.causes[i].has)
}

// alibi says why no problem of edge.Kind explains the effect: its measurements
// near the effect, or that it is fine, or that nobody can tell.
func (d *diagnosis) alibi(edge problem.Edge, effect problem.Tracked) []string {
	late := func(c int) bool { t := d.Problems[c]; return d.tied(edge, t, effect) && !inTime(t, effect) }
	if slices.ContainsFunc(d.of[edge.Kind], late) {
		return []string{fmt.Sprintf("%s is there too, but began later", edge.Kind)}
	}
	status, decided := d.kinds[edge.Kind]
	there := len(d.of[edge.Kind]) > 0
	switch {
	case there:
	case !decided, status.State == problem.NotApplicable:
		return nil
	case status.State == problem.Unknown:
		return []string{fmt.Sprintf("cannot tell %s: %s", edge.Kind, status.Reason)}
	}
	def, _ := d.Catalogue.Get(edge.Kind)
	var out []string
	for _, resource := range def.Resources {
		if m, ok := d.highest(resource, effect); ok {
			out = append(out, fmt.Sprintf("not %s: %s", resourceName(m), problem.Share(m)))
		}
	}
	switch {
	case len(out) > 0:
	case there:
		out = append(out, fmt.Sprintf("%s is there too, but nothing ties it to this", edge.Kind))
	case status.State == problem.Fine:
		out = append(out, fmt.Sprintf("not %s", edge.Kind))
	}
	return out
}

// highest is the measurement of a resource that is fullest among those that
// could bind the effect: of the node, or of what the effect touches.
func (d *diagnosis) highest(resource string, effect problem.Tracked) (problem.Measurement, bool) {
	var best problem.Measurement
	found := false
	for _, m := range d.Measurements {
		if m.Resource != resource || m.Max <= 0 {
			continue
		}
		if len(m.Touches) > 0 && !problem.AnyReaches(m.Touches, effect.Touches) {
			continue
		}
		if !found || m.Fraction() > best.Fraction() {
			best, found = m, true
		}
	}
	return best, found
}

func resourceName(m problem.Measurement) string {
	if m.Subject == "" {
		return m.Resource
	}
	return m.Resource + " of " + m.Subject
}

func title(k problem.Kind, subject string) string {
	if subject == "" {
		return string(k)
	}
	return string(k) + " " + subject
}
