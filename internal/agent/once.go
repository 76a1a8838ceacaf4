package agent

import (
	"context"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// sampleGap is the time between the two samples of a counter in a single look:
// long enough for a storm of refusals to show, short enough to wait for.
const sampleGap = 200 * time.Millisecond

// Once examines the node now: every probe once, those that judge by counters
// twice, all in parallel, and the newest part of the log files. ctx bounds it
// all; a probe that has not answered by then counts as one that cannot tell.
func (a *Agent) Once(ctx context.Context, since time.Duration) *problem.Snapshot {
	a.node.Once = true
	s := a.newState(true)
	if scarce, err := checkRoom(a.node.Host, a.node.Cgroups, onceThreads); err != nil || scarce {
		a.slots = make(slots, 1) // each look in its turn, on the same threads
	} else if os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS() // the program has started on one processor
	}
	looked := a.lookBack(ctx, since)
	reports := make(chan problem.Report, len(a.specs))
	var wg sync.WaitGroup
	for _, spec := range a.specs {
		wg.Go(func() { reports <- a.look(ctx, spec) })
	}
	wg.Wait()
	close(reports)
	logs := <-looked
	s.takeIn(logs)
	for r := range reports {
		s.observe(r)
	}
	snapshot := s.snapshot()
	snapshot.Findings = findings(logs.claims, func(t time.Duration) time.Time { return wall(a.node.Host.Clock, t) })
	return snapshot
}

// findings sums up what the logs say, in the order of first occurrence, since
// what came first is most often what to look at first.
func findings(claims []claimAt, wall func(time.Duration) time.Time) []problem.LogFinding {
	type key struct {
		kind    problem.Kind
		subject string
	}
	at := map[key]int{}
	var out []problem.LogFinding
	for _, c := range claims {
		if c.claim.Resolves {
			continue
		}
		k, t := key{c.claim.Kind, c.claim.Subject}, wall(c.at)
		i, seen := at[k]
		if !seen {
			i = len(out)
			at[k] = i
			out = append(out, problem.LogFinding{Kind: k.kind, Subject: k.subject, First: t, Last: t})
		}
		f := &out[i]
		f.Count++
		if t.Before(f.First) {
			f.First = t
		}
		if !t.Before(f.Last) {
			f.Last, f.Message, f.Source, f.Line = t, c.claim.Message, c.claim.Source, c.claim.Line
		}
	}
	slices.SortStableFunc(out, func(a, b problem.LogFinding) int { return a.First.Compare(b.First) })
	return out
}

// lookBack reads what the logs say of the last `since`, beside the probes. What
// has not been read when ctx ends is said to be missing.
func (a *Agent) lookBack(ctx context.Context, since time.Duration) <-chan logBatch {
	result := make(chan logBatch, 1)
	read := make(chan logBatch, 1)
	go func() {
		l := a.newLogReader(cursors{}, since, false)
		defer l.close()
		var all logBatch
		b := l.poll(ctx, func(b logBatch) { all.claims = append(all.claims, b.claims...) })
		all.claims = append(all.claims, b.claims...)
		all.status = l.statuses()
		if ctx.Err() != nil {
			for i := range all.status {
				all.status[i].Blind = "not read to the end within the time for the report"
			}
		}
		read <- all
	}()
	go func() {
		select {
		case b := <-read:
			result <- b
		case <-ctx.Done():
			result <- logBatch{status: []problem.LogStatus{{Source: "logs", Blind: "no answer within the time for the report"}}}
		}
	}()
	return result
}

// look runs a probe for a single report: twice if it compares counters.
func (a *Agent) look(ctx context.Context, spec probes.Spec) problem.Report {
	if !a.slots.take(ctx) {
		now := a.node.Host.Clock.Boot()
		return problem.Report{Probe: spec.Name(), Kinds: spec.Kinds(), Period: spec.Period, Begun: now, Ended: now, Err: context.Cause(ctx)}
	}
	r, stuck := a.run(ctx, spec)
	a.slots.give()
	if !spec.Counters || r.Err != nil || stuck != nil {
		return r
	}
	gap := time.NewTimer(sampleGap)
	defer gap.Stop()
	select {
	case <-gap.C:
	case <-ctx.Done():
		return r
	}
	if !a.slots.take(ctx) {
		return r
	}
	defer a.slots.give()
	second, _ := a.run(ctx, spec)
	if second.Err != nil {
		return r
	}
	second.CPU += r.CPU
	return second
}

// ExitCode is what `agent --once` ends with: 2 for a critical problem, 1 for a
// warning, 3 if a vital sign cannot be told, 0 if all is fine.
func ExitCode(s *problem.Snapshot) int {
	worst := problem.Severity(0)
	for _, p := range s.Problems {
		worst = max(worst, p.Severity)
	}
	switch worst {
	case problem.Critical:
		return 2
	case problem.Warning:
		return 1
	}
	for _, c := range s.Conditions {
		if c.Status == problem.ConditionUnknown && !c.NotApplicable {
			return 3
		}
	}
	return 0
}
