package probes

// This file judges what StuckMounts has seen; stuckverdicts.go says it in words.

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// stuckLimits is how long is too long.
type stuckLimits struct {
	notRun     time.Duration // for a task that waits
	unanswered time.Duration // for a call of our own
}

// stuckJudgement is what a look and those before it tell.
type stuckJudgement struct {
	cur    *stuckSample
	limits stuckLimits
	// groups are the stuck tasks by the mounts that they may wait for, mostly one.
	groups []stuckGroup
	// condemned are the mounts that do not answer, in the order of their points.
	condemned []*remoteMount
	// doubted are mounts of which it cannot be told, and why.
	doubted map[*remoteMount]string
	// hidden says that tasks may be stuck whose wait channels may not be read.
	hidden string
}

// stuckGroup is tasks that wait for one of the mounts.
type stuckGroup struct {
	mounts []*remoteMount
	tasks  []waiter
}

// judgeStuck finds the mounts that do not answer. One that has just answered us
// does, whoever waits for it. One that has not answered us for too long is
// condemned. Of the others those are condemned for which tasks wait, and for no
// other, without having run; the counters show that they gave no answer meanwhile.
// NFS is also condemned if requests went out and none came back in two samples.
func judgeStuck(cur *stuckSample, limits stuckLimits) stuckJudgement {
	j := stuckJudgement{cur: cur, limits: limits, doubted: map[*remoteMount]string{}}
	silent := j.silentMounts()
	condemned := map[*remoteMount]bool{}
	for _, m := range silent {
		if m.nfs != nil && m.nfs.silent >= 2 && j.long(m.nfs.since) && m.nfs.sends > m.nfs.base && m.nfs.outstanding() > 0 {
			condemned[m] = true
		}
	}
	tasks := j.stuckTasks()
	j.group(tasks, silent)
	fuseTasks, fuseWaiting := uint64(0), uint64(0)
	for _, g := range j.groups {
		if len(g.mounts) == 1 {
			condemned[g.mounts[0]] = true
		}
		if sameServer(g.mounts) {
			for _, m := range g.mounts {
				condemned[m] = condemned[m] || m.nfs != nil && m.nfs.outstanding() > 0
			}
		}
		if g.mounts[0].fuse != nil {
			fuseTasks += uint64(len(g.tasks))
		}
	}
	for _, m := range silent {
		if m.fuse != nil {
			fuseWaiting += *m.fuse
		}
	}
	for _, m := range silent {
		switch {
		// Every request that waits is that of a stuck task: no mount is left out.
		case m.fuse != nil && fuseTasks == fuseWaiting:
			condemned[m] = true
		// A server that is silent on one mount is so on those that show the same.
		case m.nfs != nil && m.nfs.outstanding() > 0 && anySameServer(condemned, m):
			condemned[m] = true
		}
	}
	for _, m := range cur.mounts {
		switch m.inquiry.state {
		case alive, failing:
			condemned[m] = false
		case prevented: // shortly it will be known for certain
			condemned[m] = condemned[m] && !m.inquiry.starting
		case inCall:
			condemned[m] = condemned[m] || cur.at-m.inquiry.since >= limits.unanswered
		}
	}
	j.condemned = slices.SortedFunc(maps.Keys(condemned), comparePoints)
	j.condemned = slices.DeleteFunc(j.condemned, func(m *remoteMount) bool { return !condemned[m] })
	j.addBehind(tasks)
	j.doubt(silent)
	return j
}

// long tells whether what began at since has lasted for too long. What was seen in
// this look only has not.
func (j *stuckJudgement) long(since time.Duration) bool {
	return since < j.cur.at && j.cur.at-since >= j.limits.notRun
}

func comparePoints(a, b *remoteMount) int { return cmp.Compare(a.Point, b.Point) }

// silentMounts are the mounts that may be hung: where requests wait all the time,
// no answer comes in, or nothing is counted.
func (j *stuckJudgement) silentMounts() []*remoteMount {
	var out []*remoteMount
	for _, m := range j.cur.mounts {
		switch {
		case m.client == fuseClient && (m.fuse == nil || *m.fuse == 0 || !j.long(m.waiting)):
		case m.nfs != nil && m.nfs.silent == 0:
		default:
			out = append(out, m)
		}
	}
	slices.SortFunc(out, comparePoints)
	return out
}

