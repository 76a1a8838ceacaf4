package main

// This file prints each figure beside what the project allows for it, and beside
// the same of something that everyone knows, from the same run.

import (
	"fmt"
	"io"
	"strings"
)

// figure is a measured value and its budget, both in unit. other is the same of
// what is named beside; without a name there is none.
type figure struct {
	what, node    string
	value, budget float64
	unit          string
	beside        string
	other         float64
}

// verdict: a rate, whose unit is per something, must reach its budget; anything
// else must not exceed it.
func (f figure) verdict() string {
	switch rate := strings.Contains(f.unit, "/"); {
	case rate && f.value < f.budget:
		return "UNDER"
	case !rate && f.value > f.budget:
		return "OVER"
	}
	return "within"
}

// comparison is the figure as a multiple of the other.
func (f figure) comparison() string {
	if f.beside == "" || f.other <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f × %s (%s)", f.value/f.other, f.beside, amount(f.other, f.unit))
}

func printBudget(w io.Writer, figures []figure) error {
	var b strings.Builder
	fmt.Fprint(&b, "\nnode\twhat\tmeasured\tbudget\t\tbeside\n")
	for _, f := range figures {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%s\t%s\n", f.node, f.what, amount(f.value, f.unit), amount(f.budget, f.unit), f.verdict(), f.comparison())
	}
	return align(w, 0, b.String())
}

func amount(v float64, unit string) string {
	switch {
	case unit == "%":
		return fmt.Sprintf("%.3f %%", v)
	case v < 0.1:
		return fmt.Sprintf("%.4f %s", v, unit)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
