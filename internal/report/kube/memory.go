package kube

// This file: what a restart of the agent needs, so that a condition keeps its
// date and nothing is told twice.

import "encoding/json"

// Memory is kept in the agent's state file.
type Memory struct {
	Node       string              `json:"node"`
	Conditions map[string]standing `json:"conditions,omitempty"`
	Events     []told              `json:"events,omitempty"`
}

// Types are the conditions that may stand on the Node.
func (m Memory) Types() []string { return sorted(m.Conditions) }

// Remember is what to keep now, as JSON. Safe for concurrent use.
func (r *Reporter) Remember() (json.RawMessage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := Memory{Node: r.node.name, Conditions: r.board.memory()}
	for _, k := range sortedKeys(r.teller.told) {
		m.Events = append(m.Events, r.teller.told[k])
	}
	return json.Marshal(m)
}

// recall goes on from a memory. That of another Node is none.
func (r *Reporter) recall(m Memory) {
	if m.Node != r.node.name {
		return
	}
	for typ, s := range m.Conditions {
		r.board.earlier[typ] = s
		r.board.maybe[typ] = true
		r.ours.remembered[typ] = true
	}
	for _, t := range m.Events {
		if len(r.teller.told) < maxTold {
			r.teller.told[t.eventKey] = t
		}
	}
}
