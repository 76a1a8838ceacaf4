package problem

// This file renders a row of the catalogue for people: as sections, which the
// terminal page and the documentation are both made of.

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// explainWidth is the column at which text is wrapped, so that a page fits a
// terminal of 90 columns and can be quoted in a ticket.
const explainWidth = 88

// Section is a part of the page about a kind. It has one of Text, Items and Commands.
type Section struct {
	Title    string
	Text     string
	Items    []string
	Commands []string
}

// Headline says in a line what d belongs to and how grave it is.
func (d Definition) Headline() string {
	condition := "no condition: Events and metrics only"
	if d.Condition != "" {
		condition = "condition " + d.Condition
	}
	return fmt.Sprintf("%s, scope %s, severity %s", condition, d.Scope, d.Severity)
}

// Sections are what there is to say about d, in the order in which a person who is
// woken up by it reads. The catalogue says what d's causes mean and what it brings about.
func (d Definition) Sections(c *Catalogue) []Section {
	s := []Section{
		{Title: "What it means", Text: d.Meaning},
		{Title: "When it is raised, and when it clears", Items: append(d.raised(), d.cleared())},
		{Title: "Look at it by hand", Commands: d.Evidence},
	}
	if d.LookAlike != "" {
		s = append(s, Section{Title: "What looks the same and is not", Text: d.LookAlike})
	}
	if len(d.Causes) > 0 {
		causes := Section{Title: "What may have brought it about"}
		for _, e := range d.Causes {
			causes.Items = append(causes.Items, e.explain(c))
		}
		s = append(s, causes)
	}
	if effects := c.Effects(d.Kind); len(effects) > 0 {
		s = append(s, Section{Title: "What it may bring about", Text: join(effects)})
	}
	return append(s,
		Section{Title: "What to do", Text: d.Remedy},
		Section{Title: "Next command", Commands: []string{d.Next}})
}

// Explain is the page about d for a terminal: plain text, wrapped at 88 columns
// except for commands, which must stay whole to be copied.
func (d Definition) Explain(c *Catalogue) string {
	var p page
	p.WriteString(string(d.Kind) + "\n")
	p.text(d.Headline())
	p.WriteByte('\n')
	p.text(d.Summary)
	for _, s := range d.Sections(c) {
		p.WriteString("\n" + s.Title + "\n")
		if s.Text != "" {
			p.text(s.Text)
		}
		for _, i := range s.Items {
			p.item(i)
		}
		for _, command := range s.Commands {
			p.WriteString("  " + command + "\n")
		}
	}
	return p.String()
}

// raised says what it takes, by kind of evidence.
func (d Definition) raised() []string {
	var out []string
	if d.Sources&Level != 0 {
		switch {
		case d.Severity < Critical || d.Warn == d.Crit:
			out = append(out, "Measured: "+d.Warn.explain()+".")
		default:
			out = append(out, fmt.Sprintf("Measured: as a warning %s, as critical %s.", d.Warn.explain(), d.Crit.explain()))
		}
	}
	if d.Sources&Log != 0 {
		lines := "on the first line"
		if d.Logs.N > 1 {
			lines = fmt.Sprintf("on %d lines within %s", d.Logs.N, period(d.Logs.Within))
			if d.Logs.Lasting > 0 {
				lines += fmt.Sprintf(", once they have gone on for %s", period(d.Logs.Lasting))
			}
			if d.Logs.Apart > 0 {
				lines += fmt.Sprintf(" that are at least %s apart", period(d.Logs.Apart))
			}
			lines += "; those that several layers write about one call count once"
		}
		if d.Confirm {
			lines += "; where a probe can tell, once it does not find it fine"
		}
		out = append(out, "From logs: "+lines+".")
	}
	return out
}

func (d Definition) cleared() string {
	const fine = "when two consecutive runs find it fine"
	switch quiet := period(d.QuietTime()); {
	case d.Sources&Log == 0:
		return "Clears " + fine + "."
	case d.Sources&Level == 0:
		return "Clears " + quiet + " after the last line."
	case d.NeedsBoth:
		return "Clears " + fine + " and no line has come for " + quiet + "."
	default:
		return "Clears " + fine + " after the last line, or, where no probe can tell, " + quiet + " after it."
	}
}

func (p Persist) explain() string {
	switch {
	case p.Runs > 1 && p.For > 0:
		return fmt.Sprintf("after %d runs in a row and %s", p.Runs, period(p.For))
	case p.Runs > 1:
		return fmt.Sprintf("after %d runs in a row", p.Runs)
	case p.For > 0:
		return "when it has lasted " + period(p.For)
	}
	return "at once"
}

// explain says which kind, when it counts, and what it is.
func (e Edge) explain(c *Catalogue) string {
	s := string(e.Kind)
	if e.Refused {
		s += ", if it has refused or expired"
	}
	if e.By != "" {
		s += ", of the same " + e.By
	}
	if e.Subject != "" {
		s += ", for " + e.Subject
	}
	if e.Error != "" {
		s += ", if the error is " + string(e.Error)
	}
	if len(e.Touching) > 0 {
		names := make([]string, 0, len(e.Touching))
		for _, r := range e.Touching {
			// A daemon and its unit are one to a reader.
			if name := strings.TrimSuffix(r.ID(), ".service"); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		s += ", if it touches " + strings.Join(names, ", ")
	}
	if cause, ok := c.Get(e.Kind); ok {
		s += ": " + cause.Summary
	}
	return s
}

// period renders a round duration as people say it: 30 s, 5 min, 1 h.
func period(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return d.String()
}

func join(kinds []Kind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// page is the text under construction.
type page struct{ strings.Builder }

func (p *page) text(s string) { p.wrap(s, "  ", "  ") }

func (p *page) item(s string) { p.wrap(s, "  - ", "    ") }

// wrap writes s in lines of at most explainWidth columns; a longer word has a
// line of its own.
func (p *page) wrap(s, first, rest string) {
	line, empty := first, true
	for word := range strings.FieldsSeq(s) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > explainWidth {
			p.WriteString(line + "\n")
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	p.WriteString(line + "\n")
}
