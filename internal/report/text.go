package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// TextOptions say how a terminal is to be written to.
type TextOptions struct {
	Colour bool
	Width  int // columns; 0 means 100
}

// Text writes the snapshot for a person at a terminal: the problems, worst
// first, each with its cause, culprit, evidence and next command; then a line
// for each vital sign.
func Text(w io.Writer, s *problem.Snapshot, c *problem.Catalogue, o TextOptions) error {
	t := &text{style: style{o.Colour}, width: o.Width}
	if t.width <= 0 {
		t.width = 100
	}
	t.width = max(t.width, 60)
	t.header(s)
	for _, p := range s.Problems {
		t.problem(p, s.Time)
	}
	t.findings(s.Findings, s.Time)
	t.vitalSigns(s, c)
	t.verdict(s)
	_, err := io.WriteString(w, t.b.String())
	return err
}

type text struct {
	style
	b     strings.Builder
	width int
}

func (t *text) printf(format string, args ...any) { fmt.Fprintf(&t.b, format, args...) }

func (t *text) header(s *problem.Snapshot) {
	h := s.Host
	t.printf("%s  %s  %s\n", t.bold("nodevitals "+h.Agent), t.bold(clean(h.Node)), s.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
	facts := []string{clean(h.OS)}
	if h.Kernel != "" {
		facts = append(facts, "kernel "+clean(h.Kernel))
	}
	if h.Cgroup != "" {
		facts = append(facts, "cgroup "+h.Cgroup)
	}
	if h.CPUs > 0 {
		facts = append(facts, fmt.Sprintf("%d CPUs", h.CPUs))
	}
	if h.Memory > 0 {
		facts = append(facts, problem.Amount(float64(h.Memory), problem.Bytes))
	}
	facts = append(facts, fmt.Sprintf("load %.2f", h.Load1))
	if h.Uptime > 0 {
		facts = append(facts, "up "+duration(h.Uptime))
	}
	facts = slices.DeleteFunc(facts, func(f string) bool { return f == "" })
	t.printf("%s\n", t.dim(strings.Join(facts, " · ")))
	for _, warning := range h.Warnings {
		t.field("note", clean(warning))
	}
	t.printf("\n")
}

func (t *text) problem(p problem.Problem, now time.Time) {
	label := strings.ToUpper(p.Severity.String())
	title := string(p.Kind)
	if p.Subject != "" {
		title += "  " + clean(p.Subject)
	}
	since := "since " + p.Since.UTC().Format("15:04:05")
	if day(p.Since) != day(now) {
		since = "since " + p.Since.UTC().Format("2006-01-02 15:04")
	}
	if p.Scope == problem.PodScope {
		since = "one pod, " + since
	}
	t.printf("%s  %s  %s\n", t.severity(p.Severity, fmt.Sprintf("%-8s", label)), t.bold(title), t.dim("("+since+")"))
	t.wrapped("  ", 2, clean(p.Message))
	if p.Stale != "" {
		t.field("stale", "not confirmed now: "+clean(p.Stale))
	}
	t.causes(p.Causes, 0)
	if p.Note != "" {
		t.field("cause", strings.TrimPrefix(p.Note, "cause "))
	}
	if len(p.Effects) > 0 {
		t.field("explains", clean(strings.Join(p.Effects, ", ")))
	}
	if len(p.Examined) > 0 {
		t.field("but", clean(strings.Join(p.Examined, "; ")))
	}
	for i, h := range p.Holders {
		t.field(first(i, "used by"), holder(h))
	}
	for i, e := range p.Evidence {
		t.field(first(i, "seen in"), clean(e))
	}
	if p.Next != "" {
		t.field("next", clean(p.Next))
	}
	t.printf("\n")
}

// maxFindings bounds the lines about the logs.
const maxFindings = 20

// day is the date of a time, as it is shown.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// findings writes what the logs say, in the order of time, under the dates of days
// other than today.
func (t *text) findings(all []problem.LogFinding, now time.Time) {
	if len(all) == 0 {
		return
	}
	t.printf("%s\n", t.bold("In the logs, first things first"))
	shown := day(now)
	for _, f := range all[:min(len(all), maxFindings)] {
		if d := day(f.First); d != shown {
			t.printf("  %s\n", t.dim(d))
			shown = d
		}
		when := f.First.UTC().Format("15:04:05")
		if f.Count > 1 {
			when += "–" + f.Last.UTC().Format("15:04:05")
		}
		title := string(f.Kind)
		if f.Subject != "" {
			title += " " + clean(f.Subject)
		}
		count := ""
		if f.Count > 1 {
			count = fmt.Sprintf(" (%d lines)", f.Count)
		}
		t.wrapped(fmt.Sprintf("  %-17s ", when), 20, fmt.Sprintf("%s%s: %s · %s", title, count, clean(f.Message), clean(f.Source)))
	}
	if more := len(all) - maxFindings; more > 0 {
		t.printf("  and %d more; -o json has them all\n", more)
	}
	t.printf("\n")
}

func (t *text) causes(causes []problem.Cause, depth int) {
	for _, c := range causes {
		title := string(c.Kind)
		if c.Subject != "" && !strings.Contains(c.Message, c.Subject) {
			title += " " + clean(c.Subject)
		}
		label, branch := "cause", ""
		if depth > 0 {
			label, branch = "", strings.Repeat("   ", depth-1)+"└─ "
		}
		lead := "  " + t.dim(fmt.Sprintf("%-*s", labelWidth-2, label)) + branch
		t.wrapped(lead, labelWidth+utf8.RuneCountInString(branch), title+": "+clean(c.Message))
		t.causes(c.Causes, depth+1)
	}
}

func first(i int, label string) string {
	if i == 0 {
		return label
	}
	return ""
}

func holder(h problem.Holder) string {
	who := clean(h.Process)
	if h.PID > 0 {
		who += fmt.Sprintf("[%d]", h.PID)
	}
	if h.Owner != "" {
		who = strings.TrimSpace(who + " in " + clean(h.Owner))
	}
	return fmt.Sprintf("%s, %s", problem.Amount(h.Amount, h.Unit), who)
}

// labelWidth is the width of the column of labels under a problem.
const labelWidth = 12

func (t *text) field(label, value string) {
	lead := "  " + t.dim(fmt.Sprintf("%-*s", labelWidth-2, label))
	t.wrapped(lead, labelWidth, value)
}

// wrapped writes words after a lead, which is indent columns wide; lines are
// broken at spaces so that they fit the width. A word that is too long (a path)
// stays whole, so that it can be copied.
func (t *text) wrapped(lead string, indent int, s string) {
	col := indent
	t.b.WriteString(lead)
	trimmed := strings.TrimLeft(s, " ")
	t.b.WriteString(s[:len(s)-len(trimmed)])
	for i, word := range strings.Fields(trimmed) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case col+1+n > t.width && col > indent:
			t.b.WriteString("\n" + strings.Repeat(" ", indent))
			col = indent
		default:
			t.b.WriteByte(' ')
			col++
		}
		t.b.WriteString(word)
		col += n
	}
	t.b.WriteByte('\n')
}

