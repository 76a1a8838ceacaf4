package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/rules"
)

const (
	// logPoll is how often the logs are looked at: some 20 µs for a journal of six
	// files. Polling beats inotify here, which may be just what is exhausted.
	logPoll = 100 * time.Millisecond
	// logReport is how often what has only been counted is told.
	logReport = time.Second
	// logList is how often new files are looked for, and the sources' health is asked.
	logList = 10 * time.Second
	// lookBackBytes bounds how much of a plain log file's end is read at first.
	lookBackBytes = 4 << 20
	// heldBack is how long a program may hold lines back before it writes them to
	// its log file; log libraries flush every few seconds.
	heldBack = time.Minute
	// batchClaims bounds a batch: a storm is handed on in pieces.
	batchClaims = 1000
)

// claimAt is a claim with the boot time of its record.
type claimAt struct {
	at    time.Duration
	claim problem.Claim
}

// logBatch is what was read since the last one. cursors, if not nil, are where
// reading stands when all of it has been taken in.
type logBatch struct {
	claims  []claimAt
	status  []problem.LogStatus
	cursors *cursors
}

// logReader reads all logs of the node in one goroutine.
type logReader struct {
	agent   *Agent
	started time.Duration // boot time
	first   bool          // there is no state of an earlier run
	since   time.Duration // boot time before which records do not matter
	back    time.Time     // the same as a date
	from    cursors
	journal *journalSource
	kmsg    *kmsgSource
	noKmsg  error // why the kernel's own log cannot be read
	texts   map[string]*textSource
	failed  map[string]string // files that cannot be opened, and why

	resolver resolver
	status   map[string]*problem.LogStatus
	listed   time.Duration
	bootID   string
}

// newLogReader prepares to read from where the cursors stand, and where there
// are none, what is not older than back. A first start also reads as far back as
// node-problem-detector's configurations say, for their rules.
func (a *Agent) newLogReader(from cursors, back time.Duration, first bool) *logReader {
	clock := a.node.Host.Clock
	now := clock.Boot()
	l := &logReader{
		agent: a, resolver: resolver{node: a.node}, from: from, started: now, first: first, since: now - back, bootID: a.facts.BootID,
		texts: map[string]*textSource{}, failed: map[string]string{}, status: map[string]*problem.LogStatus{},
	}
	if first {
		back = max(back, a.config.NPDLookBack)
	}
	// The kernel's records come from the kernel where we may read them there:
	// sooner, and also if journald is dead.
	if a.config.Kmsg {
		l.kmsg, l.noKmsg = openKmsg(a.node.Host, l.bootID, now-back, from.Kmsg)
	}
	l.back = clock.Wall().Add(-back)
	return l
}

// openJournal opens the journal if there is one by now. A host without any
// journal file has none, which is no blindness.
func (l *logReader) openJournal() {
	h, dirs := l.agent.node.Host, l.agent.config.JournalDirs
	exists := func(dir string) bool { return mayHoldJournal(h.Locate(dir), 1) }
	if l.journal == nil && slices.ContainsFunc(dirs, exists) {
		l.journal = newJournalSource(h, dirs, l.kmsg == nil, l.back, l.from.Journal)
	}
}

// list looks for text logs that have come and gone.
func (l *logReader) list() {
	h := l.agent.node.Host
	wanted := containerLogs(h)
	many := len(wanted) >= maxContainerLogs
	// A syslog daemon's copies are only of use where the journal cannot be read.
	hasJournal := l.journal != nil && l.journal.blind(h.Clock.Wall()) == ""
	only := map[string]*rules.Set{}
	for _, path := range l.agent.config.LogFiles {
		own := l.agent.config.FileRules[path]
		if hasJournal && copiesJournal(path) {
			if own == nil {
				continue
			}
			only[path] = own // the others' lines were read in the journal
		}
		wanted[path] = journal.Record{Source: path}
	}
	for path, s := range l.texts {
		if _, still := wanted[path]; !still {
			s.close()
			delete(l.texts, path)
			delete(l.status, path)
		}
	}
	clear(l.failed)
	if many {
		l.failed[podLogs] = fmt.Sprintf("holds %d logs of DNS and the service proxy or more; the others are not read", maxContainerLogs)
	}
	for path, rec := range wanted {
		if s := l.texts[path]; s != nil {
			s.only = only[path]
			if err := s.relink(h); err != nil {
				l.failed[path] = err.Error()
				s.close()
				delete(l.texts, path)
				delete(l.status, path)
			}
			continue
		}
		var from *journal.TextCursor
		if c, ok := l.from.Text[path]; ok {
			from = &c
			delete(l.from.Text, path)
		}
		s, err := openText(h, path, from, lookBackBytes)
		if err != nil {
			l.failed[path] = err.Error()
			continue
		}
		s.rec, s.only = rec, only[path]
		l.texts[path] = s
	}
}

// sources are all that can be polled, in a fixed order.
func (l *logReader) sources() []logSource {
	all := l.fixed()
	for _, path := range slices.Sorted(maps.Keys(l.texts)) {
		all = append(all, l.texts[path])
	}
	return all
}

// fixed are the sources that do not come and go.
func (l *logReader) fixed() []logSource {
	var all []logSource
	if l.kmsg != nil {
		all = append(all, l.kmsg)
	}
	if l.journal != nil {
		all = append(all, l.journal)
	}
	return all
}

