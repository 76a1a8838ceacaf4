package kube

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// Options say what to publish, and as whom.
type Options struct {
	Access     Access
	Conditions ConditionOptions
	// Events: publish Events, too.
	Events    bool
	Catalogue *problem.Catalogue
	Log       *slog.Logger
	// Idle is called when nothing is to be written for a while; nil for nothing.
	Idle func()
}

// Reporter keeps the Node's conditions as the newest snapshot has them, and tells
// problems as Events. At most one request is under way; nothing waits for it, and
// what it finds when it ends is the newest state.
type Reporter struct {
	options Options
	latest  atomic.Pointer[problem.Snapshot]
	poke    chan struct{}
	metrics metrics
	start   time.Time
	dial    func(Access) (*client, error)
	session *client // of the request under way; between requests Run's

	// mu guards the rest. It is never held while a request is under way.
	mu      sync.Mutex
	seen    *problem.Snapshot
	ours    ours
	board   *board
	pace    pace
	teller  *teller
	node    ourNode
	met     bool // the Node was read, or may not be read
	writing health
	telling health
	npd     string
}

// New makes a reporter that goes on from what an earlier run remembered.
func New(o Options, m Memory) *Reporter {
	now := time.Now()
	r := &Reporter{
		options: o, poke: make(chan struct{}, 1), start: now, metrics: newMetrics(), dial: dial,
		board: newBoard(now), teller: newTeller(o.Catalogue, now), node: ourNode{name: o.Access.Node},
		ours:    ours{catalogue: o.Catalogue, options: o.Conditions, remembered: map[string]bool{}},
		pace:    pace{chance: rand.Float64},
		writing: health{log: o.Log, what: "write the conditions of Node " + o.Access.Node},
		telling: health{log: o.Log, what: "write Events about Node " + o.Access.Node},
	}
	r.recall(m)
	return r
}

// Publish hands a snapshot over. It never waits; of several snapshots the newest counts.
func (r *Reporter) Publish(s *problem.Snapshot) {
	r.latest.Store(s)
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// job is one request, and what to do with its outcome: f is nil if it was done.
type job struct {
	do   func(context.Context, *client) error
	note func(f *failure, now time.Time)
}

// Run publishes until ctx ends. What stands on the Node then stays there: that the
// agent restarts is no news of the node.
func (r *Reporter) Run(ctx context.Context) {
	var under *job // way
	done := make(chan error, 1)
	wake := time.NewTimer(startWithin)
	defer wake.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.poke:
		case err := <-done:
			r.ended(under, err)
			under = nil
		case <-wake.C:
		}
		r.see()
		if under != nil {
			continue
		}
		now := time.Now()
		next, at := r.next(now)
		if next == nil {
			if at.Sub(now) > idleFor && r.session != nil {
				r.hangUp()
				if r.options.Idle != nil {
					r.options.Idle()
				}
			}
			wake.Reset(at.Sub(now))
			continue
		}
		under = next
		go func() { done <- r.perform(ctx, next) }()
	}
}

// see takes in the newest snapshot, also while a request is under way: when a
// condition turned does not depend on when that could be told.
func (r *Reporter) see() {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.latest.Load()
	if s == r.seen {
		return
	}
	r.seen = s
	r.board.see(Conditions(s, r.options.Conditions), s.Time)
}

// perform does a job in a session. Credentials that cannot be read are a failure
// of the job like any other.
func (r *Reporter) perform(ctx context.Context, j *job) error {
	if r.session == nil {
		c, err := r.dial(r.options.Access)
		if err != nil {
			return err
		}
		r.session = c
	}
	return j.do(ctx, r.session)
}

