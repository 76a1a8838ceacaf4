// Package cri asks the node's container runtime how it is, over its own socket:
// by the Container Runtime Interface (k8s.io/cri-api), or by Docker's API where
// kubelet still speaks that. It only reads.
//
// What answers may be anything: every call has a deadline, every answer is
// bounded in size, and a failure says which of the ways to fail it is.
//
// This file holds what the runtime can be asked, in the words of this package.
package cri

import "time"

// Version is who answers.
type Version struct {
	Runtime string // containerd, cri-o, docker
	Version string // its release
}

func (v Version) String() string {
	if v.Version == "" {
		return v.Runtime
	}
	return v.Runtime + " " + v.Version
}

// Condition is one of the two conditions that a runtime reports of itself.
type Condition struct {
	// Known: the runtime reports it at all.
	Known, True     bool
	Reason, Message string
}

// Status is how the runtime thinks it is doing.
type Status struct{ Runtime, Network Condition }

// Sandbox is the surroundings of a pod: its namespaces and its pause process.
type Sandbox struct {
	ID                   string
	Namespace, Name, UID string // the pod's
	Ready                bool
	Created              time.Time
}

// Container is one attempt to run one container of a pod.
type Container struct {
	ID, Sandbox string
	Name        string // in the pod
	Attempt     uint32 // how often it was started anew before
	Running     bool
	Created     time.Time
}

// Setup is how the runtime is set up, as far as it tells.
type Setup struct {
	CgroupDriver string // systemd, cgroupfs; empty: it does not say
	// Announced: the driver was told in the way that newer kubelets ask for, and
	// follow whatever their own configuration says.
	Announced bool
	// CNIConfDir and CNIBinDirs are folders of the host; empty: it does not say.
	CNIConfDir string
	CNIBinDirs []string
	// CNIError is what became of the last attempt to load the network
	// configuration, where that went wrong.
	CNIError string
	// Root is the folder in which it keeps images and containers.
	Root string
}
