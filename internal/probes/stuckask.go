package probes

// This file asks mounts that may hang whether they answer, by way of the helper
// process, and decides which may be asked.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/mounthelper"
)

// MountAsker asks a file system whether it answers, without being stuck itself:
// a *mounthelper.Helper, which says what the methods mean.
type MountAsker interface {
	Ask(c mounthelper.Call) (<-chan error, error)
	Stuck() ([]mounthelper.Stuck, error)
	PID() int
}

// quick is how long one look waits for answers. What takes longer is looked at
// again by the next.
const quick = time.Second

// inquiry is what came of asking a mount. The zero value is that it was not asked.
type inquiry struct {
	state askState
	// since is when a call was made that has not returned, and pid who made it.
	since time.Duration
	wall  time.Time
	pid   int
	errno unix.Errno // that it fails with
	// why it was not asked though it should be; bounded: since too many calls are stuck.
	why     string
	bounded bool
	// starting: it will be asked shortly.
	starting bool
}

// made says who made a call and when.
func (i inquiry) made() string {
	return fmt.Sprintf("statfs by process %d at %s", i.pid, clockText(i.wall))
}

type askState uint8

const (
	notAsked  askState = iota
	alive              // it has answered just now
	failing            // it answers, and with an error that every access gets
	inCall             // a call of ours is in it
	prevented          // it cannot be asked
)

// asks is the calls that are out, and what is known of earlier ones.
type asks struct {
	asker MountAsker
	own   func() (mounts.Table, error) // our own mounts
	calls map[device]*pendingAsk
	// stuck are the calls of other agents.
	stuck map[device]mounthelper.Stuck
	// answered is when a mount last answered well.
	answered map[device]time.Duration
	// left are mounts that were found hung without asking, and are left alone.
	left map[device]bool
}

// pendingAsk is one call that is out.
type pendingAsk struct {
	inquiry
	done <-chan error
}

// begin takes in what has changed since the last look.
func (a *asks) begin(n *Node) {
	if a.asker = n.Mounts; a.asker == nil {
		return
	}
	if a.calls == nil {
		a.calls, a.answered = map[device]*pendingAsk{}, map[device]time.Duration{}
	}
	for d, c := range a.calls {
		select {
		case <-c.done: //nolint:errcheck // however it ended, it will be asked anew
			delete(a.calls, d)
		default:
		}
	}
	a.stuck = map[device]mounthelper.Stuck{}
	all, _ := a.asker.Stuck() // notes that cannot be read cannot be written: the helper says so
	for _, s := range all {
		a.stuck[device{s.Major, s.Minor}] = s
	}
}

// ours tells whether a thread of this or another agent waits for the mount.
func (a *asks) ours(d device) bool {
	_, other := a.stuck[d]
	return other || a.calls[d] != nil
}

// helpers are the processes whose threads wait on our behalf.
func (a *asks) helpers() map[int]bool {
	pids := map[int]bool{}
	if a.asker != nil {
		pids[a.asker.PID()] = true
	}
	for _, s := range a.stuck {
		pids[s.PID] = true
	}
	return pids
}

// leave has mounts left alone that are condemned and in which no call is yet: one
// more waiting task would tell nothing new.
func (a *asks) leave(condemned []*remoteMount) {
	a.left = map[device]bool{}
	for _, m := range condemned {
		a.left[deviceOf(m.Mount)] = true
	}
}

// ask asks the mounts of a look that are due, and waits a little for the answers.
func (a *asks) ask(ctx context.Context, n *Node, s *stuckSample, th StuckMountsThresholds) {
	if a.asker == nil {
		return
	}
	maps.DeleteFunc(a.answered, func(d device, _ time.Duration) bool { return s.mounts[d] == nil })
	fuse := th.AskFUSE == AskFUSEAlways || th.AskFUSE == AskFUSEAuto && !n.Host.InContainer()
	var due []*remoteMount
	for d, m := range s.mounts {
		if m.foreign {
			continue // if a call is in it, then from before it was unmounted
		}
		if c := a.calls[d]; c != nil {
			m.inquiry = c.inquiry
		} else if other, ok := a.stuck[d]; ok {
			age := n.Host.Clock.Wall().Sub(other.Since)
			m.inquiry = inquiry{state: inCall, since: s.at - max(age, 0), wall: other.Since, pid: other.PID}
		} else if a.due(n, s, m, fuse, th.AskEvery) {
			due = append(due, m)
		}
	}
	if len(due) == 0 {
		return
	}
	// Those that are waited for first: of them the answer matters most.
	slices.SortFunc(due, func(x, y *remoteMount) int {
		return cmp.Or(-compareBool(s.waited(x), s.waited(y)), comparePoints(x, y))
	})
	asked := a.askAll(n, s, due)
	a.await(ctx, s, asked)
}

