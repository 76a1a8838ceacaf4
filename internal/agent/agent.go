// Package agent is the loop: it schedules the probes, feeds log lines to the
// rules, keeps the tracker, and hands each snapshot on to the reporters.
package agent

import (
	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/mounthelper"
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
	buffers   []*rules.Buffer // of multi-line patterns
	logKinds  []problem.Kind  // those that log lines can claim
	facts     problem.HostFacts
	slots     slots
}

// New prepares to examine h.
func New(h *host.Host, c config.Config, version string) *Agent {
	a := &Agent{
		config: c, node: probes.NewNode(h), catalogue: c.Catalogue, rules: c.Rules, buffers: c.Buffers,
		logKinds: kindsOf(c.Rules, c.Buffers),
		slots:    make(slots, maxRunning),
	}
	for _, s := range c.Probes {
		if s.Enabled {
			a.specs = append(a.specs, s)
		}
	}
	a.facts = readFacts(a.node, version)
	return a
}

// AskMounts has file systems that may hang asked by m. Without it they are judged
// only by what the kernel shows of those that wait for them.
func (a *Agent) AskMounts(m *mounthelper.Helper) {
	m.Room = a.roomBeside
	a.node.Mounts = m
}

// Catalogue is what the agent can find wrong.
func (a *Agent) Catalogue() *problem.Catalogue { return a.catalogue }