// vitalSigns writes a line for each condition: how far from trouble it is.
func (t *text) vitalSigns(s *problem.Snapshot, c *problem.Catalogue) {
	var none notApplicable
	for _, cond := range s.Conditions {
		if cond.NotApplicable {
			none.add(cond)
			continue
		}
		mark, why := t.mark(cond, s, c)
		t.wrapped(fmt.Sprintf("%s %-25s ", mark, cond.Type), signsAt, why)
	}
	for i, why := range none.reasons {
		t.wrapped(t.dim(fmt.Sprintf("  %-5s", first(i, "n/a")))+" ", 8, strings.Join(none.types[i], ", ")+": "+clean(why))
	}
}

// signsAt is the column at which the vital signs begin.
const signsAt = 34

// notApplicable groups conditions by the reason why they do not apply, the first
// of each: its probes' reasons say the same in other words. JSON has them all.
type notApplicable struct {
	reasons []string
	types   [][]string
}

func (n *notApplicable) add(c problem.Condition) {
	why, _, _ := strings.Cut(c.Message, "; ")
	i := slices.Index(n.reasons, why)
	if i < 0 {
		i = len(n.reasons)
		n.reasons, n.types = append(n.reasons, why), append(n.types, nil)
	}
	n.types[i] = append(n.types[i], c.Type)
}

