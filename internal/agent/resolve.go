package agent

import (
	"slices"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// resolve says whom a claim is about: rules know only the words of a line, the
// node knows which pod or unit a cgroup belongs to.
func (a *Agent) resolve(c problem.Claim) problem.Claim {
	i := slices.IndexFunc(c.Touches, func(r problem.Ref) bool { return r.Type() == problem.RefCgroup })
	if i < 0 {
		return c
	}
	path := c.Touches[i].ID()
	if c.Kind == problem.ForkRefused && a.node.Cgroups != nil {
		// The kernel names the cgroup that forked; what was refused, was
		// refused by the one above it whose limit is reached. Level evidence
		// has that one as its subject, and so must the claim.
		if limiter, _, err := a.node.Cgroups.Limiter(path); err == nil {
			path = limiter
		}
	}
	o := a.node.Owners.OfCgroup(path)
	c.Subject, c.Scope = o.String(), o.Scope()
	for _, r := range o.Refs() {
		if !slices.Contains(c.Touches, r) {
			c.Touches = append(c.Touches, r)
		}
	}
	return c
}
