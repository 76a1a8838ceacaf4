package main

// This file prints tables and the numbers in them.

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// maxNote keeps an error from widening a table beyond use.
const maxNote = 60

// align prints lines whose cells are parted by tabs; flags are tabwriter's.
func align(w io.Writer, flags uint, lines string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', flags)
	if _, err := io.WriteString(tw, lines); err != nil {
		return err
	}
	return tw.Flush()
}

func micros(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d)/1e3) }

func millisOf(d time.Duration) float64 { return float64(d) / 1e6 }

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", millisOf(d)) }

// ratio is d in units, "-" where there is no unit.
func ratio(d, unit time.Duration) string {
	if unit <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(d)/float64(unit))
}

func number(n int) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// shorten makes an error fit into a table: one line of at most maxNote letters.
func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxNote {
		return string(r[:maxNote-1]) + "…"
	}
	return s
}
