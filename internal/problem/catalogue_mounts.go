package problem

import "time"

// This file holds the failures of mounts: servers that do not answer, the tasks
// that wait for them, and the size of the mount table.

// Kinds of the condition MountHung.
const (
	MountNotAnswering      Kind = "MountNotAnswering"
	NFSServerNotResponding Kind = "NFSServerNotResponding"
	FUSEServerNotAnswering Kind = "FUSEServerNotAnswering"
	TasksStuckOnMount      Kind = "TasksStuckOnMount"
	MountTableLarge        Kind = "MountTableLarge"
)

func mountKinds() []Definition {
	return []Definition{
		{
			Kind: MountNotAnswering, Condition: MountHung,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Causes: []Edge{
				{Kind: NFSServerNotResponding},
				{Kind: FUSEServerNotAnswering},
			},
			Summary: "A mounted file system does not answer.",
			Meaning: "Whatever touches it hangs, often beyond the reach of kill: df, kubelet's volume statistics, the " +
				"runtime when it removes a container. Pods that use it cannot be ended.",
			Evidence: []string{
				"timeout -s KILL 5 stat -f MOUNTPOINT &   # in the background: it may never end",
				"grep -E ' (nfs|cifs|ceph|fuse)' /proc/self/mountinfo",
				"ps -eo state=,pid=,wchan:32=,comm= | grep -E '^D|request_wait_answer'",
			},
			LookAlike: "A slow server that does answer: then only the tasks that wait for it are told of. And autofs, which " +
				"mounts only when it is touched. Do not run df or ls to find out: your shell would hang as well. A warning " +
				"is a mount that answers, but each time with an error, such as a stale file handle.",
			Remedy: "Bring the server back; the waiting tasks then go on. If it will not come back: `umount -f` then " +
				"`umount -l` for NFS; for FUSE write 1 to /sys/fs/fuse/connections/N/abort.",
			Next: "grep -F {subject} /proc/self/mountinfo",
		},
		{
			Kind: NFSServerNotResponding, Condition: MountHung,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs: Count{N: 1, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: DefaultRouteMissing},
				{Kind: LinkFault},
			},
			Summary: "An NFS server does not answer the node's requests.",
			Meaning: "On hard mounts, the default, every task that uses the export waits until the server is back: without " +
				"limit and without an error. The kernel's hung-task detector does not report such waits.",
			Evidence: []string{
				"grep -E 'fstype nfs|xprt:' /proc/1/mountstats   # sends (8th) ahead of receives (9th)",
				"journalctl -k -g 'nfs: server .* (not responding|OK)'",
				"nc -zvw3 SERVER 2049",
			},
			LookAlike: "A \"not responding\" line that is followed by \"OK\": it was slow and has recovered.",
			Remedy: "See to the server and the way to it: is port 2049 reachable, is the route there, has a firewall or a " +
				"change of address cut it off? Use `umount -f`, then `umount -l`, if it is gone for good.",
			Next: "grep -E 'fstype nfs|xprt:' /proc/1/mountstats",
		},
		{
			Kind: FUSEServerNotAnswering, Condition: MountHung,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{Runs: 2}, Crit: Persist{Runs: 2},
			Summary: "The program behind a FUSE mount (s3fs, sshfs, a CSI driver …) does not answer requests.",
			Meaning: "Tasks that use the mount sleep interruptibly at first and become unkillable once they are signalled; " +
				"pods that hold them cannot be ended, not even by SIGKILL.",
			Evidence: []string{
				"grep . /sys/fs/fuse/connections/*/waiting",
				"grep ' fuse' /proc/self/mountinfo   # N of connections/N is the minor of 0:N",
				"ps -eo state=,pid=,wchan:32=,comm= | grep request_wait_answer",
			},
			LookAlike: "A non-zero `waiting` by itself: a long read or a lock that is waited for holds one, too. A warning is " +
				"a program that has ended: nobody is stuck, and each access fails with \"transport endpoint is not connected\".",
			Remedy: "Restart the program that serves the mount (usually a CSI node plugin's pod). If that does not help, " +
				"`echo 1 > /sys/fs/fuse/connections/N/abort` makes all waiting requests fail, and then unmount it.",
			Next: "grep . /sys/fs/fuse/connections/*/waiting",
		},
		{
			Kind: TasksStuckOnMount, Condition: MountHung,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{For: 30 * time.Second}, Crit: Persist{For: 30 * time.Second},
			Causes:  []Edge{{Kind: MountNotAnswering, By: RefMount}}, // all of a server's have that in common
			Summary: "Tasks wait for a network or FUSE file system and make no progress.",
			Meaning: "They cannot be killed, so their pods stay in Terminating. If kubelet, the runtime, a shim or runc is " +
				"among them, the management of all pods on the node stops.",
			Evidence: []string{
				"ps -eo state=,pid=,wchan:32=,comm= | grep -E '^D|request_wait_answer'",
				"cat /proc/PID/{wchan,stack,syscall}",
				"readlink /proc/PID/cwd; ls -l /proc/PID/fd",
			},
			LookAlike: "Tasks that are in D for a moment and go on: the same task, without a context switch, is what counts. " +
				"Tasks on FUSE are in S, not D. A warning says that the file system answers others: these requests are slow, or " +
				"wait for an event, as they may be meant to.",
			Remedy: "Mend the mount they wait for, and they go on. Killing them does not help; a lazy unmount (`umount " +
				"-l`) only keeps new tasks away. If nothing else is left, reboot the node.",
			Next: "ps -eo state=,pid=,wchan:32=,comm= | grep -E '^D|request_wait_answer'",
		},
		{
			Kind: MountTableLarge, Condition: MountHung,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"mounts"},
			Summary:   "The host has very many mounts.",
			Meaning: "systemd, kubelet and the runtime read the whole table each time that it changes: they burn CPU and " +
				"answer late. At fs.mount-max a mount namespace can take no more mounts and containers fail to start " +
				"with ENOSPC.",
			Evidence: []string{
				"wc -l /proc/1/mountinfo; sysctl fs.mount-max",
				"cut -d' ' -f5 /proc/1/mountinfo | cut -d/ -f1-6 | sort | uniq -c | sort -n | tail",
			},
			LookAlike: "Many pods on a large node: some five to ten mounts each are normal.",
			Remedy: "Find the prefix that multiplies: a mount that propagates into itself (rshared bind of / or of " +
				"/var/lib/kubelet), or volumes that are never unmounted. Mend that pod's mountPropagation and unmount " +
				"the copies.",
			Next: "cut -d' ' -f5 /proc/1/mountinfo | cut -d/ -f1-6 | sort | uniq -c | sort -n | tail",
		},
	}
}
