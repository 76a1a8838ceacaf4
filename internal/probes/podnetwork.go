package probes

import (
	"errors"
	"net/netip"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cni"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file finds out how this node's pods are connected: from which ranges
// their addresses are, and whether they sit on a bridge.

// podNetwork is how the node's pods are connected.
type podNetwork struct {
	ranges []netip.Prefix // of pods' addresses; empty where the node's files do not tell
	bridge string         // the plugin that joins the pods to a bridge; empty if none does
	file   string         // the network configuration that tells; empty without one
}

// findPodNetwork reads the configuration of the network plugin. A node without a
// kubelet has no pods to connect: not applicable. The cgroup of pods alone, which a
// kubelet of the past may have left, does not make one.
func findPodNetwork(n *Node) (podNetwork, error) {
	s, err := kubelet.Read(n.Host)
	if !s.Found && !hasKubepods(n) {
		if err != nil {
			return podNetwork{}, err
		}
		return podNetwork{}, problem.NotApplicablef("no kubelet is set up on this node")
	}
	// A kubelet whose settings cannot be understood has pods all the same.
	c, err := cni.Load(n.Host, cni.Usual(n.Host, s.Distribution, s.DataDir))
	if errors.Is(err, cni.ErrNoConfig) && !s.Found {
		return podNetwork{}, problem.NotApplicablef("no kubelet is found on this node, and no network for pods")
	} else if errors.Is(err, cni.ErrNoConfig) {
		return podNetwork{}, nil // not written yet, or elsewhere
	} else if err != nil {
		return podNetwork{}, err
	}
	p := podNetwork{file: c.File}
	for _, plugin := range c.Network.Plugins {
		switch plugin.Type {
		case "bridge", "flannel", "weave-net", "kubenet":
			p.bridge = plugin.Type
		}
	}
	p.ranges = hostLocalRanges(n.Host, c.Network)
	return p, nil
}

// hostLocalRanges are the node's pods' addresses, where the plugin host-local
// gives them out; flannel has it do so.
func hostLocalRanges(h *host.Host, network cni.Network) []netip.Prefix {
	pool, err := cni.PoolOf(h, network)
	if err != nil {
		return nil // another plugin's, which keeps them to itself
	}
	var ranges []netip.Prefix
	for _, set := range pool.Sets {
		for _, r := range set {
			ranges = append(ranges, r.Subnet)
		}
	}
	return ranges
}

// hasKubepods reports whether there is the cgroup of pods with somebody in it, as
// kubelet names it with either driver.
func hasKubepods(n *Node) bool {
	if n.Cgroups == nil {
		return false
	}
	slice, folder := kubepodsPaths("/")
	for _, path := range []string{slice, folder} {
		if alive, err := n.Cgroups.Populated(path); err == nil && alive {
			return true
		}
	}
	return false
}

// families are those of the pods' addresses. Where the ranges are not known it is
// the one that the node itself goes out by, and IPv4 if it goes out by both.
func (p podNetwork) families(routes []defaultRoute) map[string]bool {
	families := map[string]bool{}
	for _, r := range p.ranges {
		families[familyOf(r.Addr())] = true
	}
	for _, family := range []string{ipv4, ipv6} {
		for _, r := range routes {
			if len(families) == 0 && r.family == family {
				families[family] = true
			}
		}
	}
	return families
}
