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

// youngClock is that of a machine which was started two minutes ago.
type youngClock struct{}

func (youngClock) Boot() time.Duration { return 2 * time.Minute }
func (youngClock) Wall() time.Time     { return time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC) }

// TestLinesOfTheBootBefore say nothing of this one: the reboot has ended all that
// they complain of. What they were can be looked up all the same.
func TestLinesOfTheBootBefore(t *testing.T) {
	a := newAgent(t, nil)
	a.node.Host.Clock = youngClock{}
	s := a.newState(false)
	claims := []claimAt{{-time.Minute, problem.Claim{Kind: problem.KernelOops, Message: "BUG", Source: "journal"}}}
	s.takeIn(logBatch{claims: claims})
	if all := s.snapshot().Problems; len(all) > 0 {
		t.Errorf("told of the boot before: %+v", all)
	}
	if all := findings(claims, func(at time.Duration) time.Time { return wall(youngClock{}, at) }); len(all) != 1 {
		t.Errorf("findings are %+v", all)
	}
	claims[0].at = time.Minute
	s.takeIn(logBatch{claims: claims})
	if all := s.snapshot().Problems; len(all) != 1 {
		t.Errorf("problems are %+v, want that of this boot", all)
	}
}
