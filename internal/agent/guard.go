package agent

// This file ends an agent whose loop is dead, for whoever started it to start it
// again. Only the agent itself can tell for certain: kubelet's question does not
// reach it on a node whose connection tracking table is full.

import (
	"context"
	"fmt"
	"time"
)

const (
	// guardEvery is how often the guard looks at the loop.
	guardEvery = 10 * time.Second
	// guardLooks is in how many looks in a row the loop must have been dead. A machine
	// that stood still, or has no CPU time left, has turned it by the next one.
	guardLooks = 6
)

// guard sends an error if the loop is dead.
func (l *loop) guard(ctx context.Context, every time.Duration) <-chan error {
	dead := make(chan error, 1)
	go func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for looks := 0; looks < guardLooks; {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			if looks++; l.stoodStill() <= deadAfter {
				looks = 0
			}
		}
		dead <- fmt.Errorf("the loop has not turned for %v: that is a bug in nodevitals; ending, to be started again", l.stoodStill().Round(time.Second))
	}()
	return dead
}
