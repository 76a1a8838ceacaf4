package main

// This file has a live journald written to all the time, as on a node where much
// is logged.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/test/export"
	"github.com/nodevitals/nodevitals/test/journald"
)

const (
	// recordsPerSecond are logged on the busy node, some each portionEvery.
	recordsPerSecond = 2000
	portionEvery     = 20 * time.Millisecond
)

// chatter is a journald and who writes to it.
type chatter struct {
	journal *journald.Server
	config  string // a file: of an agent that reads this journal
	stop    context.CancelFunc
	ended   chan error
	written int // to be read after ended
}

// startChatter starts it. Without root it is ErrUnavailable.
func startChatter(ctx context.Context) (*chatter, error) {
	j, err := journald.Start(ctx, "volatile")
	if err != nil {
		return nil, err
	}
	c := &chatter{journal: j, ended: make(chan error, 1)}
	dir, err := os.MkdirTemp("", "nodevitals-bench-")
	if err == nil {
		c.config = filepath.Join(dir, "config.yaml")
		err = os.WriteFile(c.config, fmt.Appendf(nil, "logs: {journal: [%s], files: []}\n", strings.Join(j.Dirs(), ", ")), 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	ctx, c.stop = context.WithCancel(ctx)
	go func() { c.ended <- c.write(ctx) }()
	return c, nil
}

// write logs until ctx is done.
func (c *chatter) write(ctx context.Context) error {
	r := rand.New(rand.NewPCG(1, 1))
	pace := time.NewTicker(portionEvery)
	defer pace.Stop()
	begun := time.Now()
	for {
		// After a pause that was too long, all that is due.
		for due := int(time.Since(begun).Seconds() * recordsPerSecond); c.written < due; c.written++ {
			if err := c.journal.Send(export.Message(r, rare)); err != nil {
				return err
			}
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// close ends it, and says how much was logged.
func (c *chatter) close() error {
	c.stop()
	err := <-c.ended
	say("%d records were logged meanwhile", c.written)
	return errors.Join(err, c.journal.Close(), os.RemoveAll(filepath.Dir(c.config)))
}
