package kubelet

// This file reads the amounts of eviction thresholds.

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parseLimit reads a threshold as kubelet does (pkg/kubelet/eviction/helpers.go): a
// percentage, 10%, or a quantity above 0, 100Mi.
func parseLimit(s string) (limit, error) {
	if number, ok := strings.CutSuffix(s, "%"); ok {
		p, err := parseNumber(number)
		if err != nil || p > 100 {
			return limit{}, fmt.Errorf("%q is not a percentage from 0%% to 100%%", s)
		}
		return limit{percent: p}, nil
	}
	q, err := parseQuantity(s)
	if err != nil {
		return limit{}, err
	}
	if q <= 0 {
		return limit{}, fmt.Errorf("%q is not above zero", s)
	}
	return limit{quantity: q}, nil
}

// parseReclaim reads a percentage, or a quantity, which may be 0.
func parseReclaim(s string) (reclaim, error) {
	q, err := parseQuantity(s)
	if err == nil && q == 0 {
		return reclaim{}, nil
	}
	l, err := parseLimit(s)
	return reclaim(l), err
}

// parseQuantity reads the Kubernetes API's quantities of zero and more: 1.5Gi, 100M,
// 1e9, 2048. A float64 holds them exactly up to 8 Pi.
func parseQuantity(s string) (float64, error) {
	bad := fmt.Errorf("%q is not a quantity such as 100Mi", s)
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != '+' })
	if end < 0 {
		end = len(s)
	}
	n, err := parseNumber(strings.TrimPrefix(s[:end], "+"))
	if err != nil {
		return 0, bad
	}
	unit, ok := unitOf(s[end:])
	if !ok || n*unit > math.MaxInt64 {
		return 0, bad
	}
	return n * unit, nil
}

// unitOf is the factor of a suffix, see the API's resource.Quantity.
func unitOf(suffix string) (float64, bool) {
	switch suffix {
	case "":
		return 1, true
	case "Ki":
		return 1 << 10, true
	case "Mi":
		return 1 << 20, true
	case "Gi":
		return 1 << 30, true
	case "Ti":
		return 1 << 40, true
	case "Pi":
		return 1 << 50, true
	case "Ei":
		return 1 << 60, true
	case "n":
		return 1e-9, true
	case "u":
		return 1e-6, true
	case "m":
		return 1e-3, true
	case "k":
		return 1e3, true
	case "M":
		return 1e6, true
	case "G":
		return 1e9, true
	case "T":
		return 1e12, true
	case "P":
		return 1e15, true
	case "E":
		return 1e18, true
	}
	// A decimal exponent: e9, E9.
	if exp := suffix[1:]; suffix[0] == 'e' || suffix[0] == 'E' {
		if e, err := strconv.Atoi(exp); err == nil && -18 <= e && e <= 18 {
			return math.Pow10(e), true
		}
	}
	return 0, false
}

// parseNumber reads digits with at most one point among them, and nothing else that
// ParseFloat takes (Inf, 0x1p4, 1_000).
func parseNumber(s string) (float64, error) {
	if strings.ContainsFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }) {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(s, 64)
}
