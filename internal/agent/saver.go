package agent

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// This file: when the state is loaded and saved. The disk may be what is wrong
// with the node: full, read-only, or without an answer. The loop never waits for it.

const (
	// saveEvery is how often the state is saved: what was read since is read again
	// after a crash.
	saveEvery = 10 * time.Second
	// loadWithin is how long the start waits for the last run's state.
	loadWithin = 5 * time.Second
	// slowSave is after how long a disk counts as one that does not answer.
	slowSave = 30 * time.Second
)

// saver writes the state, at most once at a time.
type saver struct {
	done  chan error // the end of the saving under way
	busy  bool
	begun time.Duration
}

// load goes on from the state that the last run of the agent left.
func (l *loop) load(ctx context.Context) {
	a := l.agent
	l.back, l.first = a.config.LookBack, true
	l.saver.done = make(chan error, 1)
	if a.config.StateFile == "" {
		return
	}
	type content struct {
		raw []byte
		err error
	}
	read := make(chan content, 1)
	go func() {
		raw, err := readState(a.config.StateFile)
		read <- content{raw, err}
	}()
	late := time.NewTimer(loadWithin)
	defer late.Stop()
	var got content
	select {
	case got = <-read:
	case <-late.C:
		got.err = fmt.Errorf("%s: no answer within %v", a.config.StateFile, loadWithin)
	case <-ctx.Done():
		return
	}
	saved, found, err := decodeState(a.config.StateFile, got.raw, got.err, a.facts.BootID, a.node.Host.Clock.Boot(), l.state.tracker)
	if err != nil {
		l.warn("cannot go on from the last run's state: " + err.Error())
		return
	}
	l.state.cursors, l.kubeMemory = saved.Cursors, saved.Kube
	if found {
		l.log.Info("going on from the last run's state", "file", a.config.StateFile)
		l.back, l.first = time.Hour*24*365, false // whatever came since, the cursors know
	}
}

// save begins to keep the state for the next run.
func (l *loop) save() {
	a := l.agent
	now := a.node.Host.Clock.Boot()
	switch {
	case a.config.StateFile == "" || l.state.logs == nil:
		return // nothing to keep, or nothing that is known yet
	case l.saver.busy:
		if now-l.saver.begun > slowSave {
			l.warn("cannot save the state, a restart would read some log records again: the disk of " + a.config.StateFile + " does not answer")
		}
		return
	}
	raw, err := encodeState(a.facts.BootID, now, l.state.cursors, l.state.tracker, l.rememberKube())
	if err != nil {
		l.saved(err)
		return
	}
	l.saver.busy, l.saver.begun = true, now
	go func() { l.saver.done <- writeState(a.config.StateFile, raw) }()
}

// saved takes in how the saving went. That it failed is told and survived.
func (l *loop) saved(err error) {
	l.saver.busy = false
	if err != nil {
		l.warn("cannot save the state, a restart would read some log records again: " + err.Error())
		return
	}
	l.state.warnings = nil
}

// saveLast saves the state at the end. Whoever calls it does not wait for ever.
func (l *loop) saveLast() {
	if l.saver.busy {
		l.saved(<-l.saver.done)
	}
	if l.save(); l.saver.busy {
		l.saved(<-l.saver.done)
	}
}

// warn tells a trouble of the agent's own, once.
func (l *loop) warn(text string) {
	if !slices.Contains(l.state.warnings, text) {
		l.log.Warn(text)
		l.state.warnings = []string{text}
	}
}
