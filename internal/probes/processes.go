package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Processes walks over all processes, for what only they tell: the limits on
// the number of tasks of one user (RLIMIT_NPROC), and zombies.
type Processes struct{ Thresholds ProcessesThresholds }

// ProcessesThresholds are the thresholds of Processes.
type ProcessesThresholds struct {
	// User is the share of a user's RLIMIT_NPROC in use.
	User Levels `yaml:"user"`
	// Zombies is from how many under one parent they are worth a word.
	Zombies int `yaml:"zombies"`
}

// Validate says what is wrong with the thresholds; the config calls it.
func (t ProcessesThresholds) Validate() error {
	if t.Zombies < 1 {
		return fmt.Errorf("zombies: %d is below 1", t.Zombies)
	}
	return nil
}

// NewProcesses is the probe with its default thresholds.
func NewProcesses() *Processes {
	return &Processes{ProcessesThresholds{
		User: Levels{Warning: 80, Critical: 95},
		// A parent that forgets to wait leaves a few; a hundred is a leak, and
		// each holds a pid.
		Zombies: 100,
	}}
}

// Name implements Probe.
func (*Processes) Name() string { return "processes" }

// Kinds implements Probe.
func (*Processes) Kinds() []problem.Kind {
	return []problem.Kind{problem.UserProcessesNearLimit, problem.ZombieProcesses}
}

// user is what one user id has of tasks, over all pods and sessions: the kernel
// counts them together, whatever container they are in.
type user struct {
	uid     uint32
	threads uint64
	// limit is the lowest soft RLIMIT_NPROC among its processes that are a pod's
	// or a critical daemon's; process.Unlimited if none has one.
	limit   uint64
	limited process.Process // whose limit it is
	cgroups []string        // of those it limits
}

// processSample is one walk.
type processSample struct {
	users    []user
	zombies  map[int]int // by parent
	comms    map[int]string
	nZombies int
}

// Run implements Probe.
func (p *Processes) Run(ctx context.Context, n *Node) (problem.Result, error) {
	s, partial, err := readProcesses(ctx, n)
	if err != nil {
		return problem.Result{}, err
	}
	r := evaluateProcesses(s, n, p.Thresholds)
	r.Partial = partial
	p.nameUserHolders(ctx, n, r.Verdicts)
	return r, nil
}

// readProcesses walks over all processes. What it could not see is in partial.
func readProcesses(ctx context.Context, n *Node) (s processSample, partial string, err error) {
	s.zombies, s.comms = map[int]int{}, map[int]string{}
	users := map[uint32]*user{}
	seen := 0
	err = process.Walk(ctx, n.Host, func(proc process.Process) error {
		seen++
		s.comms[proc.PID] = proc.Comm
		switch {
		case proc.Kthread:
			return nil
		case proc.State == 'Z':
			s.zombies[proc.PPID]++
			s.nZombies++
			return nil
		}
		if err := addUser(n, users, proc); err != nil && partial == "" {
			partial = err.Error()
		}
		return nil
	})
	switch {
	case seen == 0 && err == nil:
		return s, "", errors.New("/proc shows no process at all")
	case seen == 0 || ctx.Err() != nil:
		return s, "", err
	case err != nil:
		partial = err.Error()
	}
	for _, u := range users {
		s.users = append(s.users, *u)
	}
	slices.SortFunc(s.users, func(a, b user) int { return cmp.Compare(a.uid, b.uid) })
	return s, partial, nil
}

// Capabilities that exempt a process from RLIMIT_NPROC, by their number
// (capability(7); copy_process in kernel/fork.c). uid 0 is exempt, too.
const exempting = 1<<21 | 1<<24 // CAP_SYS_ADMIN, CAP_SYS_RESOURCE

