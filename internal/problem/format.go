package problem

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Share renders a measurement for people: "21 % (6882 of 32768 threads)".
func Share(m Measurement) string {
	if m.Max <= 0 {
		return Amount(m.Used, m.Unit)
	}
	if m.Unit == Ratio {
		return Percent(m.Used)
	}
	used, most := number(m.Used, m.Unit), Amount(m.Max, m.Unit)
	if m.Unit == Seconds && !strings.HasSuffix(most, " s") {
		used = Amount(m.Used, m.Unit) // with a unit of its own: 3 h of 365 days
	}
	return fmt.Sprintf("%s (%s of %s)", Percent(m.Fraction()), used, most)
}

// Percent renders a fraction: "21 %", "0.4 %". It rounds down above 99, so that
// nothing is called full that is not.
func Percent(f float64) string {
	p := f * 100
	switch {
	case p > 0 && p < 0.1:
		return "<0.1 %"
	case p > 0 && p < 1:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	case p > 99:
		return strconv.FormatFloat(math.Floor(p), 'f', 0, 64) + " %"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + " %"
}

// Amount renders a number with its unit: "1.5 GiB", "64 threads", "1 thread".
func Amount(v float64, u Unit) string {
	switch u {
	case Bytes, Ratio, "":
		return number(v, u)
	case Seconds:
		return seconds(v)
	}
	if v == 1 {
		return "1 " + singular(u)
	}
	return number(v, u) + " " + string(u)
}

// singular is the unit of one alone: "1 process".
func singular(u Unit) string {
	switch u {
	case Processes, Addresses, Watches:
		return strings.TrimSuffix(string(u), "es")
	case Connections:
		return "entry"
	}
	return strings.TrimSuffix(string(u), "s")
}

// seconds renders a time in whole units of which there are two at least.
func seconds(v float64) string {
	const minute, hour, day = 60, 60 * 60, 24 * 60 * 60
	switch {
	case v >= 2*day:
		return strconv.FormatFloat(math.Floor(v/day), 'f', 0, 64) + " days"
	case v >= 2*hour:
		return strconv.FormatFloat(math.Floor(v/hour), 'f', 0, 64) + " h"
	case v >= 2*minute:
		return strconv.FormatFloat(math.Floor(v/minute), 'f', 0, 64) + " min"
	}
	return number(v, Seconds) + " s"
}

func number(v float64, u Unit) string {
	switch u {
	case Bytes:
		return bytes(v)
	case Ratio:
		return Percent(v)
	}
	if v == math.Trunc(v) || v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// bytes renders a size in binary units with three significant digits.
func bytes(v float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	switch {
	case i == 0 || v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64) + " " + units[i]
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64) + " " + units[i]
	}
	return strconv.FormatFloat(v, 'f', 2, 64) + " " + units[i]
}
