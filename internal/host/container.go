package host

// This file tells whether the agent itself runs in a container.

import "os"

// initPIDNamespace is the first one's inode, the same on every Linux
// (PROC_PID_INIT_INO in include/linux/proc_ns.h).
const initPIDNamespace = "pid:[4026531836]"

// InContainer tells whether this process runs in a container, as far as that can be
// told: another root, kubelet's environment, or a process namespace of its own.
func (h *Host) InContainer() bool {
	if !h.Own() || os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return true
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && ns != initPIDNamespace
}
