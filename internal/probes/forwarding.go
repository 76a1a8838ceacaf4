package probes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Forwarding watches the kernel's switches without which a node does not pass
// its pods' packets on: IP forwarding, and netfilter on bridges
// (Documentation/networking/ip-sysctl.rst).
type Forwarding struct{}

// NewForwarding is the probe. It has no thresholds.
func NewForwarding() *Forwarding { return &Forwarding{} }

// Name implements Probe.
func (*Forwarding) Name() string { return "forwarding" }

// Kinds implements Probe.
func (*Forwarding) Kinds() []problem.Kind {
	return []problem.Kind{problem.IPForwardingOff, problem.BridgeNetfilterOff}
}

// Run implements Probe.
func (*Forwarding) Run(_ context.Context, n *Node) (problem.Result, error) {
	pods, err := findPodNetwork(n)
	if err != nil {
		return problem.Result{}, err
	}
	if why := foreignNetwork(n.Host); why != "" {
		return problem.Result{}, errors.New(why)
	}
	routes, err := readDefaultRoutes(n.Host)
	if err != nil {
		return problem.Result{}, err
	}
	families := pods.families(routes)
	var r problem.Result
	for _, s := range forwardingSwitches() {
		if !families[s.family] || s.bridge && pods.bridge == "" {
			continue
		}
		value, err := s.read(n.Host)
		if err != nil {
			return r, err
		}
		r.Verdicts = append(r.Verdicts, evaluateSwitch(s, value, pods)...)
	}
	if pods.bridge == "" {
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: problem.BridgeNetfilterOff, State: problem.NotApplicable,
			Message: "no network plugin here is known to join pods to a bridge",
		})
	}
	return r, nil
}

// forwardingSwitch is a switch of the kernel that pods of a family need.
type forwardingSwitch struct {
	family string
	sysctl string // its name
	file   string
	bridge bool // only pods on a bridge need it
}

func forwardingSwitches() []forwardingSwitch {
	return []forwardingSwitch{
		{ipv4, "net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward", false},
		{ipv6, "net.ipv6.conf.all.forwarding", "/proc/sys/net/ipv6/conf/all/forwarding", false},
		{ipv4, "net.bridge.bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-iptables", true},
		{ipv6, "net.bridge.bridge-nf-call-ip6tables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables", true},
	}
}

// switchState is what a switch was found to be.
type switchState uint8

const (
	switchOn switchState = iota
	switchOff
	switchAbsent // the kernel does not have it, or its module is not loaded
)

func (s forwardingSwitch) read(h *host.Host) (switchState, error) {
	n, err := readUint(h, s.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return switchAbsent, nil
	case err != nil:
		return 0, err
	case n == 0:
		return switchOff, nil
	}
	return switchOn, nil
}

// evaluateSwitch judges a switch that the pods need.
func evaluateSwitch(s forwardingSwitch, state switchState, pods podNetwork) []problem.Verdict {
	if state == switchOn {
		return nil
	}
	v := problem.Verdict{
		Kind: problem.IPForwardingOff, Subject: s.family, State: problem.Wrong, Severity: problem.Critical,
		Message:  fmt.Sprintf("the node does not forward %s packets: %s is 0", s.family, s.sysctl),
		Evidence: []string{s.file + ": 0"},
		Touches:  []problem.Ref{problem.RefNode},
		Refused:  true,
	}
	if s.bridge {
		v.Kind, v.Severity = problem.BridgeNetfilterOff, problem.Warning
		v.Message = fmt.Sprintf("%s packets between pods on the node's bridge bypass iptables: %s is 0", s.family, s.sysctl)
	}
	if state == switchAbsent {
		if !s.bridge {
			return nil // the kernel has no IPv6, and so no pod can have an address of it
		}
		v.Message = fmt.Sprintf("%s packets between pods on the node's bridge bypass iptables: the module br_netfilter is not loaded", s.family)
		v.Evidence = []string{s.file + ": no such file"}
	}
	if pods.file != "" && s.bridge {
		v.Evidence = append(v.Evidence, pods.file+": plugin "+pods.bridge)
	}
	return []problem.Verdict{v}
}
