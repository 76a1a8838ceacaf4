package limits

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// passes waits until the pod's datagrams reach the world: links that were set up
// just now take a moment.
func passes(t *testing.T, h *helper) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); h.say("send 5") != "5"; {
		if time.Now().After(deadline) {
			t.Fatal("the pod's datagrams do not arrive")
		}
	}
}

// dropped checks that none of five does.
func dropped(t *testing.T, h *helper) {
	t.Helper()
	if got := h.say("send 5"); got != "0" {
		t.Fatalf("%s of 5 datagrams arrived, want none", got)
	}
}

// TestIPForwarding switches a node's forwarding off and on.
func TestIPForwarding(t *testing.T) {
	h := startNetworked(t)
	h.say("sysctl ipv4/ip_forward 1")
	passes(t, h)
	silent(t, lookInside(t, h, "forwarding"), problem.IPForwardingOff, "IPv4")

	h.say("sysctl ipv4/ip_forward 0")
	dropped(t, h)
	r := lookInside(t, h, "forwarding")
	if v := wrong(r, problem.IPForwardingOff, "IPv4"); v == nil || v.Severity != problem.Critical {
		t.Errorf("forwarding is off: %+v", r.Verdicts)
	}
	silent(t, r, problem.IPForwardingOff, "IPv6") // no pod has an address of it

	h.say("sysctl ipv4/ip_forward 1")
	silent(t, lookInside(t, h, "forwarding"), problem.IPForwardingOff, "IPv4")
}

// TestBridgeNetfilter switches iptables on bridges off and on.
func TestBridgeNetfilter(t *testing.T) {
	h := startNetworked(t)
	h.say("sysctl bridge/bridge-nf-call-iptables 1")
	silent(t, lookInside(t, h, "forwarding"), problem.BridgeNetfilterOff, "IPv4")
	h.say("sysctl bridge/bridge-nf-call-iptables 0")
	if r := lookInside(t, h, "forwarding"); wrong(r, problem.BridgeNetfilterOff, "IPv4") == nil {
		t.Errorf("it is off: %+v", r.Verdicts)
	}
}

// TestForwardPolicy has a policy drop a pod's packets, by both kinds of iptables.
func TestForwardPolicy(t *testing.T) {
	for _, iptables := range []string{"iptables-legacy", "iptables-nft"} {
		t.Run(iptables, func(t *testing.T) {
			h := startNetworked(t)
			do := func(words string) {
				t.Helper()
				if answer := h.say("run " + iptables + " " + words); answer != "" {
					t.Skipf("SKIPPED: %s %s: %s", iptables, words, answer)
				}
			}
			look := func() *problem.Verdict {
				t.Helper()
				return wrong(lookInside(t, h, "forwardpolicy"), problem.ForwardPolicyDrop, "IPv4")
			}
			h.say("sysctl ipv4/ip_forward 1")
			do("-P FORWARD ACCEPT")
			passes(t, h)
			if v := look(); v != nil {
				t.Fatalf("the policy is to accept: %+v", v)
			}

			// docker drops by policy, and accepts what its own containers send; kube-proxy
			// accepts its marked packets and answers.
			do("-P FORWARD DROP")
			do("-A FORWARD -i docker0 ! -o docker0 -j ACCEPT")
			do("-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
			do("-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT")
			if v := look(); v != nil {
				t.Fatalf("nothing was dropped: %+v", v)
			}
			dropped(t, h)
			v := look()
			if v == nil || v.Severity != problem.Critical || !v.Refused {
				t.Fatalf("five packets were dropped: %+v", v)
			}
			if !slices.ContainsFunc(v.Evidence, func(e string) bool { return strings.Contains(e, "policy drop, 5 packets dropped") }) {
				t.Errorf("evidence %q", v.Evidence)
			}
			if v := look(); v == nil {
				t.Error("a pod that waits a while before it tries again is forgotten")
			}

			// The look-alike: the network plugin accepts the pods' range. What is dropped
			// now is others', and the counter goes on rising.
			do("-N PLUGIN")
			do("-A FORWARD -j PLUGIN")
			do("-A PLUGIN -s 10.244.0.0/16 -j ACCEPT")
			passes(t, h)
			if v := look(); v != nil {
				t.Errorf("pods' packets are accepted: %+v", v)
			}
		})
	}
}

// TestForwardPolicyWithoutCounter: a chain of nftables' own does not count.
func TestForwardPolicyWithoutCounter(t *testing.T) {
	h := startNetworked(t)
	h.say("sysctl ipv4/ip_forward 1")
	h.say("firewall accept")
	passes(t, h)
	silent(t, lookInside(t, h, "forwardpolicy"), problem.ForwardPolicyDrop, "IPv4")
	h.say("firewall none")

	h.say("firewall drop")
	dropped(t, h)
	r := lookInside(t, h, "forwardpolicy")
	if v := wrong(r, problem.ForwardPolicyDrop, "IPv4"); v == nil || v.Severity != problem.Warning {
		t.Errorf("no rule accepts anything: %+v", r.Verdicts)
	}
	h.say("firewall none")
	passes(t, h)
	silent(t, lookInside(t, h, "forwardpolicy"), problem.ForwardPolicyDrop, "IPv4")
}
