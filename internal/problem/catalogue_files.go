package problem

import "time"

// This file holds the limits on open files: the kernel's table and those of
// the daemons on which every pod depends.

// Kinds of the condition FileHandleExhaustion.
const (
	SystemFileTableNearLimit Kind = "SystemFileTableNearLimit"
	DaemonFilesNearLimit     Kind = "DaemonFilesNearLimit"
)

func fileKinds() []Definition {
	return []Definition{
		{
			Kind: SystemFileTableNearLimit, Condition: FileHandleExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs:      Count{N: 1, Within: 5 * time.Minute},
			Resources: []string{"file_handles"},
			Summary:   "The open files of the whole node are near fs.file-max.",
			Meaning: "At the limit every open, socket, pipe and accept fails with ENFILE (\"Too many open files in " +
				"system\") for every process without CAP_SYS_ADMIN; DNS, probes and connections fail at random all " +
				"over the node.",
			Evidence: []string{
				"cat /proc/sys/fs/file-nr   # used, 0, limit",
				"for d in /proc/[0-9]*/fd; do echo $(ls $d | wc -l) $d; done | sort -n | tail",
				"journalctl -k -g 'file-max limit'",
			},
			LookAlike: "\"Too many open files\" without \"in system\": that is the RLIMIT_NOFILE of one process. systemd " +
				"sets file-max to 2^63-1, where this cannot happen.",
			Remedy: "Restart the holder with the most descriptors. Raise fs.file-max with sysctl; no node of today needs " +
				"a low one.",
			Next: "for d in /proc/[0-9]*/fd; do echo $(ls $d | wc -l) $d; done | sort -n | tail",
		},
		{
			Kind: DaemonFilesNearLimit, Condition: FileHandleExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs:      Count{N: 1, Within: 5 * time.Minute},
			Resources: []string{"daemon_files"},
			Summary:   "kubelet or the container runtime has nearly as many files open as its RLIMIT_NOFILE allows.",
			Meaning: "At the limit the daemon can accept no connection and open no pipe: the runtime's socket stops " +
				"answering, containers do not start, and logs and exec break.",
			Evidence: []string{
				"ls /proc/$(pidof -s containerd)/fd | wc -l",
				"grep 'open files' /proc/$(pidof -s containerd)/limits",
				"ls -l /proc/$(pidof -s containerd)/fd | awk '{print $NF}' | sort | uniq -c | sort -n",
			},
			LookAlike: "The limit that your own shell shows (`ulimit -n`), and limits inside containers: neither is the " +
				"daemon's.",
			Remedy: "Set LimitNOFILE=1048576 (or infinity) in a drop-in of the unit and restart it. If the count only " +
				"ever rises, it leaks: note what the descriptors are before the restart.",
			Next: "for p in kubelet dockerd containerd crio; do ls /proc/$(pidof -s $p)/fd | wc -l; done",
		},
	}
}
