package problem

import "time"

// This file holds the failures of processes and threads: the limits on tasks,
// which all give the same error (EAGAIN), and processes that nobody reaps.

// Kinds of the condition PIDExhaustion.
const (
	ForkRefused            Kind = "ForkRefused"
	NodeThreadsNearLimit   Kind = "NodeThreadsNearLimit"
	CgroupPIDsNearLimit    Kind = "CgroupPIDsNearLimit"
	UnitTasksNearLimit     Kind = "UnitTasksNearLimit"
	UserProcessesNearLimit Kind = "UserProcessesNearLimit"
	ZombieProcesses        Kind = "ZombieProcesses"
)

func processKinds() []Definition {
	return []Definition{
		{
			Kind: ForkRefused, Condition: PIDExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			// Who was refused tries again soon; of a user's or the node's limit nothing else
			// tells whether it goes on.
			Logs: Count{N: 1, Within: 5 * time.Minute}, Quiet: 5 * time.Minute,
			// Several limits give one error: only the one that has refused is the cause.
			Causes: []Edge{
				{Kind: CgroupPIDsNearLimit, Refused: true},
				{Kind: UnitTasksNearLimit, Refused: true},
				{Kind: NodeThreadsNearLimit, Refused: true},
				{Kind: UserProcessesNearLimit, Refused: true},
			},
			Summary: "The kernel refused to create a process or thread (EAGAIN), because a limit on tasks was reached.",
			Meaning: "Nothing new can start under that limit: container starts, exec probes, runtime shims and SSH logins " +
				"fail with \"Resource temporarily unavailable\", while what already runs goes on. Five limits give " +
				"this same error; the cause names the one that was hit.",
			Evidence: []string{
				"grep -rs --include=pids.events '^max [1-9]' /sys/fs/cgroup",
				"cat /proc/loadavg /proc/sys/kernel/pid_max /proc/sys/kernel/threads-max",
				"journalctl -k -g 'fork rejected by pids controller'",
			},
			LookAlike: "\"Resource temporarily unavailable\" from a read or a lock, with no fork, exec, clone or thread in " +
				"the line. Guides blame `ulimit -u`, but it does not bind root.",
			Remedy: "Mend or restart the holder that was named. For a pod, stop the leak of processes or threads, or " +
				"raise kubelet's podPidsLimit; for a unit, raise TasksMax; for the node, raise kernel.pid_max and " +
				"kernel.threads-max together, since the lower one binds.",
			Next: "grep -rs --include=pids.events '^max [1-9]' /sys/fs/cgroup",
		},
		{
			Kind: NodeThreadsNearLimit, Condition: PIDExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"pid_max", "threads_max"},
			Causes:    []Edge{{Kind: ZombieProcesses, Touching: []Ref{NodeThreads}}}, Itself: true,
			Summary: "The threads of the whole node are near the lower of kernel.pid_max and kernel.threads-max.",
			Meaning: "When the limit is reached no process on the node can fork, whoever it belongs to: kubelet, the " +
				"runtime and sshd fail together, and you may not be able to log in.",
			Evidence: []string{
				"cut -d' ' -f4 /proc/loadavg",
				"sysctl kernel.pid_max kernel.threads-max",
				"ps -eo nlwp=,pid=,comm= --sort=-nlwp | head",
			},
			LookAlike: "A count of processes: each thread takes a pid, so `ls -d /proc/[0-9]*` shows only part of the use. A " +
				"high threads-max does not help while pid_max is lower.",
			Remedy: "Stop or restart the holder with the most threads, and set podPidsLimit in kubelet's configuration so " +
				"that no pod can take them all. Raise kernel.pid_max (at most 4194304) and kernel.threads-max if the " +
				"node really needs more.",
			Next: "ps -eo nlwp=,pid=,comm= --sort=-nlwp | head",
		},
		{
			Kind: CgroupPIDsNearLimit, Condition: PIDExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"cgroup_pids"},
			Causes:    []Edge{{Kind: ZombieProcesses}}, Itself: true,
			Summary: "The tasks in a cgroup are near its pids.max.",
			Meaning: "At the limit, forks fail in that cgroup and in all below it. One pod at its own limit harms only " +
				"itself; at the limit of kubepods or of a slice, every pod or service below it is refused.",
			Evidence: []string{
				"grep -rs --include=pids.current . /sys/fs/cgroup | sort -t: -k2n | tail",
				"cat /sys/fs/cgroup/kubepods.slice/pids.{current,max,events}",
				"systemd-cgtop -b -1 --order=tasks | head -15",
			},
			LookAlike: "pids.max of `max`, which is no limit of its own: an ancestor's may bind. Older kernels count the " +
				"refusal at the cgroup that forked, not at the one whose limit was hit.",
			Remedy: "Look for a leak in the process that holds most of the tasks. Raise podPidsLimit (pods), the pid " +
				"reservation in systemReserved and kubeReserved (kubepods), or TasksMax= (units and slices) if the " +
				"use is legitimate.",
			Next: "systemd-cgtop -b -1 --order=tasks | head -15",
		},
		{
			Kind: UnitTasksNearLimit, Condition: PIDExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"unit_tasks"},
			Causes:    []Edge{{Kind: ZombieProcesses}}, Itself: true,
			Summary: "The tasks of kubelet's or the container runtime's unit are near its TasksMax.",
			Meaning: "At the limit the daemon cannot start a shim, a hook or a mount helper, and a Go daemon that cannot " +
				"create a thread dies. No container on the node can then be started or stopped.",
			Evidence: []string{
				"systemctl show -p TasksCurrent,TasksMax kubelet containerd docker crio",
				"cat /sys/fs/cgroup/system.slice/containerd.service/pids.{current,max,events}",
			},
			LookAlike: "Shims that live in the runtime's own cgroup because the unit lacks Delegate=yes: many pods, not a " +
				"leak.",
			Remedy: "Set TasksMax=infinity for the runtime's unit, as its upstream unit file does (`systemctl " +
				"set-property containerd.service TasksMax=infinity`), and look for tasks that are stuck and pile up.",
			Next: "systemctl show -p Id,TasksCurrent,TasksMax kubelet containerd docker crio",
		},
		{
			Kind: UserProcessesNearLimit, Condition: PIDExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"user_processes"},
			Summary:   "The threads of one user id, over all pods, are near the RLIMIT_NPROC of its processes.",
			Meaning: "The kernel counts this limit by uid over the whole node, so that pods which share a uid use up each " +
				"other's share; their forks fail although each pod is far below its own limit. A daemon that does not " +
				"run as root can be hit as well.",
			Evidence: []string{
				"ps -eLo uid= | sort | uniq -c | sort -n | tail",
				"grep 'Max processes' /proc/PID/limits   # of a process of that uid",
			},
			LookAlike: "uid 0, and processes with CAP_SYS_RESOURCE or CAP_SYS_ADMIN, are exempt: a high count of root's is " +
				"no problem of this kind.",
			Remedy: "Give the workloads different uids (runAsUser), or raise the limit where it is set: LimitNPROC= of " +
				"the runtime's unit, default-ulimits of docker, or the image's own `ulimit -u`.",
			Next: "ps -eLo uid= | sort | uniq -c | sort -n | tail",
		},
		{
			Kind: ZombieProcesses, Condition: PIDExhaustion,
			Scope: NodeScope, Severity: Warning, Sources: Level,
			Warn: Persist{Runs: 3}, Crit: Persist{Runs: 3},
			Resources: []string{"zombie_processes"},
			Summary:   "A process does not reap its children: 100 or more have ended and still hold their pids.",
			Meaning: "Zombies use no memory or CPU, but each keeps a pid and counts in pids.current, until forks are " +
				"refused. It is a fault of the parent: often a container whose first process is not an init.",
			Evidence: []string{
				"ps -eo stat=,ppid=,comm= | awk '$1 ~ /^Z/ {print $2}' | sort | uniq -c | sort -n",
				"ps -o pid,ppid,stat,comm -p PARENT",
			},
			LookAlike: "A few zombies for a moment are normal, and so is a thread group whose first thread has ended while " +
				"others run.",
			Remedy: "Restart the pod or daemon that is the parent. Lasting cures: an init in the image (tini, dumb-init), " +
				"shareProcessNamespace: true, or exec probes that do not leave children behind.",
			Next: "ps -eo stat=,ppid=,comm= | awk '$1 ~ /^Z/ {print $2}' | sort | uniq -c | sort -n",
		},
	}
}