// due tells whether a mount is to be asked now.
func (a *asks) due(n *Node, s *stuckSample, m *remoteMount, fuse bool, every time.Duration) bool {
	switch {
	case a.left[deviceOf(m.Mount)]:
		return false
	case m.client == fuseClient:
		// Without its count of waiting requests it could not be told when a call that is
		// stuck is over.
		if !fuse || m.fuse == nil {
			return false
		}
	case m.client == p9Client:
		if !fuse { // some transports wait beyond SIGKILL, too
			return false
		}
	}
	last, ok := a.answered[deviceOf(m.Mount)]
	return n.Once || !ok || s.waited(m) || s.at-last >= every
}

// waited tells whether somebody seems to wait for the mount.
func (s *stuckSample) waited(m *remoteMount) bool {
	switch m.client {
	case fuseClient:
		return m.fuse != nil && *m.fuse > 0
	case nfsClient:
		if m.nfs != nil && m.nfs.silent > 0 && m.nfs.outstanding() > 0 {
			return true
		}
	}
	return s.waitedBy(m.client)
}

// anyWaited tells whether somebody seems to wait for a mount that has not just answered.
func (s *stuckSample) anyWaited() bool {
	for _, m := range s.mounts {
		if m.inquiry.state != alive && m.inquiry.state != failing && s.waited(m) {
			return true
		}
	}
	return false
}

// waitedBy tells whether a task waits for a mount of that client.
func (s *stuckSample) waitedBy(c client) bool {
	for _, t := range s.tasks {
		if t.client == c {
			return true
		}
	}
	return false
}

func compareBool(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return 1
	}
	return -1
}

// askAll has the helper ask. What keeps it from asking one keeps it from asking the
// others.
func (a *asks) askAll(n *Node, s *stuckSample, due []*remoteMount) (asked []*remoteMount) {
	own, err := a.own()
	if err != nil && len(own.Mounts) == 0 {
		return nil
	}
	var barred error
	for _, m := range due {
		path, unseen := s.reach(n, own, m)
		switch {
		case unseen != "":
			m.inquiry = inquiry{state: prevented, why: unseen}
			continue
		case barred != nil:
			m.inquiry = notPossible(barred)
			continue
		}
		d := deviceOf(m.Mount)
		done, err := a.asker.Ask(mounthelper.Call{
			Device: mounthelper.Device{Major: d.major, Minor: d.minor}, Path: path,
			Unkillable: m.client == fuseClient || m.client == p9Client,
		})
		if err != nil {
			barred = err
			m.inquiry = notPossible(barred)
			continue
		}
		m.inquiry = inquiry{state: inCall, since: n.Host.Clock.Boot(), wall: n.Host.Clock.Wall(), pid: a.asker.PID()}
		a.calls[d] = &pendingAsk{inquiry: m.inquiry, done: done}
		asked = append(asked, m)
	}
	return asked
}

// reach is the path by which we can touch a mount, or why there is none.
func (s *stuckSample) reach(n *Node, own mounts.Table, m *remoteMount) (path, why string) {
	for _, at := range m.all {
		if s.way[at.ID] {
			why = "not asked: the way to it leads over a mount that may hang"
			continue
		}
		p, ok, unseen := own.Visible(n.Host, at)
		if ok {
			return p, ""
		}
		why = unseen
	}
	return "", why
}

// await takes in the answers that come soon.
func (a *asks) await(ctx context.Context, s *stuckSample, asked []*remoteMount) {
	wait := quick
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)/4)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	over := false
	for _, m := range asked {
		d := deviceOf(m.Mount)
		select {
		case err := <-a.calls[d].done:
			a.answer(s, m, err)
			continue
		default:
		}
		if over {
			continue
		}
		select {
		case err := <-a.calls[d].done:
			a.answer(s, m, err)
		case <-timer.C:
			over = true
		case <-ctx.Done():
			over = true
		}
	}
}

// answer takes in how a call has ended.
func (a *asks) answer(s *stuckSample, m *remoteMount, err error) {
	d := deviceOf(m.Mount)
	delete(a.calls, d)
	delete(a.answered, d)
	var end mounthelper.Answered
	switch {
	case !errors.As(err, &end):
		m.inquiry = notPossible(err)
		if errors.Is(err, mounthelper.ErrForeign) || errors.Is(err, mounthelper.ErrAsked) {
			m.inquiry = inquiry{} // it has just been unmounted, or another agent asks it
		}
	case dead(end.Err):
		m.inquiry = inquiry{state: failing, errno: end.Err}
	default: // any other error says something of us, such as that we may not
		m.inquiry = inquiry{state: alive}
		a.answered[d] = s.at
	}
}

func notPossible(err error) inquiry {
	return inquiry{state: prevented, why: err.Error(), bounded: errors.Is(err, mounthelper.ErrBusy), starting: errors.Is(err, mounthelper.ErrStarting)}
}

// dead tells whether an error is what every access to the mount gets: its server is
// gone, or does not know the mount any more.
func dead(errno unix.Errno) bool {
	switch errno {
	case unix.ENOTCONN, unix.ECONNABORTED, unix.ESTALE, unix.EIO, unix.EREMOTEIO, unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.ETIMEDOUT:
		return true
	}
	return false
}
