package probes

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// TestEvictionGoesOn: what kubelet has begun it ends only when enough is reclaimed.
func TestEvictionGoesOn(t *testing.T) {
	const gi = 1 << 30
	hard := &kubelet.Threshold{Percent: 10, ReclaimQuantity: 5 * gi}
	soft := &kubelet.Threshold{Percent: 20, Grace: time.Minute, ReclaimPercent: 10}
	type look struct {
		at        time.Duration
		available float64 // GiB of 100; below 0: it cannot be read
		want      problem.Severity
		says      string
	}
	const critical, warning, s = problem.Critical, problem.Warning, time.Second
	for name, x := range map[string]struct {
		hard, soft *kubelet.Threshold
		looks      []look
	}{
		"until it is reclaimed": {hard, nil, []look{
			{0, 9, critical, ": it evicts pods"},
			{15 * s, 8, critical, ": it evicts pods"},
			{30 * s, 12, critical, "is at 12 % and was below kubelet's threshold of 10 % (10.0 GiB): it evicts pods until 15.0 GiB are available"},
			{45 * s, 14.9, critical, "until"},
			{60 * s, 15, 0, ""},
			{75 * s, 12, 0, ""},
		}},
		"kubelet may not have seen it": {hard, nil, []look{{0, 9, critical, ""}, {5 * s, 9, critical, ""}, {20 * s, 12, 0, ""}}},
		"a look that fails is no end":  {hard, nil, []look{{0, 9, critical, ""}, {15 * s, 9, critical, ""}, {30 * s, -1, 0, ""}, {45 * s, 12, critical, "until"}}},
		"nothing is to be reclaimed":   {&kubelet.Threshold{Percent: 10}, nil, []look{{0, 9, critical, ""}, {15 * s, 9, critical, ""}, {30 * s, 12, 0, ""}}},
		"soft, within its grace":       {nil, soft, []look{{0, 19, warning, "if that lasts"}, {30 * s, 19, warning, ""}, {45 * s, 25, 0, ""}}},
		"soft, after it":               {nil, soft, []look{{0, 19, warning, ""}, {60 * s, 19, warning, ""}, {75 * s, 25, warning, "until 30.0 GiB"}, {90 * s, 30, 0, ""}}},
	} {
		var before map[string]metBefore
		for _, l := range x.looks {
			sig := signal{name: "nodefs.available", unit: problem.Bytes, capacity: 100 * gi, available: l.available * gi, hard: x.hard, soft: x.soft}
			if l.available < 0 {
				sig.err = errors.New("hangs")
			}
			all := []signal{sig}
			before = carryMet(all, before, l.at)
			r := evaluateEviction(all, NewEviction().Thresholds)
			if sig.err != nil {
				continue
			}
			v := checkSeverity(t, r, problem.EvictionImminent, sig.name, l.want)
			if !strings.Contains(v.Message, l.says) || v.Refused != (l.want == critical) {
				t.Errorf("%s, at %v: refused %v, %q; want %q", name, l.at, v.Refused, v.Message, l.says)
			}
		}
	}
}
