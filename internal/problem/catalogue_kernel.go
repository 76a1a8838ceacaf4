package problem

import "time"

// This file holds the faults that the kernel reports of itself and of the
// hardware, and lack of CPU.

// Kinds of the condition KernelFault.
const (
	TaskHung       Kind = "TaskHung"
	SoftLockup     Kind = "SoftLockup"
	KernelOops     Kind = "KernelOops"
	HardwareError  Kind = "HardwareError"
	NetdeviceStuck Kind = "NetdeviceStuck"
	UncleanReboot  Kind = "UncleanReboot"
	CPUStarvation  Kind = "CPUStarvation"
)

func kernelKinds() []Definition {
	return []Definition{
		{
			Kind: TaskHung, Condition: KernelFault,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs: Count{N: 1, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: TasksStuckOnMount},
				{Kind: MountNotAnswering},
				{Kind: DiskHung},
			},
			Summary: "The kernel found a task that has been blocked for minutes and cannot be killed.",
			Meaning: "It waits for a disk, a file system or a lock in the kernel. Its pod cannot be ended, and whoever " +
				"needs the same lock will hang as well.",
			Evidence: []string{
				"journalctl -k -g 'blocked for more than'",
				"ps -eo state=,pid=,wchan:32=,comm= | grep ^D",
				"sysctl kernel.hung_task_timeout_secs; cat /proc/sys/kernel/hung_task_detect_count",
			},
			LookAlike: "The hint with hung_task_timeout_secs that follows each report is no report. The detector does not " +
				"see waits for NFS and falls silent after ten reports (hung_task_warnings): silence is no proof.",
			Remedy: "The stack in the log says what it waits for: nfs, fuse, xfs or jbd2 (file system), blk (device), " +
				"mutex. Mend that; if it is a lock that nobody will release, drain and reboot the node.",
			Next: "dmesg -T | grep -A25 'blocked for more than' | tail -60",
		},
		{
			Kind: SoftLockup, Condition: KernelFault,
			Scope: NodeScope, Severity: Critical, Sources: Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "A CPU was stuck in the kernel for many seconds (soft or hard lockup, RCU stall).",
			Meaning: "Nothing else ran on that CPU meanwhile: probes fail, leases expire, and the whole node may freeze if " +
				"it repeats.",
			Evidence: []string{
				"journalctl -k -g 'soft lockup|hard LOCKUP|rcu.*stall'",
				"grep ^cpu /proc/stat   # 8th number: steal",
			},
			LookAlike: "The kernel's command line with softlockup_panic=1. On virtual machines a host that paused the guest " +
				"gives the same lines: look at steal.",
			Remedy: "A single one on a VM after a live migration can be let pass. Repeated: the stack names the driver or " +
				"subsystem; update the kernel, or move the VM to another host.",
			Next: "dmesg -T | grep -A20 -E 'soft lockup|hard LOCKUP|rcu.*stall' | tail -50",
		},
		{
			Kind: KernelOops, Condition: KernelFault,
			Scope: NodeScope, Severity: Critical, Sources: Log,
			// A kernel that has oopsed is not well again after a quarter of an hour:
			// the task that died may have held locks.
			Logs: Count{N: 1, Within: 5 * time.Minute}, Quiet: time.Hour,
			Summary: "The kernel met a fault of its own (BUG, Oops, general protection fault).",
			Meaning: "The task that was running died inside the kernel; locks it held stay locked and its data may be " +
				"damaged. The node can hang at any moment later.",
			Evidence: []string{
				"journalctl -k -g '\\bBUG:|Oops|general protection fault'",
				"cat /proc/sys/kernel/tainted   # bit 7 (128): it has died once",
				"uname -r; awk '$NF ~ /\\(/' /proc/modules",
			},
			LookAlike: "`traps: NAME[pid] general protection …` and segfault lines: a program of a user crashed, not the " +
				"kernel.",
			Remedy: "Drain and reboot the node. Keep the trace: the first one counts, those after it are its " +
				"consequences. Update the kernel, or the out-of-tree module that it names.",
			Next: "dmesg -T | grep -A30 -E 'BUG:|Oops|general protection fault' | head -60",
		},
		{
			Kind: HardwareError, Condition: KernelFault,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			// Broken hardware stays broken; an hour leaves time to see it.
			Logs: Count{N: 1, Within: 5 * time.Minute}, Quiet: time.Hour,
			Summary: "The hardware reported an error that it could not correct.",
			Meaning: "Memory, CPU, PCIe device or GPU: a page or a process was lost, or worse. Results computed since may " +
				"be wrong, and it tends to come again.",
			Evidence: []string{
				"journalctl -k -g 'Hardware Error|mce:|AER:|NVRM: Xid'",
				"grep -s . /sys/devices/system/edac/mc/mc*/ue_count",
				"ipmitool sel list | tail",
			},
			LookAlike: "Corrected errors, and the GPU Xids that a faulty program can cause (13, 31, 43 …): those are metrics " +
				"only. What the firmware calls recoverable, or tells of the boot before (BERT), is a warning: it may be a PCIe " +
				"error that was got over, or an old record that some boards tell at every boot.",
			Remedy: "Drain the node. Read out the board's event log, run the vendor's diagnosis, replace the part; on a " +
				"cloud VM stop and start it, so that it lands on other hardware.",
			Next: "dmesg -T | grep -E 'Hardware Error|mce:|AER:|Xid' | tail -30",
		},
		{
			Kind: NetdeviceStuck, Condition: KernelFault,
			Scope: NodeScope, Severity: Critical, Sources: Log,
			Logs:    Count{N: 3, Within: 5 * time.Minute},
			Summary: "The kernel cannot release a network device: something still holds a reference to it.",
			Meaning: "The network namespace of an ended pod is never freed. On some kernels no new namespace can be made " +
				"meanwhile, so that pods are neither started nor removed.",
			Evidence: []string{
				"journalctl -k -g 'unregister_netdevice: waiting for'",
				"lsns -t net | wc -l; ps -eo state=,pid=,wchan:32=,comm= | grep ^D",
			},
			LookAlike: "One or two lines for a device that then goes away: connections were still being closed.",
			Remedy: "If the same device is named for minutes it is a leak in the kernel: drain and reboot the node, and " +
				"update the kernel. IPv6 and UDP or SCTP inside the pod are often part of it.",
			Next: "dmesg -T | grep unregister_netdevice | tail -5",
		},
		{
			Kind: UncleanReboot, Condition: KernelFault,
			Scope: NodeScope, Severity: Info, Sources: Level,
			Summary: "The node was started anew without having been shut down.",
			Meaning: "A crash, a power cut or a reset: what was not yet written to disk is lost, and the reason may be in " +
				"the last lines before it or in pstore.",
			Evidence: []string{
				"journalctl -b -1 -n 50   # the end of the boot before",
				"ls -l /sys/fs/pstore /var/crash /var/lib/systemd/pstore",
				"last -x reboot shutdown | head",
			},
			LookAlike: "A reboot that was ordered: the journal of the boot before then ends with the shutdown. A journal " +
				"kept in memory shows nothing: not a proof.",
			Remedy: "Read the end of the previous boot and the files in pstore. Without any trace look at the host: " +
				"hypervisor events, the board's event log, power. Set up kdump and a persistent journal.",
			Next: "journalctl -b -1 -n 50 --no-pager",
		},
		{
			Kind: CPUStarvation, Condition: KernelFault,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{For: 5 * time.Minute}, Crit: Persist{For: 5 * time.Minute},
			Resources: []string{"pressure_cpu_some", "cpu_steal"},
			Summary:   "The system's own services do not get the CPU that they ask for, or the hypervisor takes it away.",
			Meaning: "kubelet, the runtime and sshd answer late: probes and leases time out although every pod keeps to " +
				"its limits.",
			Evidence: []string{
				"cat /sys/fs/cgroup/system.slice/cpu.pressure /proc/pressure/cpu",
				"grep '^cpu ' /proc/stat   # 8th number: steal",
				"systemd-cgtop -b -n 2 --order=cpu | tail -30",
			},
			LookAlike: "A high load average or 100 % CPU alone: busy is what a node is for, as long as the system's services " +
				"need not wait.",
			Remedy: "Steal: another VM type or host, or the CPU credit of a burstable one is used up. Pressure: reserve " +
				"CPU (systemReserved, kubeReserved), lower the pods' requests placed here, and find the unit or pod " +
				"with the most threads running.",
			Next: "systemd-cgtop -b -n 2 --order=cpu | tail -30",
		},
	}
}
