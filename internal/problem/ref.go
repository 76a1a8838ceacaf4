package problem

import "strings"

// Ref is a typed reference, "type:id", that ties a cause to its effect: two
// problems that touch the same mount, or a cgroup and one of its ancestors.
type Ref string

// The types of references.
const (
	RefCgroup  = "cgroup"  // absolute path in the host's hierarchy
	RefPod     = "pod"     // namespace/name, and uid, as far as they are known
	RefUnit    = "unit"    // systemd unit
	RefUID     = "uid"     // numeric user id
	RefMount   = "mount"   // mount point in the host's mount namespace
	RefDevice  = "device"  // block device as the kernel names it: sda1, or major:minor
	RefServer  = "server"  // network file server
	RefProcess = "process" // comm of a daemon: kubelet, containerd
	RefLink    = "link"    // network interface
	RefNetns   = "netns"   // inode of a network namespace
	RefLimit   = "limit"   // a limit of the whole node: threads
	RefPID     = "pid"     // a task that a line names, until it is known whose that is
)

// RefNode touches the node as a whole: a cause that touches it can explain
// every effect that the catalogue allows it.
const RefNode Ref = "node"

// NodeThreads is the node's limit on threads: the lower of pid_max and threads-max.
const NodeThreads Ref = RefLimit + ":threads"

// NewRef makes a reference.
func NewRef(typ, id string) Ref { return Ref(typ + ":" + id) }

// Type is the part before the colon.
func (r Ref) Type() string {
	t, _, _ := strings.Cut(string(r), ":")
	return t
}

// ID is the part after the colon.
func (r Ref) ID() string {
	_, id, _ := strings.Cut(string(r), ":")
	return id
}

// Reaches reports whether what happens at cause can be felt at effect: they
// are the same, or cause is a cgroup above effect, since a cgroup's limit binds
// all of its descendants and none of its ancestors.
func Reaches(cause, effect Ref) bool {
	if cause == effect || cause == RefNode {
		return true
	}
	if cause.Type() != RefCgroup || effect.Type() != RefCgroup {
		return false
	}
	c, e := cause.ID(), effect.ID()
	return c == "/" || strings.HasPrefix(e, c+"/")
}

// AnyReaches reports whether one of causes reaches one of effects.
func AnyReaches(causes, effects []Ref) bool {
	for _, c := range causes {
		if c == RefNode {
			return true
		}
		for _, e := range effects {
			if Reaches(c, e) {
				return true
			}
		}
	}
	return false
}
