package main

// This file prints each figure beside what the project allows for it.

import (
	"fmt"
	"io"
	"strings"
)

// figure is a measured value and its budget, both in unit.
type figure struct {
	what, node    string
	value, budget float64
	unit          string
}

func (f figure) verdict() string {
	if f.value <= f.budget {
		return "within"
	}
	return "OVER"
}

func printBudget(w io.Writer, figures []figure) error {
	var b strings.Builder
	fmt.Fprint(&b, "\nnode\twhat\tmeasured\tbudget\n")
	for _, f := range figures {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%s\n", f.node, f.what, amount(f.value, f.unit), amount(f.budget, f.unit), f.verdict())
	}
	return align(w, 0, b.String())
}

func amount(v float64, unit string) string {
	if unit == "%" {
		return fmt.Sprintf("%.3f %%", v)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
