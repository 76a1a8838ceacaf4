package main

// This file makes the pages of the kinds.

import (
	"fmt"
	"strings"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// deciders are the probes that decide each kind.
func deciders(specs []probes.Spec) map[problem.Kind][]probes.Spec {
	by := map[problem.Kind][]probes.Spec{}
	for _, s := range specs {
		for _, k := range s.Kinds() {
			by[k] = append(by[k], s)
		}
	}
	return by
}

func kindPages(c *problem.Catalogue, by map[problem.Kind][]probes.Spec) map[string]string {
	all := map[string]string{"kinds/README.md": indexPage(c)}
	for _, d := range c.All() {
		all["kinds/"+string(d.Kind)+".md"] = kindPage(c, d, by[d.Kind])
	}
	return all
}

// indexPage lists the kinds by condition.
func indexPage(c *problem.Catalogue) string {
	var b strings.Builder
	b.WriteString("# What can be wrong\n\nEach kind of failure that nodevitals tells, by its NodeCondition. " +
		"`agent explain KIND` prints the same page.\n")
	section := func(title, condition string) {
		fmt.Fprintf(&b, "\n## %s\n\n| kind | severity | what is wrong |\n| --- | --- | --- |\n", title)
		for _, d := range c.All() {
			if d.Condition == condition {
				fmt.Fprintf(&b, "| [%s](%s.md) | %s | %s |\n", d.Kind, d.Kind, d.Severity, cell(d.Summary))
			}
		}
	}
	for _, t := range c.Conditions() {
		section(t, t)
	}
	section("Events only", "")
	return b.String()
}

func kindPage(c *problem.Catalogue, d problem.Definition, by []probes.Spec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n*%s*\n", d.Kind, d.Summary, d.Headline())
	for _, s := range d.Sections(c) {
		fmt.Fprintf(&b, "\n## %s\n\n", s.Title)
		if s.Text != "" {
			b.WriteString(link(c, d.Kind, s.Text) + "\n")
		}
		for _, i := range s.Items {
			b.WriteString("- " + link(c, d.Kind, i) + "\n")
		}
		if len(s.Commands) > 0 {
			fmt.Fprintf(&b, "```sh\n%s\n```\n", strings.Join(s.Commands, "\n"))
		}
	}
	b.WriteString("\n## Where it shows\n\n")
	if d.Condition != "" {
		fmt.Fprintf(&b, "- NodeCondition `%s`, with `%s` as its reason.\n", d.Condition, d.Kind)
	}
	fmt.Fprintf(&b, "- Event with the reason `%s`.\n", d.Kind)
	fmt.Fprintf(&b, "- Metric `nodevitals_problem{kind=\"%s\"}`", d.Kind)
	for _, r := range d.Resources {
		fmt.Fprintf(&b, "; `nodevitals_limit_used{resource=\"%s\"}`", r)
	}
	b.WriteString(".\n")
	for _, s := range by {
		fmt.Fprintf(&b, "- Decided by the probe `%s` every %s", s.Name(), duration(s.Period))
		if s.Thresholds != nil {
			fmt.Fprintf(&b, "; its thresholds: [configuration](../configuration.md#probe-%s)", s.Name())
		}
		b.WriteString(".\n")
	}
	return b.String()
}

// link turns the names of other kinds into links to their pages.
func link(c *problem.Catalogue, self problem.Kind, text string) string {
	words := strings.SplitAfter(text, " ")
	for i, w := range words {
		name := strings.TrimRight(w, " ,.:;)")
		bare := strings.TrimLeft(name, "(")
		if _, ok := c.Get(problem.Kind(bare)); ok && problem.Kind(bare) != self {
			words[i] = strings.Replace(w, bare, fmt.Sprintf("[%s](%s.md)", bare, bare), 1)
		}
	}
	return strings.Join(words, "")
}

// cell makes text fit for a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
