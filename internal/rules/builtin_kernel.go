package rules

import "github.com/nodevitals/nodevitals/internal/problem"

// kernelRules recognise the faults that the kernel reports of itself and of the
// hardware.
func kernelRules() []Rule {
	return []Rule{
		{
			// kernel/hung_task.c.
			Kind: problem.TaskHung, Sources: Kernel,
			Pattern: `INFO: task (?P<process>.{1,40}?):(?P<pid>\d+) (?:<[^>]*> ?)?(?:is )?blocked (?:in I/O wait )?for more than (?P<seconds>\d+) seconds`,
			Touches: []string{"pid:{pid}"},
			Message: "the task {process} has been blocked for more than {seconds} s",
		},
		{
			// kernel/watchdog.c, kernel/watchdog_hld.c, kernel/rcu/tree_stall.h,
			// kernel/workqueue.c.
			Kind: problem.SoftLockup, Name: "soft", Sources: Kernel,
			Pattern: `BUG: soft lockup - CPU#(?P<cpu>\d+) stuck for (?P<seconds>\d+)s`,
			Message: "CPU {cpu} was stuck in the kernel for {seconds} s",
		},
		{
			Kind: problem.SoftLockup, Name: "hard", Sources: Kernel,
			Pattern: `Watchdog detected hard LOCKUP on cpu (?P<cpu>\d+)`,
			Message: "CPU {cpu} was stuck in the kernel with interrupts off",
		},
		{
			Kind: problem.SoftLockup, Name: "rcu", Sources: Kernel,
			Pattern: `INFO: rcu_\w+ (?:self-)?detected (?:expedited )?stalls?|rcu_\w+ kthread starved for \d+ jiffies|BUG: workqueue lockup`,
			Exclude: `rcu_tasks`, // waits for tasks, not for CPUs (kernel/rcu/tasks.h)
			Message: "a CPU did not come out of the kernel (RCU stall)",
		},
		{
			// "traps: x[1] general protection fault ip:…" is a user's program. Nothing dies of
			// a topology or a counter that is wrong (kernel/sched/topology.c, kernel/fork.c),
			// nor of what the kernel should not have done in some context.
			Kind: problem.KernelOops, Sources: Kernel,
			Pattern: `\bBUG: |\bkernel BUG at |\bOops: |general protection fault(?:, probably|: [0-9a-f]{4})|Unable to handle kernel ` +
				`|Internal error: .*\[#\d+\]|(?:divide error|invalid opcode|stack segment): 0000 \[#\d+\]|\bKernel panic - not syncing`,
			Exclude: `soft lockup|workqueue lockup|traps: |\bip:[0-9a-f]+ sp:|[Cc]ommand line:` +
				`|BUG: (?:arch topology|Bad rss-counter|non-zero pgtables_bytes|sleeping function|using )`,
			Message: "the kernel met a fault of its own",
		},
		{
			// drivers/acpi/apei/ghes.c, which numbers them. Recoverable are also PCIe errors
			// that AER calls non-fatal; of memory and CPUs the lines below tell more.
			Kind: problem.HardwareError, Name: "firmware", Sources: Kernel,
			Pattern: `\{\d+\}\[Hardware Error\]: .*event severity: fatal`,
			Message: "the firmware reported a hardware error (fatal)",
		},
		{
			Kind: problem.HardwareError, Name: "recoverable", Sources: Kernel, Severity: problem.Warning,
			Pattern: `\{\d+\}\[Hardware Error\]: .*event severity: recoverable`,
			Message: "the firmware reported a hardware error (recoverable)",
		},
		{
			// drivers/acpi/apei/bert.c: what ended the boot before, and on some boards is told
			// at every boot since.
			Kind: problem.HardwareError, Name: "boot before", Sources: Kernel, Severity: problem.Warning,
			Pattern: `(?:^|[^}])\[Hardware Error\]: event severity: (?P<severity>fatal|recoverable)`,
			Message: "the firmware tells of a hardware error ({severity}) before this boot",
		},
		{
			Kind: problem.HardwareError, Name: "cpu", Sources: Kernel,
			Pattern: `\[Hardware Error\]: CPU \d+: Machine Check(?: Exception)?: [4-7c-f]|Uncorrected (?:hardware memory )?error|\[Hardware Error\]: (?:System Fatal error|Uncorrected, software)|Fatal machine check|Machine [Cc]heck: Processor context corrupt`,
			Exclude: `[Cc]orrected error, no action|severity=`,
			Message: "a machine check that could not be corrected",
		},
		{
			// drivers/edac: UE is uncorrected, CE corrected. mm/memory-failure.c, where
			// older kernels say MCE.
			Kind: problem.HardwareError, Name: "memory", Sources: Kernel,
			Pattern: `EDAC .*: \d+ UE |\b(?:Memory failure:|MCE) 0x[0-9a-f]+: `, Exclude: `already hardware poisoned`,
			Message: "memory has an error that could not be corrected",
		},
		{
			// drivers/pci/pcie/aer.c, before and since Linux 6.8.
			Kind: problem.HardwareError, Name: "pcie", Sources: Kernel,
			Pattern: `(?P<pci>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d).*(?:severity=|AER: (?:Multiple )?)Uncorrect(?:ed|able) \(Fatal\)`,
			Subject: "{pci}",
			Message: "the PCIe device {pci} had a fatal error",
		},
		{
			// Those of NVIDIA's Xid codes that mean the GPU, its memory or its link; the
			// others can come from the program that uses it.
			Kind: problem.HardwareError, Name: "gpu", Sources: Kernel,
			Pattern: `NVRM: Xid \((?:PCI:)?(?P<pci>[0-9a-fA-F:.]+)\): (?P<xid>48|63|64|74|79|92|94|95|119),`,
			Subject: "GPU {pci}",
			Message: "the GPU {pci} reported Xid {xid}",
		},
		{
			// A driver that finds it gone when it is loaded has no Xid for that.
			Kind: problem.HardwareError, Name: "gpu lost", Sources: Kernel,
			Pattern: `NVRM: (?:The NVIDIA )?GPU (?P<pci>[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})\.\d[^,]*fallen off the bus`,
			Subject: "GPU {pci}",
			Message: "the GPU {pci} does not answer any more",
		},
		{
			// net/core/dev.c.
			Kind: problem.NetdeviceStuck, Sources: Kernel,
			Pattern: `unregister_netdevice: waiting for (?P<link>\S+) to become free`, Subject: "{link}",
			Message: "the kernel cannot release the network device {link}",
		},
	}
}