func (r *Reporter) ended(j *job, err error) {
	var f *failure
	if err != nil {
		if f = asFailure(err); !f.answered || f.result == unauthorized {
			r.hangUp() // the next session has a new connection, or newer credentials
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	j.note(f, time.Now())
}

// hangUp ends the session; the next one reads the credentials anew.
func (r *Reporter) hangUp() {
	if r.session != nil {
		r.session.close()
		r.session = nil
	}
}

// next is what to do now; without a job, when to look again.
func (r *Reporter) next(now time.Time) (*job, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seen
	if s == nil || r.starting(s, now) {
		return nil, now.Add(startWithin)
	}
	d := r.board.differs(now)
	at := r.pace.due(d, now)
	switch {
	case !r.met && r.pace.failures == 0:
		return r.readNode(), now
	case !at.After(now) && !r.met:
		return r.readNode(), now
	case !at.After(now):
		return r.writeConditions(), now
	case !r.met || r.pace.failures > 0 || !r.options.Events:
		return nil, at
	}
	if wait := r.telling.notBefore; now.Before(wait) {
		return nil, earlier(at, wait)
	}
	w, again := r.teller.next(s, now)
	switch {
	case w != nil:
		return r.writeEvent(w), now
	case !again.IsZero():
		at = earlier(at, again)
	}
	return nil, at
}

// starting: the first verdicts are about to come; to wait for them spares the Node a write.
func (r *Reporter) starting(s *problem.Snapshot, now time.Time) bool {
	if now.Sub(r.start) >= startWithin {
		return false
	}
	for _, k := range s.Kinds {
		if k.Starting {
			return true
		}
	}
	return false
}

// readNode reads our own Node once, to go on from what stands there.
func (r *Reporter) readNode() *job {
	var n ownNode
	return &job{
		do: func(ctx context.Context, c *client) (err error) {
			n, err = c.get(ctx)
			return err
		},
		note: func(f *failure, now time.Time) {
			if f != nil {
				r.writing.failed(f, f.advice(r.node.name))
				r.met = f.result == forbidden // what stands there can be written without having been read
				r.pace.failed(f, now)
				return
			}
			r.writing.worked()
			r.met, r.pace.failures, r.node.uid = true, 0, n.Metadata.UID
			found := r.ours.found(n.Status.Conditions)
			r.board.adopt(found)
			r.pace.resume(lastBeat(n.Status.Conditions, found), now)
			if r.npd = r.ours.others(n.Status.Conditions, now); r.npd != "" {
				r.options.Log.Warn(r.npd)
			}
		},
	}
}

// writeConditions brings the Node up to date. What is written is decided when the
// API server is there to take it: while a connection is made to one that has just
// come back, the node goes on.
func (r *Reporter) writeConditions() *job {
	var w write
	var d difference
	begun := time.Now()
	compose := func() ([]byte, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		var err error
		now := time.Now()
		d = r.board.differs(now)
		w, err = r.board.compose(now)
		return w.body, err
	}
	return &job{
		do: func(ctx context.Context, c *client) error { return c.patchStatus(ctx, compose) },
		note: func(f *failure, now time.Time) {
			r.metrics.wrote(f, now)
			if f == nil {
				r.writing.worked()
				if d == news {
					wait := eventsAfter(now.Sub(begun), r.pace.failures, rand.Float64())
					r.telling.notBefore = later(r.telling.notBefore, now.Add(wait))
				}
				r.pace.wrote(d, r.board.wrote(w), now)
				return
			}
			r.writing.failed(f, f.advice(r.node.name))
			r.pace.failed(f, now)
			if f.late {
				r.board.unsure(w)
			}
			if f.result == notFound { // if it comes back, it is another Node
				r.met, r.node.uid = false, ""
				r.board.forget()
			}
		},
	}
}

// writeEvent tells one problem.
func (r *Reporter) writeEvent(w *telling) *job {
	body, err := w.body(r.node)
	return &job{
		do: func(ctx context.Context, c *client) error {
			switch {
			case err != nil:
				return err
			case w.create:
				return c.createEvent(ctx, w.Namespace, body)
			}
			return c.patchEvent(ctx, w.Namespace, w.Name, body)
		},
		note: func(f *failure, now time.Time) {
			r.metrics.told(f)
			if r.teller.done(w, f, now) {
				r.telling.worked()
				return
			}
			r.telling.failed(f, f.advice(r.node.name))
			r.telling.notBefore = now.Add(f.eventWait(r.telling.failures-1, rand.Float64()))
		},
	}
}
