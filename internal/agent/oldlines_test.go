package agent

import (
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// TestLinesOfWhatIsLongOver: a restart may read lines of hours ago. What they claim is
// over by now, and is not told for the moment until the next tick.
func TestLinesOfWhatIsLongOver(t *testing.T) {
	s := newAgent(t, nil).newState(false)
	now := s.agent.node.Host.Clock.Boot()
	claim := problem.Claim{Kind: problem.KernelOops, Message: "BUG", Source: "journal"}
	s.takeIn(logBatch{claims: []claimAt{{now - 2*time.Hour, claim}}})
	if all := s.snapshot().Problems; len(all) > 0 {
		t.Errorf("told of what is over: %+v", all)
	}
	s.takeIn(logBatch{claims: []claimAt{{now - time.Minute, claim}}})
	if all := s.snapshot().Problems; len(all) != 1 {
		t.Errorf("problems are %+v, want the oops", all)
	}
}
