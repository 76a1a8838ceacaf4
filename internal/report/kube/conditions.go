// Package kube publishes what is wrong with the node to the API server: as
// NodeConditions and as Events.
//
// What should stand there is derived by pure functions: this file derives the
// conditions of a snapshot, board.go compares them with what stands on the
// Node, pace.go says when to write, events.go what to tell as an Event. Only
// client.go talks to the API server, and reporter.go drives it all.
package kube

import (
	"unicode/utf8"

	"github.com/nodevitals/nodevitals/internal/diagnosis"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// maxText bounds a condition's message and an Event's note, in bytes. The API
// allows an Event's note 1 KiB (ValidateEvent in k8s.io/kubernetes
// pkg/apis/core/validation), and a Node is sent to every watcher whenever it changes.
const maxText = 1024

// ConditionOptions say how conditions are named.
type ConditionOptions struct {
	// Prefix stands in front of every type but node-problem-detector's.
	Prefix string
	// NPDTypes: also publish node-problem-detector's own types.
	NPDTypes bool
}

// Conditions are what the Node should show for s, in order: those that apply to
// this node, ready to be published.
func Conditions(s *problem.Snapshot, o ConditionOptions) []problem.Condition {
	var out []problem.Condition
	taken := map[string]bool{}
	add := func(typ string, c problem.Condition) {
		if c.NotApplicable || taken[typ] {
			return // imported rules may define one of node-problem-detector's types themselves
		}
		taken[typ] = true
		c.Type, c.Message = typ, bounded(c.Message)
		out = append(out, c)
	}
	for _, c := range s.Conditions {
		add(o.Prefix+c.Type, c)
	}
	if o.NPDTypes {
		for _, c := range diagnosis.NPDConditions(s.Problems, s.Kinds) {
			add(c.Type, c)
		}
	}
	return out
}

// bounded makes text fit for the API: printable, and at most maxText bytes.
func bounded(s string) string {
	const ellipsis = "…"
	s = problem.Clean(s, maxText)
	if len(s) <= maxText {
		return s
	}
	cut := maxText - len(ellipsis)
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + ellipsis
}
