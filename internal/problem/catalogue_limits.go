package problem

import "time"

// This file holds the limits that fail quietly: inotify and connection tracking.

// Kinds of the condition InotifyExhaustion.
const (
	InotifyInstancesNearLimit Kind = "InotifyInstancesNearLimit"
	InotifyWatchesNearLimit   Kind = "InotifyWatchesNearLimit"
	InotifyRefused            Kind = "InotifyRefused"
)

// Kinds of the condition ConntrackExhaustion.
const (
	ConntrackNearLimit Kind = "ConntrackNearLimit"
	ConntrackDropping  Kind = "ConntrackDropping"
)

func limitKinds() []Definition {
	return []Definition{
		{
			Kind: InotifyInstancesNearLimit, Condition: InotifyExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"inotify_instances"},
			Summary:   "A user id has nearly as many inotify instances open as fs.inotify.max_user_instances allows.",
			Meaning: "The limit counts by user over all pods, and most containers are uid 0, as kubelet is. At the limit, " +
				"programs that watch files fail to start with \"too many open files\": kubelet, log collectors, " +
				"controllers, journalctl -f.",
			Evidence: []string{
				"find /proc/[0-9]*/fd -lname anon_inode:inotify | cut -d/ -f3 | sort | uniq -c",
				"sysctl fs.inotify.max_user_instances",
			},
			LookAlike: "A descriptor that was duplicated or inherited shows twice and counts once. Users in another user " +
				"namespace have a limit of their own as well.",
			Remedy: "Raise fs.inotify.max_user_instances (the default of 128 is too low for a node; 8192 is common) with " +
				"a file in /etc/sysctl.d, and look at the holder that opens so many.",
			Next: "find /proc/[0-9]*/fd -lname anon_inode:inotify | cut -d/ -f3 | sort | uniq -c",
		},
		{
			Kind: InotifyWatchesNearLimit, Condition: InotifyExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"inotify_watches"},
			Summary:   "A user id has nearly as many inotify watches as fs.inotify.max_user_watches allows.",
			Meaning: "The limit counts by user over all pods. At the limit new watches fail with \"no space left on " +
				"device\", which looks like a full disk; kubelet then misses cgroups and configuration changes.",
			Evidence: []string{
				"grep -sc ^inotify /proc/[0-9]*/fdinfo/* | grep -v ':0$' | sort -t: -k2n | tail",
				"sysctl fs.inotify.max_user_watches",
			},
			LookAlike: "A descriptor that was duplicated or inherited shows its watches twice. `df` that shows free space " +
				"points here, not to the disk.",
			Remedy: "Raise fs.inotify.max_user_watches (524288 is common; each watch costs about 1 KiB of kernel memory) " +
				"with a file in /etc/sysctl.d, and find the program that watches whole trees.",
			Next: "grep -sc ^inotify /proc/[0-9]*/fdinfo/* | grep -v ':0$' | sort -t: -k2n | tail",
		},
		{
			Kind: InotifyRefused, Condition: InotifyExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs: Count{N: 1, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: InotifyInstancesNearLimit, Refused: true},
				{Kind: InotifyWatchesNearLimit, Refused: true},
			},
			Summary: "The kernel refused an inotify instance (EMFILE) or watch (ENOSPC).",
			Meaning: "What needs to watch files does not work: kubelet may fail to start, containers' cgroups go unseen, " +
				"log collectors and ingress controllers crash, and `kubectl logs -f` stops.",
			Evidence: []string{
				"timeout 2 tail -f /etc/hostname   # \"inotify cannot be used\" when it is refused",
				"sysctl fs.inotify.max_user_instances fs.inotify.max_user_watches",
				"journalctl --since=-1h -g 'inotify|fsnotify|file watchers'",
			},
			LookAlike: "A full disk gives the same \"no space left on device\", and RLIMIT_NOFILE the same \"too many open " +
				"files\"; here the line names inotify, fsnotify or a watcher, whatever path follows.",
			Remedy: "Raise the limit that was hit at once: `sysctl -w fs.inotify.max_user_instances=8192 " +
				"fs.inotify.max_user_watches=524288`, keep it in /etc/sysctl.d, and restart what failed.",
			Next: "sysctl fs.inotify.max_user_instances fs.inotify.max_user_watches",
		},
		{
			Kind: ConntrackNearLimit, Condition: ConntrackExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"conntrack_entries"},
			Summary:   "The host's connection tracking table is nearly full.",
			Meaning: "When it is full, new connections through the node are dropped, whichever pod they belong to: DNS " +
				"time-outs and failed probes at random, while open connections go on.",
			Evidence: []string{
				"sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max",
				"cat /proc/net/stat/nf_conntrack",
				"conntrack -L 2>/dev/null | grep -o 'src=[^ ]*' | sort | uniq -c | sort -n | tail",
			},
			LookAlike: "The numbers inside a pod: each network namespace has a table of its own, and only the host's counts " +
				"here. No module: not applicable.",
			Remedy: "Raise net.netfilter.nf_conntrack_max (kube-proxy sets it from conntrack.maxPerCore and " +
				"conntrack.min) and find who opens so many connections. NodeLocal DNSCache and shorter UDP time-outs " +
				"reduce them.",
			Next: "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max",
		},
		{
			Kind: ConntrackDropping, Condition: ConntrackExhaustion,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Causes:  []Edge{{Kind: ConntrackNearLimit, Refused: true}},
			Summary: "Packets are dropped because the connection tracking table is full.",
			Meaning: "New connections of all pods and of the node fail by time-out: DNS first, then services, probes and " +
				"the way to the API server.",
			Evidence: []string{
				"journalctl -k -g 'nf_conntrack: table full'",
				"cat /proc/net/stat/nf_conntrack   # column drop, in hexadecimal, a line a CPU",
				"sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max",
			},
			LookAlike: "A rising drop while the table has room (two packets that insert the same entry), early_drop and " +
				"insert_failed: those do not mean that it is full. \"in netns N\" may name a pod's table.",
			Remedy: "Raise the limit now: `sysctl -w net.netfilter.nf_conntrack_max=…` (about 320 bytes of kernel memory " +
				"an entry), then find the source of the connections, and set the value in kube-proxy's configuration " +
				"so that it lasts.",
			Next: "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max",
		},
	}
}
