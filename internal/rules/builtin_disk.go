package rules

import "github.com/nodevitals/nodevitals/internal/problem"

// notDisk are the other things that answer "no space left on device": inotify
// watches, cgroups, System V objects, BPF maps, namespaces (user.max_*_namespaces),
// and mount(2) at fs.mount-max, as runc writes it.
const notDisk = `[Ii]notify|fsnotify|[Ff]ailed to watch|\bwatch: |watcher|/sys/fs/cgroup|cgroup|semget|semaphore|shmget|msgget|[Bb][Pp][Ff]|[Nn]etlink|NETLINK|ipset|iptables` +
	`|unshare|(?:new|user) namespace|fork/exec \S+: [Nn]o space|flags: 0x[0-9a-f]+(?:, data: \S+)?: [Nn]o space`

// diskRules recognise lack of disk space.
func diskRules() []Rule {
	return []Rule{
		{
			Kind: problem.NoSpaceLeft, Sources: Host,
			Pattern: `(?:(?P<path>/[^\s:"\\]+)\\*"?: )?(?:[Nn]o space left on device|\(28: No space left)`, Exclude: notDisk,
			Touches: []string{"mount:{path}"},
			Message: "[{identifier}: ]a write[ to {path}] failed: no space left on device",
		},
		{
			// Structured, then before 1.20.
			Kind: problem.EvictionImminent, Name: "reclaim", Sources: Kubelet,
			Pattern: `[Ee]viction manager: (?:attempting to reclaim|must evict pod\(s\) to reclaim)(?:` + quote + `?:?(?: resourceName=` + quote + `| )(?P<resource>[-\w.]+))?`,
			Subject: "{resource}", // by which the signal is found
			Message: "kubelet's eviction manager must reclaim[ {resource}]",
		},
		{
			// "failed once" comes at every start. Without the runtime's numbers kubelet
			// collects nothing, however much room there is.
			Kind: problem.EvictionImminent, Name: "images", Sources: Kubelet,
			Pattern: `garbage collection failed multiple times in a row|failed to garbage collect required amount of images`,
			Exclude: `collection failed once|invalid capacity|failed to get image|code = (?:Unavailable|DeadlineExceeded)`,
			Subject: "imagefs.available",
			Message: "kubelet cannot remove enough images to make room",
		},
	}
}
