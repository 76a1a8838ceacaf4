package probes

// This file puts what is judged of hung mounts into verdicts.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// result puts the judgement into words.
func (j stuckJudgement) result(n *Node) problem.Result {
	r := problem.Result{Partial: j.cur.partial}
	has := map[client]bool{}
	for _, m := range j.cur.mounts {
		has[m.client] = true
	}
	for _, k := range []struct {
		kind   problem.Kind
		client client
	}{{problem.NFSServerNotResponding, nfsClient}, {problem.FUSEServerNotAnswering, fuseClient}} {
		if !has[k.client] {
			r.Verdicts = append(r.Verdicts, problem.Verdict{
				Kind: k.kind, State: problem.NotApplicable, Message: fmt.Sprintf("no %s file system is mounted", k.client),
			})
		}
	}
	servers := map[string][]*remoteMount{}
	for _, m := range j.condemned {
		tasks := j.tasksOf(m)
		r.Verdicts = append(r.Verdicts, j.mountVerdict(n, m, tasks))
		if m.client == nfsClient {
			servers[m.server()] = append(servers[m.server()], m)
		}
		if m.client == fuseClient {
			r.Verdicts = append(r.Verdicts, fuseVerdict(n, m, tasks))
		}
	}
	for _, server := range slices.Sorted(maps.Keys(servers)) {
		r.Verdicts = append(r.Verdicts, j.nfsVerdict(n, server, servers[server]))
	}
	for _, m := range slices.SortedFunc(maps.Values(j.cur.mounts), comparePoints) {
		if m.inquiry.state == failing {
			r.Verdicts = append(r.Verdicts, failingVerdict(n, m))
		}
	}
	for _, g := range j.groups {
		v := g.verdict(n)
		v.Held = j.held(g.tasks)
		r.Verdicts = append(r.Verdicts, v)
	}
	for _, m := range slices.SortedFunc(maps.Keys(j.doubted), comparePoints) {
		v := problem.Verdict{
			Kind: problem.MountNotAnswering, Subject: m.Point, State: problem.Unknown, Message: m.title() + ": " + j.doubted[m], Touches: m.refs(),
		}
		r.Verdicts = append(r.Verdicts, v)
		if m.client == fuseClient {
			v.Kind = problem.FUSEServerNotAnswering
			r.Verdicts = append(r.Verdicts, v)
		}
	}
	if j.hidden != "" {
		r.Verdicts = append(r.Verdicts, problem.Verdict{Kind: problem.TasksStuckOnMount, State: problem.Unknown, Message: j.hidden})
	}
	for _, v := range j.cur.unreadable {
		known := slices.ContainsFunc(r.Verdicts, func(o problem.Verdict) bool { return o.Kind == v.Kind && o.Subject == v.Subject })
		if !known {
			r.Verdicts = append(r.Verdicts, v)
		}
	}
	return r
}

// tasksOf are the tasks that wait for a mount and no other.
func (j stuckJudgement) tasksOf(m *remoteMount) []waiter {
	var out []waiter
	for _, g := range j.groups {
		if len(g.mounts) == 1 && g.mounts[0] == m {
			out = append(out, g.tasks...)
		}
	}
	return out
}

func (j stuckJudgement) mountVerdict(n *Node, m *remoteMount, tasks []waiter) problem.Verdict {
	why := "requests go out and no answer comes"
	switch {
	case len(tasks) == 1:
		why = "1 task waits for it without an answer"
	case len(tasks) > 1:
		why = tasksText(tasks) + " wait for it without an answer"
	case m.fuse != nil && *m.fuse > 0:
		why = fmt.Sprintf("%s wait for an answer", requests(*m.fuse))
	case m.inquiry.state == inCall:
		why = "a statfs has not returned"
		if !j.cur.waitedBy(m.client) {
			why += ", and no task waits for it yet"
		}
	}
	v := problem.Verdict{
		Kind: problem.MountNotAnswering, Subject: m.Point, State: problem.Wrong, Severity: problem.Critical,
		Message:  fmt.Sprintf("%s does not answer: %s", m.title(), why),
		Evidence: append(m.evidence(n), taskEvidence(n, tasks)...),
		Holders:  taskHolders(n, tasks), Touches: m.refs(), Held: j.held(tasks),
	}
	if m.inquiry.state == inCall {
		v.Held = max(v.Held, j.cur.at-m.inquiry.since)
	}
	m.mountedFor(n, &v)
	m.narrow(n, &v, tasks)
	return v
}

// held is for how long the first of some tasks waits.
func (j stuckJudgement) held(tasks []waiter) time.Duration {
	var longest time.Duration
	for _, t := range tasks {
		longest = max(longest, j.cur.at-t.since)
	}
	return longest
}