// addUser adds a process to the tasks of its user.
func addUser(n *Node, users map[uint32]*user, proc process.Process) error {
	st, err := process.ReadStatus(n.Host, proc.PID)
	if errors.Is(err, process.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.UID == 0 {
		return nil
	}
	u := users[st.UID]
	if u == nil {
		u = &user{uid: st.UID, limit: process.Unlimited}
		users[st.UID] = u
	}
	u.threads += uint64(st.Threads)
	if st.CapEff&exempting != 0 {
		return nil
	}
	cg := ""
	if n.Cgroups != nil {
		cg, _ = n.Cgroups.Place(proc.PID)
	}
	if cg == "" || n.Owners.OfCgroup(cg).Scope() != problem.PodScope && !slices.Contains(criticalDaemons(), proc.Comm) {
		return nil // a login session's limit is nobody's outage
	}
	l, err := process.ReadLimits(n.Host, proc.PID)
	if errors.Is(err, process.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	if l.Processes.Soft == process.Unlimited {
		return nil
	}
	if l.Processes.Soft < u.limit {
		u.limit, u.limited = l.Processes.Soft, proc
	}
	if !slices.Contains(u.cgroups, cg) {
		u.cgroups = append(u.cgroups, cg)
	}
	return nil
}

// criticalDaemons are those without which a node runs no pods, by comm (at most
// 15 bytes).
func criticalDaemons() []string {
	return []string{
		"kubelet", "containerd", "dockerd", "crio", "k3s", "k3s-server", "k3s-agent", "rke2", "kubelite", "kube-proxy", "systemd-journal",
	}
}

// evaluateProcesses judges a walk.
func evaluateProcesses(s processSample, n *Node, th ProcessesThresholds) problem.Result {
	r := problem.Result{Measurements: []problem.Measurement{
		{Resource: "zombie_processes", Used: float64(s.nZombies), Unit: problem.Processes},
	}}
	for _, u := range s.users {
		if u.limit == process.Unlimited {
			continue
		}
		subject := "uid " + strconv.FormatUint(uint64(u.uid), 10)
		ref := problem.NewRef(problem.RefUID, strconv.FormatUint(uint64(u.uid), 10))
		m := problem.Measurement{
			Resource: "user_processes", Subject: subject, Used: float64(u.threads), Max: float64(u.limit),
			Unit: problem.Threads, Touches: []problem.Ref{ref},
		}
		r.Measurements = append(r.Measurements, m)
		sev := th.User.Severity(m.Fraction())
		if sev == 0 {
			continue
		}
		v := problem.Verdict{
			Kind: problem.UserProcessesNearLimit, Subject: subject, State: problem.Wrong, Severity: sev,
			Message: fmt.Sprintf("%s is at %s of RLIMIT_NPROC, counted over all its pods and sessions", subject, problem.Share(m)),
			Evidence: []string{fmt.Sprintf("/proc/%d/limits (%s): Max processes %d; the user has %d threads",
				u.limited.PID, u.limited.Comm, u.limit, u.threads)},
			Touches: []problem.Ref{ref}, Refused: u.threads >= u.limit,
		}
		v.Scope = problem.PodScope
		for _, cg := range u.cgroups {
			o := n.Owners.OfCgroup(cg)
			v.Touches = append(v.Touches, o.Refs()...)
			if o.Scope() == problem.NodeScope {
				v.Scope = problem.NodeScope
			}
		}
		r.Verdicts = append(r.Verdicts, v)
	}
	r.Verdicts = append(r.Verdicts, zombieVerdicts(s, n, th)...)
	return r
}

func zombieVerdicts(s processSample, n *Node, th ProcessesThresholds) []problem.Verdict {
	var out []problem.Verdict
	for parent, count := range s.zombies {
		if count < min(th.Zombies, fewZombies) {
			continue
		}
		o := n.Owners.OfPID(parent)
		heavy := zombieRefs(n, count, o.Cgroup)
		if count < th.Zombies && len(heavy) == 0 {
			continue
		}
		comm := s.comms[parent]
		out = append(out, problem.Verdict{
			Kind: problem.ZombieProcesses, Subject: fmt.Sprintf("%s[%d]", comm, parent), State: problem.Wrong,
			Severity: problem.Warning, Scope: o.Scope(),
			Message:  fmt.Sprintf("%s in %s does not wait for its children: %s zombies, each holding a pid", comm, o, coarse(uint64(count))),
			Evidence: []string{fmt.Sprintf("/proc/*/stat: %d in state Z with parent %d", count, parent)},
			Holders:  []problem.Holder{{Owner: o.String(), Process: comm, PID: parent, Amount: float64(count), Unit: problem.Processes}},
			Touches:  append([]problem.Ref{problem.NewRef(problem.RefProcess, comm)}, heavy...),
		})
	}
	slices.SortFunc(out, func(a, b problem.Verdict) int { return strings.Compare(a.Subject, b.Subject) })
	return out
}

// fewZombies is how many matter nowhere: a parent may just be slow to wait.
const fewZombies = 10

// zombieShare is from which share of a limit on zombies are to blame that it is
// near: with fewer, it would be near without them, too.
const zombieShare = 0.25

// zombieRefs are whose limits on tasks the zombies in a cgroup take a good part of.
func zombieRefs(n *Node, count int, at string) (refs []problem.Ref) {
	heavy := func(limit uint64) bool { return float64(count) >= zombieShare*float64(limit) }
	for ; n.Cgroups != nil && len(at) > 1; at = path.Dir(at) {
		if limit, err := n.Cgroups.PIDsMax(at); err == nil && limit != cgroup.NoLimit && heavy(limit) {
			refs = appendNew(refs, n.Owners.OfCgroup(at).Refs()...)
		}
	}
	for _, file := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		if limit, err := readUint(n.Host, file); err == nil && heavy(limit) {
			refs = appendNew(refs, problem.NodeThreads)
		}
	}
	return refs
}

// nameUserHolders says where a user's threads are.
func (*Processes) nameUserHolders(ctx context.Context, n *Node, verdicts []problem.Verdict) {
	for i := range verdicts {
		v := &verdicts[i]
		if v.Kind != problem.UserProcessesNearLimit {
			continue
		}
		uid := strings.TrimPrefix(v.Subject, "uid ")
		// An error only means that fewer holders are known.
		all, _ := consumers(ctx, n, func(p process.Process) float64 {
			st, err := process.ReadStatus(n.Host, p.PID)
			if err != nil || strconv.FormatUint(uint64(st.UID), 10) != uid {
				return 0
			}
			return float64(p.Threads)
		})
		v.Holders = holders(n, all, "/", problem.Threads)
	}
}
