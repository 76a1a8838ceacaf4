package agent

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	// logPoll is how often log files are looked at. Polling costs a stat a
	// file; inotify may be just what is exhausted.
	logPoll = time.Second
	// lookBackBytes bounds how much of a log's end a single look reads.
	lookBackBytes = 4 << 20
)

// claimAt is a claim with the boot time of its line.
type claimAt struct {
	at    time.Duration
	claim problem.Claim
}

// lookBack reads the end of each log file that exists and hands on what the
// lines of the last `since` claim.
func (a *Agent) lookBack(since time.Duration, claim func(time.Duration, problem.Claim)) []problem.LogStatus {
	var out []problem.LogStatus
	now := a.node.Host.Clock.Boot()
	for _, path := range a.config.LogFiles {
		log, err := journal.NewTextLog(a.node.Host.Path(path), lookBackBytes)
		if err != nil {
			out = append(out, problem.LogStatus{Source: path, Blind: err.Error()})
			continue
		}
		f := a.newFollower(path, log)
		err = f.poll(func(c claimAt) {
			if now-c.at <= since {
				claim(c.at, c.claim)
			}
		})
		log.Close()
		if !errors.Is(err, os.ErrNotExist) {
			out = append(out, f.status)
		}
	}
	return out
}

// follower reads one log file and matches its lines.
type follower struct {
	agent  *Agent
	log    *journal.TextLog
	status problem.LogStatus
}

func (a *Agent) newFollower(path string, log *journal.TextLog) *follower {
	return &follower{agent: a, log: log, status: problem.LogStatus{Source: path}}
}

func (f *follower) poll(claim func(claimAt)) error {
	clock := f.agent.node.Host.Clock
	wallNow, bootNow := clock.Wall(), clock.Boot()
	at := bootNow
	err := f.log.Poll(func(line []byte) {
		f.status.Records++
		for _, c := range f.agent.rules.Match(f.status.Source, line) {
			// Only a line that matters is worth parsing its time stamp.
			if t, ok := journal.Stamp(line, wallNow); ok {
				at = bootNow - wallNow.Sub(t)
			}
			f.status.Matches++
			claim(claimAt{at, f.agent.resolve(c)})
		}
	})
	f.status.Blind = ""
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.status.Blind = err.Error()
	}
	return err
}

// follow polls one log file until ctx ends.
func (a *Agent) follow(ctx context.Context, path string, claims chan<- claimAt, status chan<- problem.LogStatus) {
	log, err := journal.NewTextLog(a.node.Host.Path(path), 0)
	if err != nil {
		send(ctx, status, problem.LogStatus{Source: path, Blind: err.Error()})
		return
	}
	defer log.Close()
	f := a.newFollower(path, log)
	tick := time.NewTicker(logPoll)
	defer tick.Stop()
	var told problem.LogStatus
	for {
		err := f.poll(func(c claimAt) { send(ctx, claims, c) })
		if f.status != told && !errors.Is(err, os.ErrNotExist) {
			told = f.status
			send(ctx, status, told)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func send[T any](ctx context.Context, ch chan<- T, v T) {
	select {
	case ch <- v:
	case <-ctx.Done():
	}
}
