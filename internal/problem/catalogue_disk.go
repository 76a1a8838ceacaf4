package problem

import "time"

// This file holds the failures of disk space and inodes. EvictionImminent, which
// is kubelet's answer to them, stands with kubelet's kinds.

// Kinds of the condition DiskExhaustion.
const (
	FilesystemSpaceLow    Kind = "FilesystemSpaceLow"
	FilesystemInodesLow   Kind = "FilesystemInodesLow"
	VolumeSpaceLow        Kind = "VolumeSpaceLow"
	NoSpaceLeft           Kind = "NoSpaceLeft"
	DeletedFilesHoldSpace Kind = "DeletedFilesHoldSpace"
)

func diskKinds() []Definition {
	return []Definition{
		{
			Kind: FilesystemSpaceLow, Condition: DiskExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			// kubelet's image garbage collection swings around 15 % free by design.
			Warn: Persist{For: 15 * time.Minute}, Crit: Persist{Runs: 3},
			Resources: []string{"filesystem_bytes"},
			// What du cannot find, and no removal of files frees.
			Causes: []Edge{{Kind: DeletedFilesHoldSpace}}, Itself: true,
			Summary: "A file system that the node depends on has little space left.",
			Meaning: "kubelet removes images and then evicts pods as the space runs out; when it is gone, containers " +
				"cannot start, logs are lost, and the runtime, etcd or kubelet can fail to write their own state.",
			Evidence: []string{
				"df -hl",
				"du -xh --max-depth=2 /var/lib | sort -h | tail -20",
				"crictl imagefsinfo",
			},
			LookAlike: "squashfs, iso9660 and image mounts stand at 100 % by design. Image garbage collection lets the use " +
				"swing around 85 %. Blocks reserved for root count as used here, as they do for pods.",
			Remedy: "Remove what grew: images that nothing uses (`crictl rmi --prune`), logs without rotation, emptyDir " +
				"data, core dumps. Then enlarge the disk, or set ephemeral-storage limits and kubelet's " +
				"imageGCHighThresholdPercent.",
			Next: "du -xh --max-depth=3 {subject} | sort -h | tail -20",
		},
		{
			Kind: FilesystemInodesLow, Condition: DiskExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{For: 15 * time.Minute}, Crit: Persist{Runs: 3},
			Resources: []string{"filesystem_inodes"},
			Summary:   "A file system that the node depends on has few inodes left.",
			Meaning: "Without inodes no file can be created, and the error is \"No space left on device\" although df " +
				"shows free space. kubelet evicts pods for it, too.",
			Evidence: []string{
				"df -il",
				"du -x --inodes --max-depth=3 /var/lib | sort -n | tail -20",
			},
			LookAlike: "File systems that make inodes as they need them (btrfs, and others that report 0 in all): not " +
				"applicable.",
			Remedy: "Find the folder with millions of small files (sessions, mail queues, build caches, unused image " +
				"layers) and remove them. ext4 cannot be given more inodes: make it anew with `mkfs.ext4 -i`, or use " +
				"XFS.",
			Next: "du -x --inodes --max-depth=3 {subject} | sort -n | tail -20",
		},
		{
			Kind: VolumeSpaceLow, Condition: DiskExhaustion,
			Scope: PodScope, Severity: Critical, Sources: Level,
			Resources: []string{"volume_bytes", "volume_inodes"},
			Summary:   "A pod's volume is nearly full.",
			Meaning: "The pod that owns the volume will fail to write; databases on it usually stop or turn read-only. The " +
				"node itself and the other pods are well.",
			Evidence: []string{
				"df -hl | grep /var/lib/kubelet",
				"df -il | grep /var/lib/kubelet",
				"grep -s specVolID /var/lib/kubelet/plugins/kubernetes.io/csi/*/*/vol_data.json",
			},
			LookAlike: "tmpfs volumes (secrets, memory emptyDir), and volumes that only bind a folder of the node's own disk.",
			Remedy: "Remove data inside the pod, or enlarge the claim: edit spec.resources.requests.storage of the " +
				"PersistentVolumeClaim if its StorageClass has allowVolumeExpansion.",
			Next: "df -hl | grep /var/lib/kubelet",
		},
		{
			Kind: NoSpaceLeft, Condition: DiskExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs: Count{N: 1, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: FilesystemSpaceLow, Refused: true},
				{Kind: FilesystemInodesLow, Refused: true},
				// It is no limit that could refuse: it says who holds the space.
				{Kind: DeletedFilesHoldSpace},
			},
			Summary: "A write failed with \"no space left on device\", and the file system confirms it.",
			Meaning: "Whatever needs to write there fails: pulling images, creating containers, kubelet's and the " +
				"runtime's state, logs. A runtime that could not write its database may not start again.",
			Evidence: []string{
				"df -hl; df -il",
				"journalctl --since=-1h -g 'no space left on device'",
			},
			LookAlike: "The same error has three meanings: inotify watches used up (`inotify_add_watch … no space left`), no " +
				"cgroup can be made (`mkdir /sys/fs/cgroup/…`), and the disk. Each has a kind of its own.",
			Remedy: "Free space at once (`journalctl --vacuum-size=200M`, `crictl rmi --prune`, truncate the largest " +
				"log), then restart the daemon that failed to write, if it has not recovered by itself.",
			Next: "df -hl; df -il",
		},
		{
			Kind: DeletedFilesHoldSpace, Condition: DiskExhaustion,
			Scope: NodeScope, Severity: Warning, Sources: Level,
			Resources: []string{"deleted_bytes"},
			Summary:   "Deleted files that a process still holds open take a large part of a full file system.",
			Meaning: "df shows the space as used while du cannot find it. It comes back only when the process closes the " +
				"file or ends; deleting more files of the same kind frees nothing.",
			Evidence: []string{
				"find /proc/[0-9]*/fd -lname '*(deleted)' -printf '%p %l\\n' 2>/dev/null",
				"stat -Lc '%b blocks of %B, %h links' /proc/PID/fd/FD",
			},
			LookAlike: "memfd, shared memory and tmpfs files also read \"(deleted)\" and take no disk. A descriptor may be " +
				"shared by many processes: it counts once.",
			Remedy: "Restart the holder, or make it reopen its log (often SIGHUP or SIGUSR1). In an emergency truncate " +
				"through the descriptor: `: > /proc/PID/fd/FD`. Rotate such logs with copytruncate.",
			Next: "find /proc/[0-9]*/fd -lname '*(deleted)' -printf '%p %l\\n' 2>/dev/null",
		},
	}
}