// poll reads what is new in all logs. Full batches are handed to flush on the way.
func (l *logReader) poll(ctx context.Context, flush func(logBatch)) logBatch {
	clock := l.agent.node.Host.Clock
	bootNow, wallNow := clock.Boot(), clock.Wall()
	var b logBatch
	due := l.listed == 0 || bootNow-l.listed >= logList
	if due {
		l.openJournal()
	}
	for _, s := range l.fixed() {
		b = l.pollSource(ctx, b, s, bootNow, wallNow, flush)
	}
	if due {
		l.list() // now it is known whether the journal can be read
		l.listed = bootNow
	}
	for _, path := range slices.Sorted(maps.Keys(l.texts)) {
		b = l.pollSource(ctx, b, l.texts[path], bootNow, wallNow, flush)
	}
	if due {
		for _, s := range l.sources() {
			l.status[s.name()].Blind = s.blind(wallNow)
		}
	}
	return b
}

// pollSource reads one source and matches its records.
func (l *logReader) pollSource(ctx context.Context, b logBatch, s logSource, bootNow time.Duration, wallNow time.Time, flush func(logBatch)) logBatch {
	a := l.agent
	st := l.status[s.name()]
	if st == nil {
		st = &problem.LogStatus{Source: s.name()}
		l.status[s.name()] = st
	}
	file, isFile := s.(*textSource)
	// The only error is ours: the context's.
	_ = s.poll(func(r *journal.Record, text bool) error {
		if len(b.claims) >= batchClaims {
			b.cursors = l.cursors() // of all records before this one
			flush(b)
			b = logBatch{}
		}
		st.Records++
		raw := r.Message
		var claims []problem.Claim
		if text {
			set := a.rules
			if isFile && file.only != nil {
				set = file.only
			}
			claims = set.MatchText(r, wallNow, rules.Any)
		} else {
			claims = a.rules.Match(r)
		}
		for _, buffer := range a.buffers {
			claims = append(claims, buffer.Add(r, raw, wallNow)...)
		}
		at := l.bootTime(r, bootNow, wallNow)
		if isFile && file.drained > 0 {
			// It came since the last look, whatever the clock was set to in between.
			at = max(at, file.drained-heldBack)
		}
		if isFile && file.first && r.Time.IsZero() {
			claims = nil // of a time that nobody knows, before the start
		}
		if !text {
			st.Lag = bootNow - at
		}
		for _, c := range claims {
			if !l.counts(at, c) || l.resolver.repeatsOOM(at, c) {
				continue
			}
			st.Matches++
			b.claims = append(b.claims, claimAt{at, l.resolver.resolve(c)})
		}
		return ctx.Err()
	})
	if isFile && file.err == nil && ctx.Err() == nil {
		file.drained = bootNow
	}
	return b
}

// counts reports whether a claim is of the time that is looked at.
func (l *logReader) counts(at time.Duration, c problem.Claim) bool {
	since := l.since
	if c.Span != nil {
		if l.first {
			since = l.started - c.Span.LookBack
		}
		since = max(since, c.Span.Delay)
	}
	return at >= since
}

// bootTime is when a record was written, in boot time: its own, if it is of this
// boot, else by its date; a record without either counts as new.
func (l *logReader) bootTime(r *journal.Record, bootNow time.Duration, wallNow time.Time) time.Duration {
	switch {
	case r.BootID != "" && r.BootID == l.bootID:
		return r.Boot
	case r.Time.IsZero():
		return bootNow
	}
	return min(bootNow-wallNow.Sub(r.Time), bootNow)
}

// statuses say how the reading of each log is doing.
func (l *logReader) statuses() []problem.LogStatus {
	out := []problem.LogStatus{} // not nil: it is known that there are none
	if l.noKmsg != nil && l.journal == nil && !errors.Is(l.noKmsg, os.ErrNotExist) {
		out = append(out, problem.LogStatus{Source: kmsgName, Blind: l.noKmsg.Error()})
	}
	for _, s := range l.sources() {
		if t, ok := s.(*textSource); ok && t.absent() {
			continue
		}
		if st := l.status[s.name()]; st != nil {
			out = append(out, *st)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(l.failed)) {
		out = append(out, problem.LogStatus{Source: path, Blind: l.failed[path]})
	}
	return out
}

func (l *logReader) cursors() *cursors {
	c := &cursors{}
	for _, s := range l.sources() {
		s.save(c)
	}
	return c
}

func (l *logReader) close() {
	for _, s := range l.sources() {
		s.close()
	}
}

// follow reads the logs until ctx ends.
func (l *logReader) follow(ctx context.Context, batches chan<- logBatch) {
	defer l.close()
	tick := time.NewTicker(logPoll)
	defer tick.Stop()
	var told []problem.LogStatus
	var last time.Duration
	for {
		b := l.poll(ctx, func(b logBatch) { send(ctx, batches, b) })
		now := l.agent.node.Host.Clock.Boot()
		if ctx.Err() != nil {
			return // what was not taken in is read again after the restart
		}
		if b.status = l.statuses(); told == nil || len(b.claims) > 0 || now-last >= logReport && !slices.Equal(b.status, told) {
			b.cursors = l.cursors()
			told, last = b.status, now
			send(ctx, batches, b)
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