func (t *text) mark(cond problem.Condition, s *problem.Snapshot, c *problem.Catalogue) (string, string) {
	worst := problem.Severity(0)
	n := 0
	for _, p := range s.Problems {
		if d, _ := c.Get(p.Kind); d.Condition == cond.Type {
			worst = max(worst, p.Severity)
			n++
		}
	}
	signs := signsOf(cond.Type, s, c)
	switch {
	case worst > 0:
		what := string(problemOf(cond.Type, s, c).Kind)
		if n > 1 {
			what += fmt.Sprintf(" and %d more", n-1)
		}
		return t.severity(worst, fmt.Sprintf("  %-5s", map[problem.Severity]string{problem.Critical: "CRIT", problem.Warning: "WARN", problem.Info: "info"}[worst])),
			strings.TrimSuffix(what+" · "+signs, " · ")
	case cond.Status == problem.ConditionUnknown:
		return t.unknown("  ?    "), "cannot tell: " + clean(cond.Message)
	}
	if signs == "" {
		signs = clean(cond.Message)
	}
	return t.good("  ok   "), signs
}

func problemOf(typ string, s *problem.Snapshot, c *problem.Catalogue) problem.Problem {
	for _, p := range s.Problems {
		if d, _ := c.Get(p.Kind); d.Condition == typ {
			return p
		}
	}
	return problem.Problem{}
}

// signsOf are the fullest measurements behind a condition, one a resource.
func signsOf(typ string, s *problem.Snapshot, c *problem.Catalogue) string {
	var out []string
	for _, d := range c.All() {
		if d.Condition != typ {
			continue
		}
		for _, r := range d.Resources {
			if m, ok := top(r, s.Measurements); ok {
				name := strings.ReplaceAll(r, "_", " ")
				if m.Subject != "" {
					name += " of " + clean(m.Subject)
				}
				sign := name + " " + problem.Share(m)
				if !slices.Contains(out, sign) {
					out = append(out, sign)
				}
			}
		}
	}
	return strings.Join(out, " · ")
}

func top(resource string, ms []problem.Measurement) (problem.Measurement, bool) {
	var best problem.Measurement
	found := false
	for _, m := range ms {
		if m.Resource == resource && (!found || cmp.Or(cmp.Compare(m.Fraction(), best.Fraction()), cmp.Compare(m.Used, best.Used)) > 0) {
			best, found = m, true
		}
	}
	return best, found
}

// verdict is the last line, since on a long report it is the one that is seen.
func (t *text) verdict(s *problem.Snapshot) {
	count := map[problem.Severity]int{}
	for _, p := range s.Problems {
		count[p.Severity]++
	}
	cannot := 0
	for _, c := range s.Conditions {
		if c.Status == problem.ConditionUnknown && !c.NotApplicable {
			cannot++
		}
	}
	line := fmt.Sprintf("%d critical, %d %s", count[problem.Critical], count[problem.Warning], plural(count[problem.Warning], "warning", "warnings"))
	informed := ""
	if n := count[problem.Info]; n > 0 {
		informed = fmt.Sprintf(", %d for information", n)
	}
	switch {
	case count[problem.Critical] > 0:
		line = t.severity(problem.Critical, line)
	case count[problem.Warning] > 0:
		line = t.severity(problem.Warning, line)
	case cannot == 0:
		line = t.good("nothing wrong was found")
	}
	line += informed
	if cannot > 0 {
		line += t.unknown(fmt.Sprintf(", %d vital %s cannot be told", cannot, plural(cannot, "sign", "signs")))
	}
	t.printf("\n%s\n", line)
	var failed []string
	for _, p := range s.Probes {
		if p.Outcome == problem.OutcomeFailed || p.Outcome == problem.OutcomePartial {
			failed = append(failed, fmt.Sprintf("%s: %s", p.Probe, clean(p.Reason)))
		}
	}
	for _, l := range s.Logs {
		if l.Blind != "" {
			failed = append(failed, fmt.Sprintf("log %s: %s", clean(l.Source), clean(l.Blind)))
		}
	}
	for i, f := range failed {
		t.field(first(i, "blind"), f)
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func duration(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dm", int(d.Minutes()))
}

// style colours text with the basic ANSI colours, which every terminal has.
type style struct{ colour bool }

func (s style) paint(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(t string) string    { return s.paint("1", t) }
func (s style) dim(t string) string     { return s.paint("2", t) }
func (s style) good(t string) string    { return s.paint("32", t) }
func (s style) unknown(t string) string { return s.paint("35", t) }

func (s style) severity(sev problem.Severity, t string) string {
	switch sev {
	case problem.Critical:
		return s.paint("1;31", t)
	case problem.Warning:
		return s.paint("33", t)
	}
	return s.paint("36", t)
}
