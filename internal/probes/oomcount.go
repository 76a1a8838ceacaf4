package probes

// This file: from the counters of the OOM killer to whose limit had it act. The
// counters alone do not say: /proc/vmstat's oom_kill, and that of a cgroup, count
// each killed process, whatever it was killed for.

import "path"

// oomSample is the counters at one moment.
type oomSample struct {
	kills  uint64 // oom_kill of /proc/vmstat: every process killed since boot
	v2     bool
	groups map[string]oomGroup
}

// oomGroup is the counters of a cgroup. On v2 they hold those of all below it,
// on v1 its own only (memcg_memory_event in include/linux/memcontrol.h).
type oomGroup struct {
	oom      uint64 // times that a limit in it left no memory; not on v1
	local    uint64 // those of its own limit
	hasLocal bool
	kills    uint64 // processes killed in it, for whatever reason
	failed   uint64 // v1: times that its own limit, with or without swap, was reached
}

// oomRise is what has happened between two samples.
type oomRise struct {
	limits  map[string]uint64 // cgroup → how often its limit left no memory
	node    uint64            // processes killed for want of memory on the node
	victims map[string]uint64 // cgroup → of those, how many in it
	unclear string            // why some kills can be told to nobody
}

// since compares two samples. reached says whether a v1 cgroup has ever been at
// its limit; it is asked only of those in question.
func (s oomSample) since(prev oomSample, reached func(path string) bool) oomRise {
	delta := make(map[string]oomGroup, len(s.groups))
	for at, g := range s.groups {
		before := prev.groups[at] // one that is new counts from 0
		delta[at] = oomGroup{
			oom: risen(before.oom, g.oom), local: risen(before.local, g.local), hasLocal: g.hasLocal,
			kills: risen(before.kills, g.kills), failed: risen(before.failed, g.failed),
		}
	}
	var vanished []string
	for at := range prev.groups {
		if _, still := s.groups[at]; !still {
			vanished = append(vanished, at)
		}
	}
	r := oomRise{limits: map[string]uint64{}, victims: map[string]uint64{}}
	kills := risen(prev.kills, s.kills)
	if s.v2 {
		r.countV2(kills, delta, vanished)
	} else {
		r.countV1(kills, delta, vanished, reached)
	}
	return r
}

// awaitKills sets back the counters of cgroups whose limit left no memory, but in
// which nothing has been killed yet: an OOM is counted first, and its kill when a
// victim was found. Else the next sample would see a kill without one.
func (s oomSample) awaitKills(prev oomSample) {
	for at, g := range s.groups {
		if before := prev.groups[at]; g.oom > before.oom && g.kills == before.kills {
			g.oom, g.local = before.oom, before.local
			s.groups[at] = g
		}
	}
}

// countV2 goes by "oom", which the kernel counts at the cgroup whose limit had the
// OOM killer called, and at those above. Kills in a cgroup without one were the node's.
func (r *oomRise) countV2(kills uint64, delta map[string]oomGroup, vanished []string) {
	children := map[string][]string{} // "" holds the topmost
	for at := range delta {
		up := above(at, delta)
		children[up] = append(children[up], at)
	}
	// own is how often the cgroup's own limit was the one. Without the counter it
	// is what its children do not account for.
	own := func(at string) uint64 {
		if delta[at].hasLocal {
			return delta[at].local
		}
		below := uint64(0)
		for _, c := range children[at] {
			below += delta[c].oom
		}
		return risen(below, delta[at].oom)
	}
	var node func(at string)
	node = func(at string) {
		d := delta[at]
		if d.kills == 0 || own(at) > 0 {
			return
		}
		rest := d.kills
		for _, c := range children[at] {
			rest = risen(delta[c].kills, rest)
			node(c)
		}
		// The rest was killed in the cgroup itself, or in one that has gone.
		if d.oom == 0 && rest > 0 {
			r.node += rest
			r.victims[at] = rest
		}
	}
	for at := range delta {
		// Without the counter, a child that has gone would be its parent's fault.
		if n := own(at); n > 0 && delta[at].kills > 0 && (delta[at].hasLocal || len(children[at]) == 0 || len(vanished) == 0) {
			r.limits[at] = n
		}
	}
	for _, top := range children[""] {
		node(top)
		kills = risen(delta[top].kills, kills)
	}
	if kills == 0 {
		return
	}
	for _, at := range vanished {
		if above(at, delta) == "" {
			r.unclear = unclearKills
			return
		}
	}
	r.node += kills
	r.victims["/"] = kills // which has no limit, and no counters
}

// countV1 goes by failcnt, which counts at the cgroup whose limit was reached: a
// kill is blamed on the nearest one above whose failcnt has risen. Some kernels do
// not count where the limit is that of memory and swap together; there it is the
// nearest one that has ever been at its limit. Both may wrong the cgroup and never
// the node, for whose sake it would be drained: its kills are in the log as well.
func (r *oomRise) countV1(kills uint64, delta map[string]oomGroup, vanished []string, reached func(path string) bool) {
	failed := func(at string) bool { return delta[at].failed > 0 }
	limitOf := func(at string) string {
		for _, blamed := range []func(string) bool{failed, reached} {
			for up := at; up != ""; up = above(up, delta) {
				if blamed(up) {
					return up
				}
			}
		}
		return ""
	}
	anyFailed := false
	for at, d := range delta {
		anyFailed = anyFailed || failed(at)
		if d.kills == 0 {
			continue
		}
		kills = risen(d.kills, kills)
		if limit := limitOf(at); limit != "" {
			r.limits[podAbove(limit)] += d.kills
			continue
		}
		r.node += d.kills
		r.victims[at] += d.kills
	}
	if kills == 0 {
		return
	}
	// The counter goes with the container. What remains is a pod that has lost one,
	// and a limit that was reached.
	found := false
	for _, at := range vanished {
		pod := podAbove(at)
		if _, there := delta[pod]; !there || pod == at {
			continue
		}
		if limit := limitOf(pod); limit != "" {
			r.limits[limit], found = max(r.limits[limit], 1), true
		}
	}
	switch {
	case found:
	case anyFailed || len(vanished) > 0:
		r.unclear = unclearKills
	default:
		r.node += kills
	}
}

// unclearKills is why nobody is blamed. The kernel's log names the limit.
const unclearKills = "the OOM killer has killed in a cgroup that is gone: its counters cannot tell whether for the cgroup's limit or for the node"

// above is the nearest cgroup above that was sampled; empty if there is none.
func above(at string, groups map[string]oomGroup) string {
	for at != "/" {
		at = path.Dir(at)
		if _, ok := groups[at]; ok {
			return at
		}
	}
	return ""
}

// podAbove is the pod's cgroup above a cgroup, or the cgroup itself if it is in none.
func podAbove(at string) string {
	for up := at; up != "/"; up = path.Dir(up) {
		if isPod(up) {
			return up
		}
	}
	return at
}
