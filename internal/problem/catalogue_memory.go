package problem

import "time"

// This file holds the failures of cgroups as such (too many, or none to be had)
// and of memory.

// Kinds of the condition CgroupExhaustion.
const (
	CgroupLeak            Kind = "CgroupLeak"
	CgroupCreationRefused Kind = "CgroupCreationRefused"
)

// Kinds of the condition MemoryTrouble.
const (
	MemoryFragmented      Kind = "MemoryFragmented"
	PageAllocationFailure Kind = "PageAllocationFailure"
	MemoryStall           Kind = "MemoryStall"
	NodeOOM               Kind = "NodeOOM"
	NodeAllocatableOOM    Kind = "NodeAllocatableOOM"
	KernelMemoryGrowth    Kind = "KernelMemoryGrowth"
)

func memoryKinds() []Definition {
	return []Definition{
		{
			Kind: CgroupLeak, Condition: CgroupExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"cgroups_empty", "cgroups_dying", "cgroup_memory_ids"},
			Summary:   "cgroups pile up: empty ones that nobody removes, or removed ones that the kernel cannot free.",
			Meaning: "Each costs kernel memory, and kubelet, cAdvisor and systemd walk through all of them: CPU use creeps " +
				"up. When the 65,535 ids of memory cgroups are used up, no container can be created.",
			Evidence: []string{
				"grep -s dying /sys/fs/cgroup/cgroup.stat",
				"grep memory /proc/cgroups; find /sys/fs/cgroup/memory -type d | wc -l   # v1",
				"grep -rlx --include=cgroup.events 'populated 0' /sys/fs/cgroup | wc -l",
			},
			LookAlike: "A node with very many pods, and CI nodes that start thousands of containers: their count falls " +
				"again. Newer kernels on cgroup v2 leave memory out of /proc/cgroups.",
			Remedy: "Dying cgroups are held by page cache or kernel memory: `echo 2 > /proc/sys/vm/drop_caches` frees " +
				"many at some cost in speed. Empty ones: find who makes them (frequent CronJobs, health checks by " +
				"exec, a systemd or runc with a known leak) and update it; a reboot clears all.",
			Next: "grep -s dying /sys/fs/cgroup/cgroup.stat; grep -s memory /proc/cgroups",
		},
		{
			Kind: CgroupCreationRefused, Condition: CgroupExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Log,
			Logs: Count{N: 1, Within: 5 * time.Minute},
			Causes: []Edge{
				// The ids of memory cgroups are used up: ENOSPC, and from Linux 4.8 to
				// 5.6 ENOMEM (mem_cgroup_css_alloc).
				{Kind: CgroupLeak, Refused: true},
				{Kind: MemoryFragmented, Error: ENOMEM}, // no large block …
				{Kind: MemoryStall, Error: ENOMEM},      // … or none at all
				{Kind: KernelMemoryGrowth, Error: ENOMEM},
			},
			Summary: "The kernel refused to create a cgroup.",
			Meaning: "No new container can be created on this node, although disk and memory may look free: the errors are " +
				"\"no space left on device\" and \"cannot allocate memory\" from a mkdir under /sys/fs/cgroup.",
			Evidence: []string{
				"journalctl --since=-1h -g 'mkdir /sys/fs/cgroup'",
				"grep -s dying /sys/fs/cgroup/cgroup.stat; cat /proc/cgroups",
				"grep . /sys/fs/cgroup/cgroup.max.{depth,descendants}",
			},
			LookAlike: "`cgroup.procs: no space left on device`: a cpuset without CPUs on v1. An inotify line that names a " +
				"cgroup's path: inotify's watches are used up.",
			Remedy: "With \"no space left\": free dying cgroups (`echo 2 > /proc/sys/vm/drop_caches`), remove empty ones, " +
				"or reboot. With \"cannot allocate memory\": see to fragmentation and to kernel memory.",
			Next: "grep -s dying /sys/fs/cgroup/cgroup.stat; grep -s memory /proc/cgroups",
		},
		{
			Kind: MemoryFragmented, Condition: MemoryTrouble,
			Scope: NodeScope, Severity: Warning, Sources: Level,
			Warn: Persist{For: 5 * time.Minute}, Crit: Persist{For: 5 * time.Minute},
			Resources: []string{"memory_fragmentation"},
			Summary:   "Free memory lies in pieces too small for the kernel, and compaction does not succeed.",
			Meaning: "Creating containers, network namespaces and sockets can fail with \"cannot allocate memory\" while " +
				"gigabytes are free, and allocations stall while the kernel tries to compact.",
			Evidence: []string{
				"cat /proc/buddyinfo   # column n: free blocks of 2^n pages; 4 is the 5th",
				"grep -E 'compact_(stall|fail|success)|allocstall' /proc/vmstat",
				"cat /sys/kernel/debug/extfrag/extfrag_index",
			},
			LookAlike: "Plain lack of memory (the kernel's index near 0), and missing blocks of order 9, which only huge " +
				"pages need.",
			Remedy: "`echo 1 > /proc/sys/vm/compact_memory` helps at once; raise vm.min_free_kbytes so that it lasts. If " +
				"it comes back, drop caches (`echo 3 > /proc/sys/vm/drop_caches`), or drain and reboot.",
			Next: "cat /proc/buddyinfo; grep -E 'compact_|allocstall' /proc/vmstat",
		},
		{
			Kind: PageAllocationFailure, Condition: MemoryTrouble,
			Scope: NodeScope, Severity: Warning, Sources: Log,
			Logs: Count{N: 1, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: MemoryFragmented},
				{Kind: MemoryStall},
				{Kind: KernelMemoryGrowth},
			},
			Summary: "The kernel could not get the pages that it asked for.",
			Meaning: "What asked for them failed: usually network packets are dropped, or a container, a network device or " +
				"a cgroup could not be created. One line may be harmless; repeated ones mean that the node fails at " +
				"random.",
			Evidence: []string{
				"journalctl -k -g 'page allocation failure|SLUB: Unable to allocate'",
				"cat /proc/buddyinfo",
				"grep -E 'MemAvailable|MemFree|SUnreclaim' /proc/meminfo",
			},
			LookAlike: "Single failures of order 0 in interrupt context, which drivers retry (ten of them in ten minutes are " +
				"needed). Those with __GFP_NORETRY, whose caller does without, and with GFP_DMA, of 16 MiB. SLUB lines of " +
				"which the next names a cache with a cgroup's id, \"kmalloc-64(123:…)\": that is one container's limit.",
			Remedy: "Order 1 and above: the memory is fragmented, see MemoryFragmented. Order 0: raise vm.min_free_kbytes " +
				"and reserve more memory for the system (systemReserved).",
			Next: "dmesg -T | grep -A3 -E 'page allocation failure|SLUB: Unable' | tail -20",
		},
		{
			Kind: MemoryStall, Condition: MemoryTrouble,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"pressure_memory_full"},
			Summary:   "All tasks spend much of their time waiting for memory to be reclaimed.",
			Meaning: "The node thrashes: probes and the runtime time out, and it may hang for minutes before the OOM " +
				"killer acts. kubelet's MemoryPressure may not show it, since page cache counts as available.",
			Evidence: []string{
				"cat /proc/pressure/memory",
				"grep -rs --include=memory.pressure '^full' /sys/fs/cgroup | sort -t= -k3n | tail",
				"vmstat 1 5",
			},
			LookAlike: "Little free memory by itself: page cache uses it and gives it back. One pod that thrashes within its " +
				"own limit hurts only itself and has pod scope.",
			Remedy: "Find the cgroup with the highest pressure: raise that pod's limit or move it. Reserve memory for the " +
				"system (systemReserved, kubeReserved), and set kubelet's evictionHard memory.available higher.",
			Next: "cat /proc/pressure/memory",
		},
		{
			Kind: NodeOOM, Condition: MemoryTrouble,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "The node as a whole ran out of memory and the kernel killed a process.",
			Meaning: "The victim can be any pod, whether or not it used more than it requested, or a daemon of the node. " +
				"It means that eviction came too late or that memory outside the pods has grown.",
			Evidence: []string{
				"journalctl -k -g 'oom-kill:constraint=CONSTRAINT_(NONE|CPUSET|MEMORY_POLICY)'",
				"journalctl -k -g 'Out of memory: Kill'",
				"grep -E 'MemAvailable|SUnreclaim|Shmem:' /proc/meminfo",
			},
			LookAlike: "A kill within a container's own limit (CONSTRAINT_MEMCG, \"Memory cgroup out of memory\"); oom_kill " +
				"of /proc/vmstat counts both.",
			Remedy: "The kernel's report lists all tasks by memory: find what grew. Set limits on pods without them; " +
				"raise systemReserved, kubeReserved and evictionHard memory.available so that kubelet acts first.",
			Next: "dmesg -T | grep -iE 'oom-kill|out of memory|killed process' | tail",
		},
		{
			Kind: NodeAllocatableOOM, Condition: MemoryTrouble,
			Scope: NodeScope, Severity: Warning, Sources: Level | Log,
			Logs: Count{N: 1, Within: 5 * time.Minute},
			Summary: "The pods together reached the memory limit of kubepods or of a QoS cgroup, and the kernel killed a " +
				"process in one.",
			Meaning: "The limit kept the node alive, at the cost of a pod that may be within its own limit. Pods are " +
				"overcommitted: their limits, or their use without limits, add up to more than the node can give.",
			Evidence: []string{
				"cat /sys/fs/cgroup/kubepods.slice/memory.{max,current,events}",
				"journalctl -k -g 'oom_memcg=/kubepods'",
			},
			LookAlike: "A container or pod that hit its own limit: oom_memcg then names the pod or the container, not " +
				"kubepods or a QoS class.",
			Remedy: "Give the pods memory requests near their real use, so that fewer are placed here; set limits; check " +
				"that evictionHard memory.available leaves kubelet time to evict.",
			Next: "dmesg -T | grep -iE 'oom-kill|killed process' | tail",
		},
		{
			Kind: KernelMemoryGrowth, Condition: MemoryTrouble,
			Scope: NodeScope, Severity: Warning, Sources: Level,
			Warn: Persist{For: time.Hour}, Crit: Persist{For: time.Hour},
			Resources: []string{"slab_unreclaimable"},
			Summary:   "The kernel's own unreclaimable memory takes more than a quarter of RAM and keeps growing.",
			Meaning: "It belongs to no pod and no eviction gives it back: less and less is left for pods, until they are " +
				"evicted or killed for memory that they do not use.",
			Evidence: []string{
				"grep -E 'SUnreclaim|SReclaimable|KernelStack|PageTables|Percpu' /proc/meminfo",
				"slabtop -o -s c | head -20",
				"grep -s dying /sys/fs/cgroup/cgroup.stat",
			},
			LookAlike: "Reclaimable slab (dentries, inodes), which is a cache, and a high amount that stays level, as on " +
				"file servers.",
			Remedy: "slabtop names the cache that grows; it points to the driver or subsystem. Dying cgroups hold slab, " +
				"too: see CgroupLeak. Update the kernel or the module; until then reboot in turn.",
			Next: "grep -E 'SUnreclaim|Percpu|PageTables' /proc/meminfo; slabtop -o -s c | head -15",
		},
	}
}
