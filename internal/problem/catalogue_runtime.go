package problem

import "time"

// This file holds the failures of the container runtime: its daemon, its calls,
// its shims and what it leaves behind.

// Kinds of the condition ContainerRuntimeUnhealthy.
const (
	RuntimeDown             Kind = "RuntimeDown"
	RuntimeNotAnswering     Kind = "RuntimeNotAnswering"
	RuntimeDeadlineExceeded Kind = "RuntimeDeadlineExceeded"
	FrequentRuntimeRestart  Kind = "FrequentRuntimeRestart"
	ShimFailure             Kind = "ShimFailure"
	ContainerNotStopping    Kind = "ContainerNotStopping"
	SandboxNameConflict     Kind = "SandboxNameConflict"
	RuntimeBinaryMismatch   Kind = "RuntimeBinaryMismatch"
)

// runtimeLog shows the runtime's newest lines, whichever it is.
const runtimeLog = "journalctl -u containerd -u docker -u crio -u 'k3s*' --since=-1h"

func runtimeKinds() []Definition {
	return []Definition{
		{
			Kind: RuntimeDown, Condition: ContainerRuntimeUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Warn: Persist{Runs: 3}, Crit: Persist{Runs: 3},
			// A few refused connections are normal while it restarts.
			Logs: Count{N: 3, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: RuntimeNotAnswering}, // kubelet calls one down whose answers do not come
				{Kind: NoSpaceLeft},
				{Kind: ReadonlyFilesystem},
				{Kind: NodeOOM, Touching: runtimeTasks()}, // it was the victim
			},
			Summary: "The container runtime is not running, or refuses connections.",
			Meaning: "Running containers go on under their shims, but none can be started, stopped or probed by exec; " +
				"kubelet reports the node as NotReady.",
			Evidence: []string{
				"systemctl status containerd docker crio",
				runtimeLog + " -n 50",
				"crictl version",
			},
			LookAlike: "kubelet's lines at its start about a runtime that is not installed (crio or rkt factory " +
				"registration), and a planned restart.",
			Remedy: "The last lines before it ended say why: disk full, damaged database, bad configuration, killed for " +
				"memory. Mend that and start the unit; containers survive its restart (docker: with live-restore).",
			Next: runtimeLog + " -n 50",
		},
		{
			Kind: RuntimeNotAnswering, Condition: ContainerRuntimeUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{Runs: 3}, Crit: Persist{Runs: 3},
			Resources: []string{"runtime_answer"},
			Causes:    runtimeSlowCauses(),
			Summary:   "The container runtime accepts connections but does not answer calls in time.",
			Meaning: "kubelet waits for it in every loop: pods are neither started nor stopped, PLEG becomes unhealthy " +
				"after three minutes, and the node NotReady.",
			Evidence: []string{
				"time crictl --timeout 10s version",
				"time crictl --timeout 10s pods -q | wc -l",
				"ps -eLo state=,tid=,wchan:32=,comm= | grep -E '^D.*(containerd|dockerd|crio)'",
			},
			LookAlike: "A runtime that is down refuses at once: that is RuntimeDown. A single slow answer while images are " +
				"unpacked.",
			Remedy: "See what its threads wait for: a hung mount, the disk, a limit of its cgroup. Mend that. If nothing " +
				"is found, send it SIGUSR1 for a dump of its goroutines (containerd, docker), then restart it.",
			Next: "ps -eLo state=,tid=,wchan:32=,comm= | grep -E 'containerd|dockerd|crio|runc'",
		},
		{
			Kind: RuntimeDeadlineExceeded, Condition: ContainerRuntimeUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Log,
			Logs: Count{N: 5, Within: 5 * time.Minute},
			// CNIFailure is tied by the pod whose sandbox it is: calls that list or
			// ask for a status name no pod and so are not explained by it.
			Causes:  append(append([]Edge{{Kind: RuntimeNotAnswering}}, runtimeSlowCauses()...), Edge{Kind: CNIFailure}),
			Summary: "Calls of kubelet to the container runtime run into their deadline.",
			Meaning: "Pods stay in ContainerCreating or Terminating. If the calls that list containers are among them, " +
				"PLEG becomes unhealthy and the node NotReady.",
			Evidence: []string{
				"journalctl --since=-1h -g 'DeadlineExceeded|operation timeout'",
				runtimeLog + " -n 50",
				"time crictl --timeout 60s ps -aq | wc -l",
			},
			LookAlike: "Deadlines of ExecSync (a slow probe of the user's), PullImage, volumes and CSI, leases, etcd, and of " +
				"applications that log the same words.",
			Remedy: "Note which call it is. RunPodSandbox and StopPodSandbox: look at the network plugin. StopContainer " +
				"and RemoveContainer: processes that cannot be killed, hung mounts. All of them: the disk, or the " +
				"runtime itself.",
			Next: "journalctl --since=-1h -n 5 -g 'DeadlineExceeded'",
		},
		{
			Kind: FrequentRuntimeRestart, Condition: ContainerRuntimeUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Confirm:   true, // who restarts it on purpose makes the same lines
			Logs:      Count{N: 5, Within: 20 * time.Minute},
			Resources: []string{"runtime_restarts"},
			Summary:   "The container runtime was restarted five times or more in 20 minutes.",
			Meaning: "Each restart breaks the calls that were under way: exec sessions, pulls, starts. Under docker " +
				"without live-restore every container ends with it.",
			Evidence: []string{
				"systemctl show -p Id,NRestarts,ExecMainStatus,Result containerd docker crio",
				"journalctl --since=-1h -g 'Main process exited|panic:|fatal error'",
			},
			LookAlike: "A package upgrade or a configuration tool that restarts it on purpose.",
			Remedy: "Read what it wrote last before each end (panic, out of memory, database error, failed to create new " +
				"OS thread). A watchdog script that restarts it on a slow answer makes things worse: remove it.",
			Next: runtimeLog + " -n 60",
		},
		{
			Kind: ShimFailure, Condition: ContainerRuntimeUnhealthy,
			Scope: NodeScope, Severity: Warning, Sources: Log,
			Logs:    Count{N: 3, Within: 10 * time.Minute},
			Summary: "The runtime lost the shims of containers: the processes that hold them.",
			Meaning: "Those containers can no longer be stopped, probed or attached to; their pods hang in Terminating or " +
				"show a state that is not true.",
			Evidence: []string{
				"journalctl --since=-1h -g 'ttrpc|shim'",
				"pgrep -c containerd-shim; crictl ps -q | wc -l",
			},
			LookAlike: "\"shim disconnected\" and \"cleaning up after shim\": the normal end of a container.",
			Remedy: "Look for what killed the shims (the OOM killer, a service manager with KillMode other than process, " +
				"a pids limit). Remove the pods concerned; restart the runtime if it does not let go of them.",
			Next: "journalctl --since=-1h -n 10 -g 'ttrpc|shim'",
		},
		{
			Kind: ContainerNotStopping, Condition: ContainerRuntimeUnhealthy,
			Scope: NodeScope, Severity: Warning, Sources: Log,
			Logs: Count{N: 3, Within: 10 * time.Minute},
			// Tied by pod: it is the container's own process that is stuck, not the runtime.
			Causes: []Edge{
				{Kind: TasksStuckOnMount},
				{Kind: MountNotAnswering},
				{Kind: DiskHung},
			},
			Summary: "A container cannot be stopped: it survives SIGKILL, or its root file system stays busy.",
			Meaning: "The pod stays in Terminating, its volumes stay attached to this node and a StatefulSet's replacement " +
				"cannot start.",
			Evidence: []string{
				"journalctl --since=-1h -g 'KillContainer|failed to kill|StopContainer'",
				"ps -eo state=,pid=,wchan:32=,comm= | grep -E '^[DZ]'",
				"grep -l CONTAINERID /proc/[0-9]*/mountinfo",
			},
			LookAlike: "\"failed to exit within N seconds of signal 15 - using the force\": a program that ignores SIGTERM, " +
				"and then was killed as it should be.",
			Remedy: "A process in D waits for a disk or mount: mend that. \"device or resource busy\": another process's " +
				"mount namespace holds the root file system; grep for the id in /proc/*/mountinfo and end that. " +
				"Force-deleting the pod hides the process, it does not end it.",
			Next: "ps -eo state=,pid=,wchan:32=,comm= | grep -E '^[DZ]'",
		},
		{
			Kind: SandboxNameConflict, Condition: ContainerRuntimeUnhealthy,
			Scope: PodScope, Severity: Warning, Sources: Log,
			Logs: Count{N: 3, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: RuntimeDeadlineExceeded},
				{Kind: MountNotAnswering},
			},
			Summary: "A container or sandbox cannot be created because its name is still taken.",
			Meaning: "An earlier attempt timed out for kubelet but goes on, or died half-way, in the runtime. The pod " +
				"stays in ContainerCreating until the old entry is gone.",
			Evidence: []string{
				"journalctl --since=-1h -g 'is reserved for|already in use by container'",
				"crictl pods; crictl ps -a",
			},
			LookAlike: "One line while the earlier attempt is still being cleaned up.",
			Remedy: "Find why the first attempt was slow. Remove the leftover by the id in the message (`crictl rmp -f " +
				"ID`, `docker rm -f ID`); if the runtime does not know it, restart the runtime.",
			Next: "journalctl --since=-1h -n 5 -g 'is reserved for|already in use'",
		},
		{
			Kind: RuntimeBinaryMismatch, Condition: ContainerRuntimeUnhealthy,
			Scope: NodeScope, Severity: Info, Sources: Level,
			Summary: "The running runtime is not the one that is installed, or two runtimes share one root folder.",
			Meaning: "After an upgrade without a restart old daemon and new shims work together untested; two daemons on " +
				"one root damage each other's state.",
			Evidence: []string{
				"ls -l /proc/$(pidof -s containerd)/exe   # (deleted)?",
				"ps -eo pid=,lstart=,comm= | grep -E ' (containerd|dockerd|crio)$'",
			},
			LookAlike: "docker beside Kubernetes' own containerd, each with its own root and socket: that is sound.",
			Remedy: "Restart the runtime in a quiet hour (drain first if in doubt). Of two daemons on one root, disable " +
				"the unit that is not used, and remove its package.",
			Next: "ls -l /proc/$(pidof -s containerd)/exe /proc/$(pidof -s dockerd)/exe",
		},
	}
}

// runtimeSlowCauses are what makes the runtime slow to answer, all calls or some.
// What is wrong with a daemon of the runtime's makes its calls slow, whoever logs
// that they are.
func runtimeSlowCauses() []Edge {
	return []Edge{
		{Kind: TasksStuckOnMount, Touching: nodeTasks()},
		{Kind: MountNotAnswering},
		{Kind: ForkRefused},
		{Kind: ForkRefused, Touching: runtimeDaemons()},
		{Kind: DiskHung},
		{Kind: IOStall},
		{Kind: NoSpaceLeft},
		{Kind: NoSpaceLeft, Touching: runtimeDaemons()},
		{Kind: MemoryStall},
		{Kind: DaemonFilesNearLimit, Refused: true, Touching: runtimeDaemons()},
		{Kind: CgroupLeak},
	}
}
