package export

// This file holds the messages that tell of a failure.

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

const (
	conntrackFull = "nf_conntrack: nf_conntrack: table full, dropping packet"
	mainExited    = "kubelet.service: Main process exited, code=exited, status=1/FAILURE"
)

func pleg(r *rand.Rand) string {
	return klog(r, 'E', "kubelet.go:2347", fmt.Sprintf("\"Skipping pod synchronization\" err=\"[PLEG is not healthy: pleg was last seen active %dm%ds ago; threshold is 3m0s]\"", 3+r.IntN(5), r.IntN(60)))
}

func execSync(r *rand.Rand) string {
	return klog(r, 'E', "remote_runtime.go:479", "\"ExecSync cmd from runtime service failed\" err=\"rpc error: code = DeadlineExceeded desc = context deadline exceeded\" containerID=\""+hash(r)+"\"")
}

func stopSandbox(r *rand.Rand) string {
	return "time=\"2026-11-22T01:02:03Z\" level=error msg=\"StopPodSandbox for \\\"" + hash(r) + "\\\" failed\" error=\"context deadline exceeded\""
}

func hungTask(r *rand.Rand) string {
	return fmt.Sprintf("INFO: task java:%d blocked for more than 120 seconds.", r.IntN(32768))
}

func allocation(r *rand.Rand) string {
	return fmt.Sprintf("kworker/u8:%d: page allocation failure: order:%d, mode:0x40cc0(GFP_KERNEL|__GFP_COMP), nodemask=(null),cpuset=/,mems_allowed=0", r.IntN(10), 3+r.IntN(3))
}

// failure is one of the node's failures, each as likely as the others.
func failure(r *rand.Rand) (voice, string) {
	byKubelet, byContainerd, byKernel := voices()
	switch r.IntN(5) {
	case 0:
		return byKubelet, pleg(r)
	case 1:
		return byContainerd, stopSandbox(r)
	case 2:
		return byKernel, conntrackFull
	case 3:
		return byKernel, hungTask(r)
	}
	return byKernel, allocation(r)
}

// tellsFailure reports whether a message tells of a failure of the node. That an
// exec probe ran into its time limit does not: it is a look-alike.
func tellsFailure(m string) bool {
	for _, s := range []string{"PLEG is not healthy", "StopPodSandbox", "table full", "blocked for more than", "page allocation failure", "Main process exited"} {
		if strings.Contains(m, s) {
			return true
		}
	}
	return false
}
