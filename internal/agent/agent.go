// Package agent is the loop: it schedules the probes, feeds log lines to the
// rules, keeps the tracker, and hands each snapshot on to the reporters.
package agent

import (
	"fmt"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/rules"
)

// Agent examines one node, once or for good.
type Agent struct {
	config    config.Config
	node      *probes.Node
	specs     []probes.Spec // the enabled ones
	catalogue *problem.Catalogue
	rules     *rules.Set
	facts     problem.HostFacts
	slots     slots
}

// New prepares to examine h.
func New(h *host.Host, c config.Config, version string) (*Agent, error) {
	set, err := rules.Compile(rules.Builtin())
	if err != nil {
		return nil, fmt.Errorf("built-in rules: %w", err)
	}
	a := &Agent{
		config: c, node: probes.NewNode(h), catalogue: problem.Builtin(), rules: set,
		slots: make(slots, maxRunning),
	}
	for _, s := range c.Probes {
		if s.Enabled {
			a.specs = append(a.specs, s)
		}
	}
	a.facts = readFacts(a.node, version)
	return a, nil
}

// Catalogue is what the agent can find wrong.
func (a *Agent) Catalogue() *problem.Catalogue { return a.catalogue }
