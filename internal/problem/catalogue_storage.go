package problem

import "time"

// This file holds the failures of file systems, block devices and volumes,
// other than lack of space.

// Kinds of the condition StorageFault.
const (
	ReadonlyFilesystem   Kind = "ReadonlyFilesystem"
	FilesystemCorruption Kind = "FilesystemCorruption"
	BlockDeviceError     Kind = "BlockDeviceError"
	DiskHung             Kind = "DiskHung"
	IOStall              Kind = "IOStall"
	VolumeOperationStuck Kind = "VolumeOperationStuck"
	OrphanedPodVolumes   Kind = "OrphanedPodVolumes"
)

func storageKinds() []Definition {
	return []Definition{
		{
			Kind: ReadonlyFilesystem, Condition: StorageFault,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Causes:  []Edge{{Kind: FilesystemCorruption}},
			Summary: "A file system that was writable has become read-only or has shut itself down.",
			Meaning: "The kernel does this to protect the data after an error. Everything that writes there fails from now " +
				"on; on the root or the runtime's file system no container can start or stop properly.",
			Evidence: []string{
				"grep -E ' - [^ ]+ [^ ]+ ([^ ]*,)?(ro|emergency_ro|shutdown)(,|$)' /proc/self/mountinfo",
				"journalctl -k -g 'Remounting filesystem read-only|shutdown|shut down'",
			},
			LookAlike: "Mounts that are read-only by design: the options before the ` - ` in mountinfo belong to one mount, " +
				"those after it to the file system. Newer ext4 keeps rw there and XFS never shows ro: then only the " +
				"log tells.",
			Remedy: "Do not remount it rw: find the error before it in the kernel log first. Drain the node, check the " +
				"device, run fsck or xfs_repair on the unmounted file system, or replace the disk.",
			Next: "dmesg -T | grep -B5 -iE 'read-only|shut ?down' | tail -30",
		},
		{
			Kind: FilesystemCorruption, Condition: StorageFault,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Causes:  []Edge{{Kind: BlockDeviceError}},
			Summary: "A file system found its own structures damaged.",
			Meaning: "Data may be lost already and more can be while it stays mounted for writing; many file systems turn " +
				"read-only next. Corrupt image layers make containers fail to start with odd errors.",
			Evidence: []string{
				"grep -s . /sys/fs/ext4/*/{errors_count,last_error_time,last_error_func}",
				"journalctl -k -g 'EXT4-fs error|XFS .*(Corruption|shutdown)|BTRFS.*(error|corrupt)'",
			},
			LookAlike: "An old errors_count: ext4 keeps it in the super block until fsck clears it, so only a rise, or a " +
				"last error since boot, counts. \"mounted filesystem\" lines are normal.",
			Remedy: "Drain the node; unmount and check the file system (`e2fsck -f`, `xfs_repair -n`). If the device " +
				"reported errors before, replace it. For overlay2 damage (`readlink … invalid argument`) remove the " +
				"image and pull it again.",
			Next: "dmesg -T | grep -iE 'ext4|xfs|btrfs' | tail -20",
		},
		{
			Kind: BlockDeviceError, Condition: StorageFault,
			Scope: NodeScope, Severity: Warning, Sources: Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "The kernel could not read from or write to a block device.",
			Meaning: "A failed write is lost data, and a failed read an error in some program. Damaged file systems, " +
				"read-only mounts and hung tasks usually follow.",
			Evidence: []string{
				"dmesg -T | grep -E '(I/O|critical .*|timeout|transport) error|nvme.*(timeout|failure)'",
				"smartctl -H -A /dev/DEVICE",
				"lsblk -o NAME,SIZE,STATE,MOUNTPOINT",
			},
			LookAlike: "Errors of loop devices and sr0, failed DISCARD and WRITE ZEROES, and of a disk that was detached on " +
				"purpose.",
			Remedy: "Find out whether it is the medium (SMART, the cloud's disk health) or the path (cable, HBA, attach " +
				"limit); \"space allocation\" is a thin volume whose pool is full. Move the pods away and replace the disk; " +
				"then check the file systems that lie on it.",
			Next: "dmesg -T | grep -w {subject} | tail -20",
		},
		{
			Kind: DiskHung, Condition: StorageFault,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{For: 30 * time.Second}, Crit: Persist{For: 60 * time.Second},
			Summary: "A block device has requests in flight and completes none, or keeps them back since it is suspended.",
			Meaning: "Every task that waits for it sleeps uninterruptibly and cannot be killed. If the runtime's or " +
				"kubelet's disk hangs, the node goes NotReady; pods on it cannot be ended.",
			Evidence: []string{
				"cat /proc/diskstats   # field 12: in flight; 4, 8, 15, 19: completed",
				"cat /sys/class/block/DEVICE/{inflight,stat}",
				"grep -H . /sys/block/dm-*/dm/suspended",
				"ps -eo state=,pid=,wchan:32=,comm= | grep ^D",
			},
			LookAlike: "fstrim and flushes can keep a request in flight for long while others complete. `%util` near 100 is " +
				"a busy device, not a hung one.",
			Remedy: "Look at the storage behind it: the cloud volume's status, multipath, the SAN, the controller's log. " +
				"Requests that never return need the device back or a reboot; restarting daemons only adds stuck " +
				"ones. A suspended one: what suspended it (lvm, a snapshot, multipath) has not come to its end; `dmsetup resume NAME`.",
			Next: "cat /sys/class/block/{subject}/inflight /sys/class/block/{subject}/stat",
		},
		{
			Kind: IOStall, Condition: StorageFault,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"pressure_io_full", "disk_await"},
			Summary:   "The node's tasks spend much of their time waiting for I/O, or a disk answers late.",
			Meaning: "The disk is too slow for what is asked of it: image pulls, etcd and probes time out, the runtime " +
				"answers late, and PLEG may become unhealthy.",
			Evidence: []string{
				"cat /proc/pressure/io",
				"cat /proc/diskstats   # fields 4, 8: reads, writes done; 7, 11: their ms",
				"grep -rs --include=io.pressure '^full' /sys/fs/cgroup | sort -t= -k3n | tail",
				"iostat -xz 1 5",
			},
			LookAlike: "High throughput or %util alone: what counts is that tasks wait. A high load average may come from " +
				"tasks stuck on a network mount.",
			Remedy: "Find the cgroup that does the I/O and bound it (or move it to a node of its own); see whether a " +
				"cloud disk has used up its burst credit or its IOPS limit; put the runtime and etcd on faster disks.",
			Next: "cat /proc/pressure/io",
		},
		{
			Kind: VolumeOperationStuck, Condition: StorageFault,
			Scope: PodScope, Severity: Warning, Sources: Log,
			Logs: Count{N: 3, Within: 10 * time.Minute},
			Causes: []Edge{
				{Kind: MountNotAnswering},
				{Kind: BlockDeviceError},
				{Kind: DiskHung},
			},
			Summary: "kubelet fails again and again to attach, mount or unmount a volume.",
			Meaning: "The pod that needs it stays in ContainerCreating, or the one that had it in Terminating; the volume " +
				"cannot move to another node until it is let go here.",
			Evidence: []string{
				"journalctl --since=-1h -g '(Attach|Mount)Volume|attach or mount'",
				"grep kubelet /proc/self/mountinfo | grep -E 'csi|nfs|ceph'",
			},
			LookAlike: "One failure that the next retry mends, and a volume still attached to another node: that is the " +
				"attach controller's matter (Multi-Attach).",
			Remedy: "Read the error. Time-outs: is the storage server and the CSI node plugin's pod alive? \"device or " +
				"resource busy\": a process or another mount namespace still holds it; find and end that. Do not " +
				"delete the folder by hand while it is mounted.",
			Next: "journalctl --since=-1h -n 20 -g '(Attach|Mount)Volume|attach or mount'",
		},
		{
			Kind: OrphanedPodVolumes, Condition: StorageFault,
			Scope: NodeScope, Severity: Warning, Sources: Log,
			// kubelet repeats the line every 2 s, and takes up to 5 min for a normal
			// clean-up. In a gap as long as that it was at work again.
			Logs: Count{N: 2, Within: 5 * time.Minute, Lasting: 30 * time.Minute}, Quiet: 10 * time.Minute,
			Summary: "kubelet cannot remove the volume folders of a pod that no longer exists.",
			Meaning: "The pod is gone, but its folder stays and kubelet writes an error every two seconds. It takes disk " +
				"space and hides other lines; a volume may still be mounted there.",
			Evidence: []string{
				"journalctl --since=-1h -g 'orphaned pod'",
				"grep /var/lib/kubelet/pods/UID /proc/self/mountinfo",
				"find /var/lib/kubelet/pods/UID -xdev -mindepth 1",
			},
			LookAlike: "The same line in the first minutes after a pod was deleted: kubelet is still at work.",
			Remedy: "If nothing of the pod is mounted any more (mountinfo), remove the empty folders with rmdir, never " +
				"`rm -rf`: a mount that was overlooked would lose its data. Unmount what is left first.",
			Next: "journalctl --since=-1h -n 3 -g 'orphaned pod'",
		},
	}
}
