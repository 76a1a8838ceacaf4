package rules

// This file assembles the rules that ship with nodevitals, one literal a group
// of failures. To add one, add a literal to the group's file and its lines to
// testdata; everything else reads the list.

import "slices"

// Builtin are the rules that ship with nodevitals. Of several rules of one kind
// the first that matches a line is taken, so the more telling stand first.
func Builtin() []Rule {
	return slices.Concat(
		processRules(),
		diskRules(),
		storageRules(),
		limitRules(),
		memoryRules(),
		kernelRules(),
		kubeletRules(),
		runtimeRules(),
		podRules(),
		networkRules(),
		clockRules(),
	)
}

// Pieces of patterns.
const (
	// quote is a quotation mark, escaped as often as nested errors escape it.
	quote = `\\*"`
	// deadline is how the runtime's API and docker's say that time was up.
	deadline = `(?:DeadlineExceeded|[Cc]ontext deadline exceeded|[Oo]peration timeout)`
	// runtimeSocket is the API socket of a container runtime.
	runtimeSocket = `(?:containerd|docker|dockershim|crio|cri-dockerd)\.sock`
	// kubeletUnits are the units that are kubelet or contain it.
	kubeletUnits = `(?:kubelet|k3s(?:-agent|-server)?|rke2-(?:agent|server)|k0s(?:worker|controller)` +
		`|snap\.microk8s\.daemon-kube(?:lite|let)|snap\.kubelet(?:-eks)?\.daemon|snap\.k8s\.kubelet)\.service`
	// runtimeUnits are the units of container runtimes.
	runtimeUnits = `(?:containerd|docker|crio|cri-docker|snap\.microk8s\.daemon-containerd|snap\.docker\.dockerd)\.service`
	// klogFatal begins a line of klog's severity F, after which the program ends.
	klogFatal = `^F\d{4} \d\d:`
	// device is a block device as the kernel names it.
	device = `[a-zA-Z][\w.!-]*`
)
