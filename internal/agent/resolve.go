package agent

import (
	"slices"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/host/owner"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// mountsFor is how long a mount table is good for naming what a line is about: a
// storm of lines must not read it a thousand times.
const mountsFor = 10 * time.Second

// resolver says whom a claim is about: rules know only the words of a line, the
// node knows which pod or unit a cgroup belongs to and where a device is mounted.
// A claim must have the subject that level evidence has for the same failure, so
// that the two become one problem. It belongs to one goroutine.
type resolver struct {
	node  *probes.Node
	table mounts.Table
	read  time.Duration // when; 0: never
}

func (r *resolver) resolve(c problem.Claim) problem.Claim {
	if path, ok := refOf(c.Touches, problem.RefCgroup); ok {
		c = r.ofCgroup(c, path)
	}
	if device, ok := refOf(c.Touches, problem.RefDevice); ok {
		c = r.ofDevice(c, device)
	}
	return c
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
	c.Subject, c.Scope = o.String(), o.Scope()
	return touch(c, o.Refs()...)
}

// ofDevice ties a device to where it is mounted.
func (r *resolver) ofDevice(c problem.Claim, device string) problem.Claim {
	if now := r.node.Host.Clock.Boot(); r.read == 0 || now-r.read > mountsFor {
		// Of a table with a bad line the rest still helps; without any, claims keep
		// their device.
		r.table, _ = mounts.Read(r.node.Host)
		r.read = now
	}
	for _, m := range r.table.Mounts {
		if m.Source != "/dev/"+device {
			continue
		}
		if c.Kind == problem.ReadonlyFilesystem && (c.Subject == "" || c.Subject == device) {
			c.Subject = m.Point // as the probe calls it
		}
		return touch(c, problem.NewRef(problem.RefMount, m.Point))
	}
	return c
}

func touch(c problem.Claim, refs ...problem.Ref) problem.Claim {
	for _, r := range refs {
		if !slices.Contains(c.Touches, r) {
			c.Touches = append(c.Touches, r)
		}
	}
	return c
}
