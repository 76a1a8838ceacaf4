// Package owner tells whose a cgroup or a process is: which pod's and
// container's, which unit's, which user's.
//
// This file is the answer; resolver.go finds it, and names.go gets the names of
// pods and containers from the names of kubelet's log folders, which needs
// neither the API server nor the container runtime.
package owner

import "github.com/nodevitals/nodevitals/internal/problem"

// Owner is whose a cgroup is. What is not known, or does not apply, is empty.
type Owner struct {
	PodUID         string
	Namespace, Pod string // empty while no log folder has told the pod's name
	Container      string // its name in the pod; empty for a pod's sandbox
	ContainerID    string // 64 hex digits
	Unit           string // systemd's
	UserID         string // numeric id of the user whose session it is
	Cgroup         string // absolute path in the host's hierarchy; empty if not even that is known
}

// String is how a person would call the owner, the narrowest that is known:
//
//	pod payments/worker-7c9 container app, pod payments/worker-7c9,
//	pod uid 5382cf41-…, container 0a1b2c3d4e5f, user 1000,
//	unit kubelet.service, cgroup /foo, node, unknown
func (o Owner) String() string {
	switch {
	case o.Pod != "" && o.Container != "":
		return "pod " + o.Namespace + "/" + o.Pod + " container " + o.Container
	case o.Pod != "":
		return "pod " + o.Namespace + "/" + o.Pod
	case o.PodUID != "":
		return "pod uid " + o.PodUID
	case o.ContainerID != "":
		return "container " + o.ContainerID[:min(12, len(o.ContainerID))]
	case o.UserID != "":
		return "user " + o.UserID
	case o.Unit != "":
		return "unit " + o.Unit
	case o.Cgroup == "/":
		return "node"
	case o.Cgroup != "":
		return "cgroup " + printable(o.Cgroup)
	}
	return "unknown"
}

// Refs are the references by which a problem of the owner is tied to others. A pod
// has both its name and its uid, since evidence may have either.
func (o Owner) Refs() []problem.Ref {
	var refs []problem.Ref
	if o.Pod != "" {
		refs = append(refs, problem.NewRef(problem.RefPod, o.Namespace+"/"+o.Pod))
	}
	if o.PodUID != "" {
		refs = append(refs, problem.NewRef(problem.RefPod, o.PodUID))
	}
	if refs == nil && o.Unit != "" {
		refs = append(refs, problem.NewRef(problem.RefUnit, o.Unit))
	}
	if o.UserID != "" {
		refs = append(refs, problem.NewRef(problem.RefUID, o.UserID))
	}
	if o.Cgroup != "" {
		refs = append(refs, problem.NewRef(problem.RefCgroup, o.Cgroup))
	}
	return refs
}

// Scope is whom a problem of the owner hurts: a pod or container only itself;
// all above the pods, and all that is not a pod's, the node.
func (o Owner) Scope() problem.Scope {
	if o.PodUID != "" {
		return problem.PodScope
	}
	return problem.NodeScope
}

// printable makes a cgroup's path, which a pod's process may have chosen, fit
// for a message: printable ASCII, and no more than 200 bytes of its end.
func printable(path string) string {
	const most = 200
	cut := ""
	if len(path) > most {
		path, cut = path[len(path)-most:], "…"
	}
	b := []byte(path)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return cut + string(b)
}