func fuseVerdict(n *Node, m *remoteMount, tasks []waiter) problem.Verdict {
	why := "a statfs has not returned"
	if m.fuse != nil && *m.fuse > 0 {
		why = requests(*m.fuse) + " wait"
		if *m.fuse == 1 {
			why += "s"
		}
	}
	v := problem.Verdict{
		Kind: problem.FUSEServerNotAnswering, Subject: m.Point, State: problem.Wrong, Severity: problem.Critical,
		Message: fmt.Sprintf("the program that serves %s does not answer: %s", m.title(), why),
		// The tasks are named beside the mount.
		Evidence: m.evidence(n), Holders: taskHolders(n, tasks), Touches: m.refs(),
	}
	m.narrow(n, &v, tasks)
	return v
}

// failingVerdict is about a mount that answers, and always with an error: nobody is
// stuck, and nobody gets at the data.
func failingVerdict(n *Node, m *remoteMount) problem.Verdict {
	v := problem.Verdict{
		Kind: problem.MountNotAnswering, Subject: m.Point, State: problem.Wrong, Severity: problem.Warning,
		Message:  fmt.Sprintf("%s is of no use: each access fails with %q", m.title(), m.inquiry.errno.Error()),
		Evidence: []string{fmt.Sprintf("stat -f %s: %s", m.Point, m.inquiry.errno)}, Touches: m.refs(),
	}
	if m.client == fuseClient {
		v.Kind = problem.FUSEServerNotAnswering
		v.Message = fmt.Sprintf("the program that served %s is gone: each access fails with %q", m.title(), m.inquiry.errno.Error())
	}
	m.mountedFor(n, &v)
	return v
}

// mountedFor names the pods whose volume a mount is: kubelet mounts it once for each.
func (m *remoteMount) mountedFor(n *Node, v *problem.Verdict) {
	var pods []string
	for _, at := range m.all {
		pod, ok := n.Owners.OfVolume(at.Point)
		if !ok {
			continue
		}
		if !slices.Contains(pods, pod.String()) {
			pods = append(pods, pod.String())
		}
		v.Touches = appendNew(v.Touches, pod.Refs()...)
	}
	if len(pods) > 0 {
		slices.Sort(pods)
		v.Message += "; it is mounted for " + listed(pods)
	}
}

// narrow makes a problem of a mount that only a container sees that pod's own.
func (m *remoteMount) narrow(n *Node, v *problem.Verdict, tasks []waiter) {
	if !m.foreign || len(tasks) == 0 {
		return
	}
	v.Scope = problem.PodScope
	for _, t := range tasks {
		o := n.Owners.OfPID(t.process.PID)
		v.Touches = appendNew(v.Touches, o.Refs()...)
		if o.Scope() != problem.PodScope {
			v.Scope = problem.NodeScope
		}
	}
}

func (j stuckJudgement) nfsVerdict(n *Node, server string, all []*remoteMount) problem.Verdict {
	v := problem.Verdict{Kind: problem.NFSServerNotResponding, Subject: server, State: problem.Wrong, Severity: problem.Critical}
	var (
		tasks       []waiter
		points      []string
		outstanding uint64
	)
	for _, m := range all {
		points = append(points, m.Point)
		v.Touches = appendNew(v.Touches, m.refs()...)
		v.Evidence = append(v.Evidence, m.evidence(n)...)
		if m.nfs != nil { // mounts share a transport, and so are not summed
			outstanding = max(outstanding, m.nfs.outstanding())
		}
	}
	for _, g := range j.groups {
		if sameServer(g.mounts) && g.mounts[0].server() == server {
			tasks = append(tasks, g.tasks...)
		}
	}
	v.Evidence = v.Evidence[:min(len(v.Evidence), maxTaskEvidence)]
	v.Message = fmt.Sprintf("the NFS server %s does not respond: %s without an answer on %s", server, requests(outstanding), listed(points))
	if outstanding == 0 {
		why := "for which tasks wait"
		if len(tasks) == 0 {
			why = "where a statfs has not returned"
		}
		v.Message = fmt.Sprintf("the NFS server %s does not respond: nothing is received on %s, %s", server, listed(points), why)
	}
	v.Holders = taskHolders(n, tasks)
	return v
}

