package agent

import (
	"slices"
	"strconv"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/host/owner"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// resolver says whom a claim is about: rules know only the words of a line, the
// node knows which pod or unit a cgroup belongs to and where a device is mounted.
// A claim must have the subject that level evidence has for the same failure, so
// that the two become one problem. It belongs to one goroutine.
type resolver struct {
	node   *probes.Node
	table  mounts.Table
	read   time.Duration       // when; 0: never
	stacks map[string][]string // what lies on a device, as long as the table is good
	netns  map[string]namespace
	kernel string // its release; empty: not read yet
	// limitOOM is the boot time of the last line of an OOM kill that names a limit; 0: none.
	limitOOM time.Duration
}

func (r *resolver) resolve(c problem.Claim) problem.Claim {
	if path, ok := refOf(c.Touches, problem.RefCgroup); ok {
		c = r.ofCgroup(c, path)
	} else if c.Kind == problem.ForkRefused {
		c = r.ofProgram(c)
	}
	if pod, ok := refOf(c.Touches, problem.RefPod); ok {
		c = r.ofPod(c, pod)
	}
	if pid, ok := refOf(c.Touches, problem.RefPID); ok {
		c = r.ofTask(c, pid)
	}
	if c.Kind == problem.EvictionImminent {
		c.Subject = signalOf(c.Subject)
	}
	if device, ok := refOf(c.Touches, problem.RefDevice); ok {
		c = r.ofDevice(c, device)
	}
	if c.Kind == problem.NoSpaceLeft {
		c = r.ofPath(c)
	}
	if netns, ok := refOf(c.Touches, problem.RefNetns); ok {
		c = r.ofNetns(c, netns)
	}
	switch c.Kind {
	case problem.FilesystemCorruption, problem.HardwareError, problem.TaskHung:
		// Of damage only ext4 tells elsewhere, of hardware only the memory's driver, and
		// not of all; of a task that waits no longer than the kernel allows, nothing.
		// Where a probe does see it come, it is believed when it sees it go.
		c.LogOnly = true
	}
	return c
}

// ofPod adds to a pod's name its uid, or the reverse, since it takes both for an Event
// that kubectl describe pod shows.
func (r *resolver) ofPod(c problem.Claim, pod string) problem.Claim {
	o := r.node.Owners.OfPod(pod)
	if c.Subject == "pod uid "+pod {
		c.Subject = o.String() // as the probes call it
	}
	return touch(c, o.Refs()...)
}

func refOf(refs []problem.Ref, typ string) (id string, ok bool) {
	i := slices.IndexFunc(refs, func(r problem.Ref) bool { return r.Type() == typ })
	if i < 0 {
		return "", false
	}
	return refs[i].ID(), true
}

func (r *resolver) ofCgroup(c problem.Claim, path string) problem.Claim {
	if c.Kind == problem.ForkRefused && r.node.Cgroups != nil {
		// The kernel names the cgroup that forked; what was refused, was refused by
		// the one above it whose limit is reached. If it is gone, so may be the
		// limit, and what is left above it did not do it.
		if _, err := r.node.Cgroups.PIDsCurrent(path); err == nil {
			if limiter, _, err := r.node.Cgroups.Limiter(path); err == nil {
				path = limiter
			}
		}
	}
	o := r.node.Owners.OfCgroup(path)
	if c.Kind == problem.ContainerOOM && o.PodUID != "" {
		// A limited pod reaches its own cgroup's limit first, and keeps the count
		// when the container is gone.
		o = owner.Owner{PodUID: o.PodUID, Namespace: o.Namespace, Pod: o.Pod, Cgroup: o.Cgroup}
	}
	for _, ref := range c.Touches {
		if ref.Type() == problem.RefCgroup { // that of the limit, and that of the one it hit
			c = touch(c, r.node.Owners.OfCgroup(ref.ID()).Refs()...)
		}
	}
	c.Subject, c.Scope = o.String(), o.Scope()
	return touch(c, o.Refs()...)
}

// ofProgram is about a fork that failed, of which a program says no more than the
// error. Is its unit at a pids limit now, then it was that. Else it may have been
// the user's limit or the node's: neither has a counter of refusals.
func (r *resolver) ofProgram(c problem.Claim) problem.Claim {
	c.LogOnly = true
	unit, ok := refOf(c.Touches, problem.RefUnit)
	if !ok || r.node.Cgroups == nil {
		return c
	}
	limiter, p, err := r.node.Cgroups.Limiter("/system.slice/" + unit)
	if err != nil || !p.Full() {
		return c
	}
	o := r.node.Owners.OfCgroup(limiter)
	c.Subject, c.Scope, c.LogOnly = o.String(), o.Scope(), false // as the probe calls it
	return touch(c, o.Refs()...)
}

// ofTask ties a claim to whose the task is that the line names by its number.
func (r *resolver) ofTask(c problem.Claim, pid string) problem.Claim {
	c.Touches = slices.DeleteFunc(slices.Clone(c.Touches), func(t problem.Ref) bool { return t.Type() == problem.RefPID })
	number, err := strconv.Atoi(pid)
	if err != nil {
		return c
	}
	if o := r.node.Owners.OfPID(number); o.Cgroup != "/" { // where the kernel's own are
		c = touch(c, o.Refs()...)
	}
	if c.Kind == problem.TaskHung {
		c = touch(c, probes.AwaitedDevices(r.node.Host, "/proc/"+pid)...)
	}
	return c
}

// signalOf is the signal of kubelet's eviction manager that its log calls by the
// resource that must be reclaimed (pkg/kubelet/eviction/helpers.go). Of the signals
// that share one, the node's own is taken.
func signalOf(resource string) string {
	switch resource {
	case "memory":
		return "memory.available"
	case "pids":
		return "pid.available"
	case "ephemeral-storage", "nodefs":
		return "nodefs.available"
	case "inodes", "nodefsInodes":
		return "nodefs.inodesFree"
	case "imagefs":
		return "imagefs.available"
	case "imagefsInodes":
		return "imagefs.inodesFree"
	}
	return resource
}

// repeatsOOM reports whether a claim is of a line that only says who was killed, after
// one that said whose limit it was (mm/oom_kill.c). With memory.oom.group there are
// many; other kills have a line of their own, but for those of a storm.
func (r *resolver) repeatsOOM(at time.Duration, c problem.Claim) bool {
	const soon = 5 * time.Second // the kernel's rate limit of the first line counts anew then
	if _, limit := refOf(c.Touches, problem.RefCgroup); limit && (c.Kind == problem.ContainerOOM || c.Kind == problem.NodeAllocatableOOM) {
		r.limitOOM = at
		return false
	}
	return c.Kind == problem.ContainerOOM && r.limitOOM != 0 && at >= r.limitOOM && at-r.limitOOM <= soon
}

func touch(c problem.Claim, refs ...problem.Ref) problem.Claim {
	for _, r := range refs {
		if !slices.Contains(c.Touches, r) {
			c.Touches = append(c.Touches, r)
		}
	}
	return c
}
