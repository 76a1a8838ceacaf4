package owner

// This file: from a cgroup or a process to its owner.

import (
	"strings"
	"sync"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cgroup"
)

// relist is how often at most the log folders are listed for a name that they did
// not have. One that is asked for the first time has them listed at once: a pod's
// folder is made before its first process, and what is told of the pod is to have
// its name from the beginning. A pod that is gone will never have one.
const relist = 10 * time.Second

// maxUnnamed bounds the memory of what has no name.
const maxUnnamed = 1000

// Resolver tells owners. It may be used by several goroutines at a time.
type Resolver struct {
	host *host.Host
	tree *cgroup.Tree

	mu     sync.Mutex
	names  names
	listed bool
	at     time.Duration // boot time of the last listing
	// unnamed are the uids of pods and the ids of containers that the last listing,
	// or one before it, did not have.
	unnamed map[string]bool
}

// NewResolver makes a resolver. Without a tree it still tells the owners of
// cgroups, whose paths come from elsewhere (log lines), but none of processes.
func NewResolver(h *host.Host, tree *cgroup.Tree) *Resolver {
	return &Resolver{host: h, tree: tree}
}

// OfPID is the owner of a process or thread. For one that is gone, or whose
// cgroup cannot be seen, it is the zero Owner.
func (r *Resolver) OfPID(pid int) Owner {
	if r.tree == nil {
		return Owner{}
	}
	path, err := r.tree.Place(pid)
	if err != nil {
		return Owner{}
	}
	return r.OfCgroup(path)
}

// OfCgroup is the owner of the cgroup at an absolute path, which need not exist
// any more.
func (r *Resolver) OfCgroup(path string) Owner {
	o := Owner{Cgroup: path}
	o.Unit, _ = cgroup.UnitOf(path)
	o.Unit = printable(o.Unit)
	o.PodUID, _ = cgroup.PodOf(path)
	o.ContainerID, _ = cgroup.ContainerOf(path)
	if o.PodUID == "" {
		o.UserID, _ = cgroup.UserOf(path)
		return o
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.name(&o) && r.refresh(o) {
		r.name(&o)
	}
	return o
}

// OfVolume is the pod for which kubelet mounted a volume, or a folder of one, at a
// point, wherever kubelet's own folder is: pods/UID/volumes/… below it. Not ok for
// other points.
func (r *Resolver) OfVolume(point string) (pod Owner, ok bool) {
	_, below, _ := strings.Cut(point, "/pods/")
	uid, rest, _ := strings.Cut(below, "/")
	if !strings.HasPrefix(rest, "volumes/") && !strings.HasPrefix(rest, "volume-subpaths/") {
		return Owner{}, false
	}
	return r.OfPod(uid), true
}

// OfPod is the pod of a uid or of namespace/name, with both where the log folders tell.
// The uid of a name that several folders have is left open.
func (r *Resolver) OfPod(id string) Owner {
	namespace, name, named := strings.Cut(id, "/")
	o := Owner{Namespace: namespace, Pod: name}
	find := func() (found bool) {
		for uid, p := range r.names.pods {
			if p.namespace != namespace || p.name != name {
				continue
			}
			if found {
				o.PodUID = ""
				return true
			}
			o.PodUID, found = uid, true
		}
		return found
	}
	if !named {
		o = Owner{PodUID: id}
		find = func() bool { return r.name(&o) }
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !find() && r.refresh(Owner{PodUID: id}) {
		find()
	}
	return o
}

// name fills in the names of a pod and its container, and reports whether both
// are known.
func (r *Resolver) name(o *Owner) bool {
	pod, ok := r.names.pods[o.PodUID]
	if !ok {
		return false
	}
	o.Namespace, o.Pod = pod.namespace, pod.name
	if o.ContainerID == "" {
		return true
	}
	c, ok := r.names.containers[o.ContainerID]
	// The id decides; that the pod agrees guards against a link left by another.
	if !ok || c.namespace != pod.namespace || c.pod != pod.name {
		return false
	}
	o.Container = c.container
	return true
}

// refresh lists the log folders again for the sake of an owner, unless it has done so
// for this one before, and just now for another.
func (r *Resolver) refresh(o Owner) bool {
	id := o.PodUID + "/" + o.ContainerID
	now := r.host.Clock.Boot()
	if r.listed && now-r.at < relist && r.unnamed[id] {
		return false
	}
	if r.unnamed == nil {
		r.unnamed = map[string]bool{}
	}
	for old := range r.unnamed {
		if len(r.unnamed) < maxUnnamed {
			break
		}
		delete(r.unnamed, old) // any: most of them are long gone
	}
	r.unnamed[id] = true
	r.names, r.listed, r.at = readNames(r.host), true, now
	return true
}