// verdict is that about the tasks of one mount, or of one of several.
func (g stuckGroup) verdict(n *Node) problem.Verdict {
	v := problem.Verdict{
		Kind: problem.TasksStuckOnMount, Subject: g.mounts[0].Point, State: problem.Wrong, Severity: problem.Critical,
		Evidence: taskEvidence(n, g.tasks), Holders: taskHolders(n, g.tasks),
	}
	where := g.mounts[0].title()
	if len(g.mounts) > 1 {
		v.Subject = oneOf(g.mounts)
		where = v.Subject
	}
	verb := "wait for %s and do not go on"
	if len(g.tasks) == 1 {
		verb = "waits for %s and does not go on"
	}
	v.Message = tasksText(g.tasks) + " " + fmt.Sprintf(verb, where)
	// A server that answers others may be slow with these, or they wait for an event
	// as its programs mean them to.
	if !slices.ContainsFunc(g.mounts, func(m *remoteMount) bool { return m.inquiry.state != alive }) {
		v.Severity = problem.Warning
		v.Message += ", though the file system answers others"
	}
	killed := 0
	for _, t := range g.tasks {
		if t.sigkill {
			killed++
		}
	}
	if killed > 0 {
		v.Message += fmt.Sprintf("; SIGKILL has not ended %s of them", coarse(uint64(killed)))
	}
	for _, m := range g.mounts {
		v.Touches = appendNew(v.Touches, m.refs()...)
	}
	foreign := !slices.ContainsFunc(g.mounts, func(m *remoteMount) bool { return !m.foreign })
	for _, t := range g.tasks {
		o := n.Owners.OfPID(t.process.PID)
		v.Touches = appendNew(v.Touches, o.Refs()...)
		// Who is in a pod may call itself what it likes; runc's first step is there
		// by right.
		if o.Scope() == problem.NodeScope || strings.HasPrefix(t.process.Comm, "runc:[") {
			v.Touches = appendNew(v.Touches, problem.NewRef(problem.RefProcess, t.process.Comm))
		}
		foreign = foreign && o.Scope() == problem.PodScope
	}
	if foreign {
		v.Scope = problem.PodScope
	}
	return v
}

// evidence is where a person finds what the mount's client counts.
func (m *remoteMount) evidence(n *Node) []string {
	var out []string
	switch {
	case m.fuse != nil:
		waiting := *m.fuse
		if m.inquiry.state == inCall {
			waiting++ // ours
		}
		line := fmt.Sprintf("%s/%s/waiting: %d", fuseConnections, fuseNumber(deviceOf(m.Mount)), waiting)
		if *m.fuse > 0 {
			line += ", and not 0 since " + n.timeOfDay(m.waiting)
		}
		out = append(out, line)
	case m.nfs != nil:
		out = append(out, fmt.Sprintf("%s: xprt of %s: %d sent, %d received, and none since %s",
			mountStatsFile, m.Point, m.nfs.sends, m.nfs.recvs, n.timeOfDay(m.nfs.since)))
	}
	switch m.inquiry.state {
	case inCall:
		out = append(out, m.inquiry.made()+" has not returned")
	case prevented:
		out = append(out, m.inquiry.why)
	}
	return out
}

// maxTaskEvidence is how many lines of evidence about tasks or mounts are enough.
const maxTaskEvidence = 5

func taskEvidence(n *Node, tasks []waiter) []string {
	var out []string
	for _, t := range tasks[:min(len(tasks), maxTaskEvidence)] {
		how, killed := "not run", ""
		if t.woken {
			how = "without an answer"
		}
		if t.sigkill {
			killed = ", SIGKILL pending"
		}
		out = append(out, fmt.Sprintf("%s/wchan: %s (%s, in state %c, %s since %s%s)", t.dir(), t.wchan, t.process.Comm, t.state, how, n.timeOfDay(t.since), killed))
	}
	return out
}

func taskHolders(n *Node, tasks []waiter) []problem.Holder {
	all := make([]consumer, 0, len(tasks))
	for _, t := range tasks {
		c := consumer{Process: t.process, amount: 1}
		if n.Cgroups != nil {
			c.cgroup, _ = n.Cgroups.Place(t.process.PID)
		}
		all = append(all, c)
	}
	return holders(n, all, "/", problem.Threads)
}

// timeOfDay is when it was so much after boot.
func (n *Node) timeOfDay(boot time.Duration) string {
	return clockText(n.Host.Clock.Wall().Add(boot - n.Host.Clock.Boot()))
}

func clockText(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

func tasksText(tasks []waiter) string { return count(uint64(len(tasks)), "task") }

func requests(n uint64) string { return count(n, "request") }

// count renders a number of things: "1 task", "12 tasks".
func count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return coarse(n) + " " + what + "s"
}

// oneOf names several mounts, of which one is meant.
func oneOf(all []*remoteMount) string {
	points := make([]string, 0, len(all))
	for _, m := range all {
		points = append(points, m.Point)
	}
	return "one of " + listed(points)
}

// listed is a list for a message, with no more than three of many.
func listed(all []string) string {
	const most = 3
	if len(all) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
	}
	return strings.Join(all, ", ")
}

// appendNew appends the references that are not there yet.
func appendNew(to []problem.Ref, refs ...problem.Ref) []problem.Ref {
	for _, r := range refs {
		if !slices.Contains(to, r) {
			to = append(to, r)
		}
	}
	return to
}
