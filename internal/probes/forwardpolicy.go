package probes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/netfilter"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// ForwardPolicy watches for a packet filter that drops what it forwards unless a
// rule accepts it, while no rule accepts what pods send.
type ForwardPolicy struct {
	Thresholds ForwardPolicyThresholds
	dropped    map[string]policyDrops // by family, table and chain
}

// ForwardPolicyThresholds are the thresholds of ForwardPolicy.
type ForwardPolicyThresholds struct {
	// Hold is how long a policy that dropped a packet is told.
	Hold time.Duration `yaml:"hold"`
}

// policyDrops is what a policy has dropped, and when that last rose.
type policyDrops struct {
	packets uint64
	rose    time.Duration // since boot
	severe  bool          // the rise was seen, and not only found
}

// NewForwardPolicy is the probe with its default thresholds.
func NewForwardPolicy() *ForwardPolicy {
	return &ForwardPolicy{Thresholds: ForwardPolicyThresholds{
		// A container that fails for want of network is started again after at most
		// 5 minutes (kubelet's CrashLoopBackOff).
		Hold: 5 * time.Minute,
	}}
}

// Name implements Probe.
func (*ForwardPolicy) Name() string { return "forwardpolicy" }

// Kinds implements Probe.
func (*ForwardPolicy) Kinds() []problem.Kind { return []problem.Kind{problem.ForwardPolicyDrop} }

// Run implements Probe.
func (p *ForwardPolicy) Run(_ context.Context, n *Node) (problem.Result, error) {
	pods, err := findPodNetwork(n)
	if err != nil {
		return problem.Result{}, err
	}
	switch why := foreignNetwork(n.Host); {
	case why != "":
		return problem.Result{}, errors.New(why)
	case !liveProc(n.Host):
		return problem.Result{}, problem.NotApplicablef("a recording has no packet filter")
	}
	routes, err := readDefaultRoutes(n.Host)
	if err != nil {
		return problem.Result{}, err
	}
	dropped := map[string]policyDrops{}
	var traffic *podTraffic // found out when it is needed
	var r problem.Result
	for family := range pods.families(routes) {
		chains, err := forwardChains(n.Host, family)
		if err != nil {
			return problem.Result{}, fmt.Errorf("the packet filter's rules for %s cannot be read: %w", family, err)
		}
		for _, f := range chains {
			if !f.Drop {
				continue
			}
			if traffic == nil {
				if traffic, err = findPodTraffic(pods, routes); err != nil {
					return problem.Result{}, err
				}
			}
			covered, err := traffic.accepted(f)
			if err != nil {
				return problem.Result{}, err
			}
			key := family + " " + f.Table + " " + f.Chain
			prev, seen := p.dropped[key]
			dropped[key] = nextDrops(prev, seen, f.Dropped, n.Host.Clock.Boot())
			v := evaluateForward(family, f, covered, dropped[key], n.Host.Clock.Boot(), pods, p.Thresholds)
			if len(r.Verdicts) == 0 || r.Verdicts[0].Subject != family {
				r.Verdicts = append(v, r.Verdicts...) // one chain is enough to tell of
			}
		}
	}
	p.dropped = dropped
	return r, nil
}

// forwardChains are the chains that forwarded packets of a family pass.
func forwardChains(h *host.Host, family string) ([]netfilter.Forward, error) {
	number := unix.AF_INET
	if family == ipv6 {
		number = unix.AF_INET6
	}
	legacy, err := netfilter.Legacy(h, number)
	if err != nil {
		return nil, err
	}
	nft, err := netfilter.Nftables(h, number)
	return append(legacy, nft...), err
}

// nextDrops notes a look at a policy's counter. What it dropped before the first
// look may be long ago, or just now.
func nextDrops(prev policyDrops, seen bool, packets *uint64, now time.Duration) policyDrops {
	next := prev
	if packets == nil {
		return next
	}
	next.packets = *packets
	switch {
	case !seen && next.packets > 0:
		next.rose = now
	case seen && risen(prev.packets, next.packets) > 0:
		next.rose, next.severe = now, true
	}
	return next
}

// evaluateForward judges a chain whose policy is to drop.
func evaluateForward(family string, f netfilter.Forward, covered bool, d policyDrops, now time.Duration, pods podNetwork, th ForwardPolicyThresholds) []problem.Verdict {
	if covered {
		return nil
	}
	where := fmt.Sprintf("the chain %s of %s", f.Chain, f.Table)
	v := problem.Verdict{
		Kind: problem.ForwardPolicyDrop, Subject: family, State: problem.Wrong, Severity: problem.Warning,
		Touches: []problem.Ref{problem.RefNode},
	}
	switch {
	case f.Dropped == nil:
		v.Message = fmt.Sprintf("%s drops by policy what it forwards, and no rule accepts the pods' %s traffic; it does not count what it drops", where, family)
		v.Evidence = []string{where + ": policy drop, no counter"}
	case d.rose == 0 || now-d.rose > th.Hold:
		return nil // nothing comes by: pods' packets take another way, as with eBPF
	default:
		v.Message = fmt.Sprintf("%s drops forwarded packets by policy, and no rule accepts the pods' %s traffic", where, family)
		v.Evidence = []string{fmt.Sprintf("%s: policy drop, %d packets dropped", where, *f.Dropped)}
		if d.severe {
			v.Severity, v.Refused = problem.Critical, true
		}
	}
	whose := "pods (their range is not known)"
	if len(pods.ranges) > 0 {
		whose = strings.Trim(fmt.Sprint(pods.ranges), "[]")
	}
	v.Evidence = append(v.Evidence, "no rule that it leads to accepts a new connection of "+whose)
	return []problem.Verdict{v}
}
