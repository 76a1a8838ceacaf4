package rules

import "github.com/nodevitals/nodevitals/internal/problem"

// limitRules recognise limits that are reached: inotify, connection tracking,
// open files, neighbours, TCP memory.
func limitRules() []Rule {
	return []Rule{
		{
			Kind: problem.InotifyRefused, Name: "program", Sources: Host,
			Pattern: noInotify,
			Message: "[{identifier}: ]inotify refused a watch or an instance",
		},
		{
			// What a container prints is about its own pod, whose user's limit it is.
			Kind: problem.InotifyRefused, Name: "pod", Sources: Pod | CoreDNS,
			Pattern: noInotify,
			Subject: "{pod}", Scope: problem.PodScope,
			Message: "inotify refused a watch or an instance to a program[ of {pod}]",
		},
		{
			// net/netfilter/nf_conntrack_core.c; the prefix is doubled where pr_fmt
			// is, and a table of another namespace is named.
			Kind: problem.ConntrackDropping, Sources: Kernel,
			Pattern: `(?:nf|ip)_conntrack: table full(?: in netns (?P<netns>\d+))?, dropping packet`,
			Message: "the connection tracking table[ of network namespace {netns}] is full and packets are dropped",
		},
		{
			// fs/file_table.c, and ENFILE of any program.
			Kind: problem.SystemFileTableNearLimit, Sources: Host,
			Pattern: `VFS: file-max limit (?P<limit>\d+) reached|[Tt]oo many open files in system`,
			Message: "the system's table of open files is full[ ({limit})]",
		},
		{
			Kind: problem.DaemonFilesNearLimit, Sources: Kubelet | Runtimes | KubeProxy,
			Pattern: `(?:\baccept4?|\bsocket|\bpipe2?|\bdup3?|\bopen \S+|\bepoll_create1?|fork/exec \S+|http: Accept error.*): too many open files`,
			Exclude: `open files in system|inotify|fsnotify`,
			Subject: "{identifier}", Touches: []string{"process:{identifier}"},
			Message: "[{identifier}: ]a daemon has used up its open files",
		},
		{
			// net/core/neighbour.c, before and after 4.15.
			Kind: problem.NeighbourTableNearLimit, Sources: Kernel,
			Pattern: `(?:(?P<table>(?:arp|ndisc)_cache): )?[Nn]eighbou?r table overflow`, Subject: "{table}", Touches: []string{"node"},
			Message: "[{table}: ]a neighbour table is full",
		},
		{
			// net/ipv4/tcp.c, net/ipv4/tcp_timer.c.
			Kind: problem.TCPMemoryNearLimit, Name: "memory", Sources: Kernel,
			Pattern: `TCP: out of memory -- consider tuning tcp_mem`,
			Message: "TCP has reached its memory limit tcp_mem",
		},
		{
			Kind: problem.TCPMemoryNearLimit, Name: "orphans", Sources: Kernel,
			Pattern: `TCP: too many (?:of )?orphaned sockets`,
			Message: "there are more orphaned TCP sockets than tcp_max_orphans allows",
		},
	}
}

// noInotify is how programs say that inotify refused them: Go's libraries, C's and
// systemd, then Fluent Bit, Java and .NET, Python's watchdog, Node.js.
const noInotify = `(?:[Ii]notify\w*(?:\([^)]*\))?|fsnotify|directory watch|\bto watch|watchers?)(?:| .*): (?:[Nn]o space left on device|[Tt]oo many open files)` +
	`|inotify_init1? [Tt]oo many open files` +
	`|inotify\.c:\d+ errno=(?:24|28)\]` +
	`|[Ii]notify.*user limit|[Uu]ser limit (?:\(\d+\) )?(?:on|of) (?:the )?(?:total )?(?:number of )?inotify` +
	`|inotify (?:resources|watch(?:es)?|instances?) (?:exhausted|limit)` +
	`|limit for number of file watchers reached` +
	`|[Ff]ailed to watch .*: no space left on device`
