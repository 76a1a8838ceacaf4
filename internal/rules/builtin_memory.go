package rules

import (
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	// killed is the victim of the OOM killer; a comm may hold spaces and parentheses.
	killed = `process \d+ \((?P<process>.{1,15}?)\)(?:,| total-vm| score|$)`
	// allPods is the cgroup of all pods or of a QoS class, below any cgroupRoot.
	allPods = `(?:/[^/,\s]+)*?/(?:kubepods(?:/burstable|/besteffort)?` +
		`|[^/,\s]*kubepods\.slice(?:/[^/,\s]*kubepods-(?:burstable|besteffort)\.slice)?)`
	// podCgroup is that of one pod, whose limit is reached before its container's.
	podCgroup = `(?:/[^/,\s]+)*?/(?:pod[-0-9a-f]{32,36}|[^/,\s]*kubepods[^/,\s]*-pod[^/,\s]+\.slice)`
	// makeCgroup is the making of a cgroup, up to the error.
	makeCgroup = `(?:mkdir (?P<path>/sys/fs/cgroup/[^\s:]+)|[Ff]ailed to create cgroup \S+?|[Cc]annot create directory .?/sys/fs/cgroup/\S+?):? ?`
	// notMakeCgroup are errors of things in a cgroup.
	notMakeCgroup = `inotify|cgroup\.procs`
)

// memoryRules recognise what the kernel says of lack of memory and of cgroups.
func memoryRules() []Rule {
	return []Rule{
		{
			// mm/oom_kill.c since 5.0, where oom_memcg is whose limit it was, and before.
			Kind: problem.NodeAllocatableOOM, Sources: Kernel,
			Pattern: `(?:oom-kill:constraint=CONSTRAINT_MEMCG.*,oom_memcg=|Task in (?P<task>\S+) killed as a result of limit of )(?P<cgroup>` + allPods + `)(?:,(?:task_memcg=(?P<task_memcg>/[^,]*))?|\s*$)`,
			Touches: []string{"cgroup:{task_memcg}", "cgroup:{task}"}, // of the one that was killed
			Message: "the pods together reached the memory limit of {cgroup}",
		},
		{
			Kind: problem.ContainerOOM, Name: "since 5.0", Sources: Kernel,
			Pattern: `oom-kill:constraint=CONSTRAINT_MEMCG.*,oom_memcg=(?P<cgroup>` + podCgroup + `|/[^,]+)[/,]`,
			Exclude: `oom_memcg=` + allPods + `,`,
			Message: "a pod or cgroup reached its own memory limit and the kernel killed in it",
		},
		{
			Kind: problem.ContainerOOM, Name: "before 5.0", Sources: Kernel,
			Pattern: `Task in (?P<cgroup>` + podCgroup + `|/\S+)(?:/\S*)? killed as a result of limit of `,
			Exclude: `limit of ` + allPods + `\s*$`,
			Message: "a pod or cgroup reached its own memory limit and the kernel killed in it",
		},
		{
			// Before and since Linux 5.0. A line that names the cgroup comes before it (the
			// agent takes both for one), but for all kills of a storm.
			Kind: problem.ContainerOOM, Name: "killed", Sources: Kernel,
			Pattern: `Memory cgroup out of memory: (?:OOM victim|Kill(?:ed)? ` + killed + `)`,
			Message: "a container reached its own memory limit[ and the kernel killed {process} in it]",
		},
		{
			Kind: problem.NodeOOM, Name: "since 5.0", Sources: Kernel,
			Pattern: `oom-kill:constraint=CONSTRAINT_(?:NONE|CPUSET|MEMORY_POLICY)(?:,.*,task=(?P<process>.{1,15}?),pid=)?`,
			Message: "the node ran out of memory[ and the kernel killed {process}]", Touches: []string{"node"},
		},
		{
			Kind: problem.NodeOOM, Name: "killed", Sources: Kernel,
			Pattern: `\bOut of memory(?: and no killable processes|(?: \(oom_kill_allocating_task\))?: Kill(?:ed)? (?:` + killed + `|process))`,
			Message: "the node ran out of memory[ and the kernel killed {process}]", Touches: []string{"node"},
		},
		{
			// mm/page_alloc.c; before 3.x the order stood behind a full stop. Who asks with
			// __GFP_NORETRY does without (include/linux/gfp_types.h), and the 16 MiB of
			// GFP_DMA are no matter of the node's memory.
			Kind: problem.PageAllocationFailure, Name: "blocks", Sources: Kernel,
			Pattern: `(?:(?P<task>\S{1,20}): )?page allocation failure[:.] order:(?P<order>[1-9]\d*)`,
			Exclude: `__GFP_NORETRY|GFP_DMA[|)]`,
			Message: "the kernel found no contiguous memory of order {order}[ for {task}]",
		},
		{
			// Drivers retry single pages in interrupt context.
			Kind: problem.PageAllocationFailure, Name: "pages", Sources: Kernel,
			Pattern: `page allocation failure[:.] order:0\b`,
			Logs:    problem.Count{N: 10, Within: 10 * time.Minute},
			Message: "the kernel found no free page, again and again",
		},
		{
			// mm/slub.c, mm/slab.c: the line behind "SLUB: Unable to allocate memory". Before
			// 5.9 a cache with a memory cgroup's suffix, "kmalloc-64(123:ID)", was at that
			// container's limit.
			Kind: problem.PageAllocationFailure, Name: "slab", Sources: Kernel,
			Pattern: `\bcache: (?P<cache>[^\s(,]+), object size: \d+,`,
			Message: "the kernel's slab allocator found no memory for {cache}",
		},
		{
			// fs/xfs/kmem.c, after each hundred attempts. A few bytes are missing at a memory
			// cgroup's limit as well, many only for want of contiguous memory.
			Kind: problem.PageAllocationFailure, Name: "xfs", Sources: Kernel,
			Pattern: `XFS: (?P<task>.{1,15}?)\(\d+\) possible memory allocation deadlock size (?P<bytes>\d{5,}) in `,
			Message: "XFS found no contiguous memory of {bytes} bytes for {task}, again and again",
		},
		{
			// runc, containerd, kubelet, systemd. The same errors of cgroup.procs are an
			// empty cpuset's, and of inotify those of its watches.
			Kind: problem.CgroupCreationRefused, Name: "space", Sources: Host, Error: problem.ENOSPC,
			Pattern: makeCgroup + `[Nn]o space left on device`, Exclude: notMakeCgroup,
			Message: "the kernel refused to make a cgroup[ at {path}]: no space left on device", Touches: []string{"node"},
		},
		{
			Kind: problem.CgroupCreationRefused, Name: "memory", Sources: Host, Error: problem.ENOMEM,
			Pattern: makeCgroup + `[Cc]annot allocate memory`, Exclude: notMakeCgroup,
			Message: "the kernel refused to make a cgroup[ at {path}]: cannot allocate memory", Touches: []string{"node"},
		},
	}
}