// stuckTasks are those that have not run for too long, by thread id.
func (j *stuckJudgement) stuckTasks() []waiter {
	var out []waiter
	for _, t := range j.cur.tasks {
		switch {
		case !j.long(t.since):
		case t.client == unread:
			j.hidden = j.cur.hidden
		case t.client == fuseClient && t.lock: // held by another, not by the server
		default:
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b waiter) int { return cmp.Compare(a.tid, b.tid) })
	return out
}

// group sorts the tasks by the mounts that they may wait for.
func (j *stuckJudgement) group(tasks []waiter, silent []*remoteMount) {
	for _, t := range tasks {
		var may, asked, near []*remoteMount
		if m := j.called(t); m != nil && m.client == t.client {
			if slices.Contains(silent, m) {
				j.add([]*remoteMount{m}, t)
			}
			continue
		}
		for _, m := range silent {
			if m.client != t.client {
				continue
			}
			may = append(may, m)
			if m.nfs != nil && m.nfs.outstanding() > 0 {
				asked = append(asked, m)
			}
			if slices.Contains(t.near, deviceOf(m.Mount)) {
				near = append(near, m)
			}
		}
		// Requests are out on some of the mounts: the others are merely not used.
		if len(asked) > 0 {
			may = asked
			near = slices.DeleteFunc(near, func(m *remoteMount) bool { return !slices.Contains(asked, m) })
		}
		if len(near) > 0 {
			may = near
		}
		if len(may) > 0 {
			j.add(may, t)
		}
	}
}

// called is the mount that a task's system call is about, if its descriptor tells.
func (j *stuckJudgement) called(t waiter) *remoteMount {
	if t.call == nil {
		return nil
	}
	return j.cur.mounts[*t.call]
}

func (j *stuckJudgement) add(may []*remoteMount, t waiter) {
	for i := range j.groups {
		if g := &j.groups[i]; slices.Equal(g.mounts, may) {
			g.tasks = append(g.tasks, t)
			return
		}
	}
	j.groups = append(j.groups, stuckGroup{mounts: may, tasks: []waiter{t}})
}

// addBehind adds the tasks that wait for something else, a page or a lock, in a
// system call on a mount that is condemned.
func (j *stuckJudgement) addBehind(tasks []waiter) {
	for _, t := range tasks {
		if m := j.called(t); t.client == behind && slices.Contains(j.condemned, m) {
			j.add([]*remoteMount{m}, t)
		}
	}
}

// doubt says of which mounts it cannot be told whether they hang.
func (j *stuckJudgement) doubt(silent []*remoteMount) {
	open := func(m *remoteMount) bool {
		return m.inquiry.state != alive && m.inquiry.state != failing && j.doubted[m] == "" && !slices.Contains(j.condemned, m)
	}
	for _, g := range j.groups {
		for _, m := range g.mounts {
			if len(g.mounts) > 1 && open(m) {
				j.doubted[m] = fmt.Sprintf("%s wait for %s, and it cannot be told for which", tasksText(g.tasks), oneOf(g.mounts))
			}
		}
	}
	for _, m := range silent {
		if m.fuse != nil && j.cur.mostly && open(m) {
			j.doubted[m] = "requests wait for an answer, and whether the tasks behind them go on cannot be told: " + j.cur.hidden
			if j.hidden == "" {
				j.hidden = j.cur.hidden
			}
		}
	}
	for _, m := range j.cur.mounts {
		switch {
		case !open(m):
		case m.inquiry.state == inCall:
			j.doubted[m] = fmt.Sprintf("asked, and it has not answered yet (%s)", m.inquiry.made())
		// One that nobody waits for is fine as far as can be seen. But so many calls are
		// stuck that the next mount may well be, too.
		case m.inquiry.state == prevented && (m.inquiry.bounded || slices.Contains(silent, m) && j.cur.waited(m)):
			j.doubted[m] = m.inquiry.why
		}
	}
}

func sameServer(all []*remoteMount) bool {
	return !slices.ContainsFunc(all, func(m *remoteMount) bool { return m.client != nfsClient || m.server() != all[0].server() })
}

func anySameServer(condemned map[*remoteMount]bool, m *remoteMount) bool {
	for c, yes := range condemned {
		if yes && c.client == nfsClient && c.server() == m.server() {
			return true
		}
	}
	return false
}
