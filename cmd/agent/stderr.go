package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// keptLines is how many lines wait for a log that does not take them.
const keptLines = 256

// lastWords is how long the end of the daemon waits for its log to be taken.
const lastWords = 200 * time.Millisecond

// patient is where the daemon logs to: a writer that never waits. Standard error
// is a pipe or a socket to somebody (journald, a container's shim) who may be
// stuck himself; then lines are kept, and beyond that dropped and counted.
type patient struct {
	lines chan []byte
	done  chan struct{} // closed when all lines are written

	mu    sync.Mutex
	ended bool
	lost  int
}

func newPatient(to io.Writer) *patient {
	p := &patient{lines: make(chan []byte, keptLines), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for line := range p.lines {
			_, _ = to.Write(line) // there is nobody left to tell
		}
	}()
	return p
}

// Write implements io.Writer; slog writes a line at a time.
func (p *patient) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return len(line), nil
	}
	if p.lost > 0 {
		select {
		case p.lines <- fmt.Appendf(nil, "agent: %d lines of this log were dropped, since nobody took them\n", p.lost):
			p.lost = 0
		default:
		}
	}
	select {
	case p.lines <- append([]byte(nil), line...):
	default:
		p.lost++
	}
	return len(line), nil
}

// end waits until all lines are written, but not for long.
func (p *patient) end(within time.Duration) {
	p.mu.Lock()
	if !p.ended {
		p.ended = true
		close(p.lines)
	}
	p.mu.Unlock()
	select {
	case <-p.done:
	case <-time.After(within):
	}
}
