package kube

// This file: what of a Node's conditions is ours, and who else writes there.

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/diagnosis"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// otherAlive is how old the heartbeat of another program's condition may be for
// that program to count as running: twice node-problem-detector's own period.
const otherAlive = 10 * time.Minute

// ours tells our own conditions from others'.
type ours struct {
	catalogue *problem.Catalogue
	options   ConditionOptions
	// remembered are the types that an earlier run of the agent has published.
	remembered map[string]bool
}

// writes: we publish, or would publish, a condition of that type.
func (o ours) writes(typ string) bool {
	plain, ok := strings.CutPrefix(typ, o.options.Prefix)
	return ok && slices.Contains(o.catalogue.Conditions(), plain) ||
		o.options.NPDTypes && slices.Contains(diagnosis.NPDTypes(), typ)
}

// reason: it is one that we give.
func (o ours) reason(reason string) bool {
	switch reason {
	case diagnosis.ReasonHealthy, diagnosis.ReasonCannotTell, diagnosis.ReasonStarting:
		return true
	}
	_, ok := o.catalogue.Get(problem.Kind(reason))
	return ok
}

// healthy is the reason that an imported file gives for a type while nothing is wrong.
// It may be that of the program that the file was made for, too.
func (o ours) healthy(typ string) string {
	text, _ := o.catalogue.Healthy(strings.TrimPrefix(typ, o.options.Prefix))
	return text.Reason
}

// found are the Node's conditions that are ours: that we remember, or that have
// one of our types and one of our reasons.
func (o ours) found(all []nodeCondition) map[string]standing {
	out := map[string]standing{}
	for _, c := range all {
		typ := c.Type
		if o.remembered[typ] || o.writes(typ) && o.reason(c.Reason) {
			out[typ] = standing{
				Status: problem.ConditionStatus(c.Status), Reason: c.Reason, Message: c.Message, Since: c.LastTransitionTime.Time,
			}
		}
	}
	return out
}

// lastBeat is the oldest heartbeat of ours that the Node shows.
func lastBeat(all []nodeCondition, mine map[string]standing) time.Time {
	var oldest time.Time
	for _, c := range all {
		if _, ok := mine[c.Type]; ok && (oldest.IsZero() || c.LastHeartbeatTime.Before(oldest)) {
			oldest = c.LastHeartbeatTime.Time
		}
	}
	return oldest
}

// others says who else writes conditions of our types, or of
// node-problem-detector's; empty for nobody.
func (o ours) others(all []nodeCondition, now time.Time) string {
	var clash, npd []string
	for _, c := range all {
		typ := c.Type
		alive := now.Sub(c.LastHeartbeatTime.Time) < otherAlive
		switch {
		case !alive, o.reason(c.Reason), o.remembered[typ] && o.healthy(typ) == c.Reason:
		case o.writes(typ):
			clash = append(clash, fmt.Sprintf("%s (%s)", typ, c.Reason))
		case slices.Contains(diagnosis.NPDTypes(), typ):
			npd = append(npd, typ)
		}
	}
	switch {
	case len(clash) > 0:
		return "another program, such as node-problem-detector, also writes the Node's " + strings.Join(clash, ", ") +
			": switch it off there, or set conditions.prefix here, or the two will overwrite each other"
	case len(npd) > 0:
		return "node-problem-detector runs on this node as well: it writes " + strings.Join(npd, ", ")
	}
	return ""
}
