package agent

import (
	"strings"
	"testing"
	"time"
)

// TestGuard: it ends an agent whose loop is dead, and no other.
func TestGuard(t *testing.T) {
	l := &loop{agent: newAgent(t, nil)}
	l.beat.Store(int64(l.agent.node.Host.Clock.Boot() - 2*deadAfter))
	if err := <-l.guard(t.Context(), time.Millisecond); !strings.Contains(err.Error(), "has not turned for 1m0s") {
		t.Error(err)
	}

	// While it turns, the guard looks on until it is told to end.
	l.beat.Store(int64(l.agent.node.Host.Clock.Boot()))
	alive := l.guard(t.Context(), time.Millisecond)
	dying := &loop{agent: l.agent}
	dying.beat.Store(int64(l.agent.node.Host.Clock.Boot() - 2*deadAfter))
	for range 3 { // as long as a dead one takes, three times
		if err := <-dying.guard(t.Context(), time.Millisecond); err == nil {
			t.Error("a dead loop is well")
		}
	}
	select {
	case err := <-alive:
		t.Errorf("a loop that turns: %v", err)
	default:
	}
}
