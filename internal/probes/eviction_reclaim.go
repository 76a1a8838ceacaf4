package probes

import (
	"time"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
)

// This file: a threshold that was met stays so for kubelet until it has reclaimed
// evictionMinimumReclaim beyond it (thresholdsMet in its pkg/kubelet/eviction).

// kubeletLooks is how often kubelet looks at its signals (monitoringInterval). What
// was below a threshold at two looks of ours that far apart, it has seen.
const kubeletLooks = 10 * time.Second

// metBefore is what is known of a signal's thresholds from earlier looks.
type metBefore struct{ hard, soft metThreshold }

// metThreshold is one threshold: since when it has been met, as boot time, and whether
// that is so long that kubelet acts by it.
type metThreshold struct {
	is, acted bool
	since     time.Duration
}

// carryMet marks the signals that kubelet still acts by, and returns what to
// remember. What this agent has not seen itself, it does not know; nor that a kubelet
// was restarted meanwhile, which then begins anew.
func carryMet(signals []signal, before map[string]metBefore, now time.Duration) map[string]metBefore {
	after := map[string]metBefore{}
	for i := range signals {
		s := &signals[i]
		m := before[s.name]
		if s.err == nil {
			m.hard, m.soft = s.next(m.hard, s.hard, now), s.next(m.soft, s.soft, now)
		}
		s.hardMet, s.softMet = m.hard.acted, m.soft.acted
		after[s.name] = m
	}
	return after
}

func (s *signal) next(m metThreshold, t *kubelet.Threshold, now time.Duration) metThreshold {
	switch {
	case t == nil:
		return metThreshold{}
	case s.available < s.amount(t):
		if !m.is {
			m = metThreshold{is: true, since: now}
		}
		m.acted = m.acted || now-m.since >= max(kubeletLooks, t.Grace)
		return m
	case m.acted && s.available < s.reclaimed(t):
		return m
	}
	return metThreshold{}
}

// reclaimed is how much must be available for kubelet to be content once the
// threshold was met.
func (s *signal) reclaimed(t *kubelet.Threshold) float64 {
	return s.amount(t) + t.ReclaimQuantity + s.capacity*t.ReclaimPercent/100
}
