package config

import "regexp"

// Kube says what is published to the API server, and how it is reached.
type Kube struct {
	// Publish: write NodeConditions. Events: and Events.
	Publish, Events bool
	// Kubeconfig is a file's path; empty for the service account of our pod.
	Kubeconfig string
	// NodeName is the name of our own Node; empty for $NODE_NAME, else the host's name.
	NodeName string
	// ImpersonateNode: come as the node itself.
	ImpersonateNode bool
	// Prefix stands in front of our conditions' types.
	Prefix string
	// NPDTypes: also publish node-problem-detector's types.
	NPDTypes bool
}

type kubernetes struct {
	// Publish: write NodeConditions to the API server, where there is one.
	Publish bool `yaml:"publish"`
	// Events: write Events, too.
	Events bool `yaml:"events"`
	// Kubeconfig is the file that says how to reach the API server, with a client
	// certificate, a token or a tokenFile; without it the service account of our pod
	// is used. One that runs a program to get its credentials is refused.
	Kubeconfig string `yaml:"kubeconfig"`
	// NodeName is the name of this machine's Node; without it $NODE_NAME, else the
	// host's name.
	NodeName string `yaml:"nodeName"`
	// ImpersonateNode: come to the API server as the node itself, which a cluster can
	// restrict to the node that our pod runs on (constrained impersonation).
	ImpersonateNode bool `yaml:"impersonateNode"`
}

func (k Kube) document() kubernetes {
	return kubernetes{k.Publish, k.Events, k.Kubeconfig, k.NodeName, k.ImpersonateNode}
}

func (d kubernetes) apply(c conditions) Kube {
	return Kube{
		Publish: d.Publish, Events: d.Events, Kubeconfig: d.Kubeconfig, NodeName: d.NodeName,
		ImpersonateNode: d.ImpersonateNode, Prefix: c.Prefix, NPDTypes: c.NPDTypes,
	}
}

// The API takes any text for a condition's type; consumers do not. A domain and
// a slash, or letters: "Vitals", "example.com/", "example.com/Vitals". (A pattern that
// counts to 200 takes 200 kB for as long as the program lives.)
var conditionPrefix = regexp.MustCompile(`^(?:([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)/)?([A-Z][A-Za-z0-9]*)?$`)

func validPrefix(s string) bool {
	part := conditionPrefix.FindStringSubmatch(s)
	return part != nil && len(part[1]) <= 202 && len(part[2]) <= 61
}

var nodeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// ValidNodeName reports whether s can be a Node's name: a DNS subdomain (RFC 1123).
func ValidNodeName(s string) bool { return len(s) <= 253 && nodeName.MatchString(s) }

func (k Kube) check() []mistake {
	var bad []mistake
	if !validPrefix(k.Prefix) {
		bad = append(bad, mistake{[]string{"conditions", "prefix"}, "is neither letters that begin with a capital, nor a domain with a slash"})
	}
	if k.NodeName != "" && !ValidNodeName(k.NodeName) {
		bad = append(bad, mistake{[]string{"kubernetes", "nodeName"}, "is no name of a Node (lower case letters, digits, dots, hyphens)"})
	}
	return bad
}
