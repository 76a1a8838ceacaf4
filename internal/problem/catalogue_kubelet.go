package problem

import "time"

// This file holds the failures of kubelet: its process, its view of the runtime,
// its cgroups, its credentials and its way to the API server.

// Kinds of the condition KubeletUnhealthy.
const (
	KubeletDown                Kind = "KubeletDown"
	KubeletNotAnswering        Kind = "KubeletNotAnswering"
	PLEGUnhealthy              Kind = "PLEGUnhealthy"
	FrequentKubeletRestart     Kind = "FrequentKubeletRestart"
	KubeletCertificateExpiring Kind = "KubeletCertificateExpiring"
	QOSCgroupFailure           Kind = "QOSCgroupFailure"
	NodeAllocatableFailure     Kind = "NodeAllocatableFailure"
	KubeletMemoryHigh          Kind = "KubeletMemoryHigh"
	APIServerUnreachable       Kind = "APIServerUnreachable"
	CgroupDriverMismatch       Kind = "CgroupDriverMismatch"
	ConfigSyncStarved          Kind = "ConfigSyncStarved"
	EvictionImminent           Kind = "EvictionImminent"
	ToolMissing                Kind = "ToolMissing"
)

// kubeletLog shows kubelet's newest lines, whichever unit it lives in.
const kubeletLog = "journalctl -u kubelet -u 'k3s*' -u 'rke2*' --since=-1h"

func kubeletKinds() []Definition {
	return []Definition{
		{
			Kind: KubeletDown, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Warn: Persist{Runs: 3}, Crit: Persist{Runs: 3},
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Causes:  kubeletDownCauses(),
			Summary: "kubelet is not running.",
			Meaning: "Running containers go on, but nothing restarts or probes them, and the control plane marks the node " +
				"NotReady within a minute; after five more its pods are evicted.",
			Evidence: []string{
				"systemctl status kubelet",
				kubeletLog + " -n 50",
				"curl -sS http://127.0.0.1:10248/healthz",
			},
			LookAlike: "A planned restart or upgrade, which is over in seconds, and distributions that run kubelet inside " +
				"another process (k3s, microk8s).",
			Remedy: "The last lines before it ended say why: a bad flag or configuration, swap, the cgroup driver, an " +
				"expired certificate, a full disk. Mend that, then `systemctl reset-failed kubelet; systemctl restart " +
				"kubelet`.",
			Next: kubeletLog + " -n 50",
		},
		{
			Kind: KubeletNotAnswering, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Warn: Persist{Runs: 3}, Crit: Persist{Runs: 3},
			Summary: "kubelet runs, but its health endpoint does not answer or reports a failure.",
			Meaning: "A sync loop that is stuck, or a process without CPU, memory or descriptors: pods are neither started " +
				"nor stopped, and the node is about to become NotReady.",
			Evidence: []string{
				"curl -sS -m 5 'http://127.0.0.1:10248/healthz?verbose'",
				kubeletLog + " -n 50",
				"ps -eLo state=,tid=,wchan:32=,comm= | grep kubelet",
			},
			LookAlike: "healthzPort: 0 or another address in kubelet's configuration: then there is nothing to ask. The " +
				"first seconds after a start.",
			Remedy: "Look at what its threads wait for (wchan) and at the runtime, which it depends on. If a mount hangs, " +
				"mend that first: a restart would hang as well. Otherwise restart kubelet; running containers are not " +
				"touched.",
			Next: "curl -sS -m 5 'http://127.0.0.1:10248/healthz?verbose'",
		},
		{
			Kind: PLEGUnhealthy, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs: Count{N: 1, Within: 5 * time.Minute},
			// Between two relists that time out the health check passes for a moment.
			NeedsBoth: true,
			Causes: []Edge{
				{Kind: RuntimeDown},
				{Kind: RuntimeNotAnswering},
				{Kind: RuntimeDeadlineExceeded},
				{Kind: TasksStuckOnMount, Touching: nodeTasks()},
				{Kind: DiskHung},
				{Kind: IOStall},
				{Kind: MemoryStall},
				{Kind: CPUStarvation},
			},
			Summary: "kubelet's pod lifecycle event generator (PLEG) could not list the containers for more than three " +
				"minutes.",
			Meaning: "kubelet no longer knows the state of its pods; it stops starting and stopping them and reports the " +
				"node as NotReady. Nearly always the runtime below is slow or hung.",
			Evidence: []string{
				"journalctl --since=-1h -g 'PLEG'",
				"curl -sS -m 5 http://127.0.0.1:10248/healthz",
				"time crictl --timeout 60s pods -q | wc -l",
			},
			LookAlike: "\"pleg has yet to be successful\" at every start of kubelet, and the SyncLoop (PLEG) and relisting " +
				"lines of normal work.",
			Remedy: "Mend the cause: the runtime, a hung mount, the disk. Time `crictl pods` and `crictl ps`: if they " +
				"hang, so does PLEG. Very many or dead containers make it slow; remove them. Restart the runtime " +
				"before kubelet.",
			Next: "journalctl --since=-1h -n 10 -g 'PLEG'",
		},
		{
			Kind: FrequentKubeletRestart, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Confirm:   true, // who restarts it on purpose makes the same lines
			Logs:      Count{N: 5, Within: 20 * time.Minute},
			Resources: []string{"kubelet_restarts"},
			// A kubelet that was refused inotify ends at its start.
			Causes:  append(kubeletDownCauses(), Edge{Kind: InotifyRefused}),
			Summary: "kubelet was restarted five times or more in 20 minutes.",
			Meaning: "Between the restarts the node flaps between Ready and NotReady, probes start anew, and pods may be " +
				"evicted although nothing is wrong with them.",
			Evidence: []string{
				"systemctl show -p NRestarts,ExecMainStatus,Result kubelet",
				"journalctl --since=-1h -g 'Main process exited|panic:|fatal error'",
			},
			LookAlike: "A person or a configuration tool that restarts it on purpose: those do not count in NRestarts.",
			Remedy: "Read the last lines before each end: they name the reason. A liveness script that restarts kubelet " +
				"too eagerly is a common one.",
			Next: kubeletLog + " -n 60",
		},
		{
			Kind: KubeletCertificateExpiring, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			// One look may fall into the moment in which the file is replaced.
			Warn: Persist{Runs: 2}, Crit: Persist{Runs: 2},
			Logs:      Count{N: 1, Within: 5 * time.Minute},
			Resources: []string{"certificate_life"},
			Causes:    []Edge{{Kind: ClockJumped}}, Itself: true,
			Summary: "kubelet's client or serving certificate has expired or is about to, and was not renewed.",
			Meaning: "With an expired client certificate the API server refuses kubelet and the node becomes NotReady; " +
				"with an expired serving certificate logs, exec and metrics fail.",
			Evidence: []string{
				"openssl x509 -noout -dates -in /var/lib/kubelet/pki/kubelet-client-current.pem",
				"journalctl --since=-1h -g 'x509:|certificate rotation|rotate certificates'",
				"date -u",
			},
			LookAlike: "Certificates that are short-lived by design are renewed when 10 to 30 % of their life is left. The " +
				"self-signed kubelet.crt is not renewed and few check it: info only.",
			Remedy: "See why rotation failed: are CertificateSigningRequests pending (`kubectl get csr`), is " +
				"rotateCertificates on, is the clock right? Once expired: make a new bootstrap kubeconfig (`kubeadm " +
				"kubeconfig user`, or join again) and restart kubelet.",
			Next: "openssl x509 -noout -dates -in /var/lib/kubelet/pki/kubelet-client-current.pem",
		},
		{
			Kind: QOSCgroupFailure, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Log,
			Logs: Count{N: 1, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: CgroupDriverMismatch},
				{Kind: CgroupCreationRefused},
			},
			Summary: "kubelet could not set up its container manager or the cgroups of the QoS classes.",
			Meaning: "kubelet ends or starts no pods, since every pod's cgroup lies below these.",
			Evidence: []string{
				"journalctl --since=-1h -g 'QOS|ContainerManager'",
				"ls -d /sys/fs/cgroup/{,*/}kubepods*",
				"cat /sys/fs/cgroup/cgroup.{controllers,subtree_control}",
			},
			LookAlike: "A pod's own cgroup that could not be made, or an update of a QoS cgroup that succeeded on the next " +
				"try.",
			Remedy: "Read the error after the colon: a controller that is missing (boot with cgroup_enable=memory, or " +
				"delegate it), a cgroup root that does not exist, a driver that does not match, or no room for " +
				"cgroups. Then restart kubelet.",
			Next: "journalctl --since=-1h -n 5 -g 'QOS|ContainerManager'",
		},
		{
			Kind: NodeAllocatableFailure, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Warning, Sources: Level | Log,
			Logs: Count{N: 1, Within: 5 * time.Minute},
			Summary: "kubelet could not enforce Node Allocatable: the pods' cgroup has no memory limit, or not the " +
				"intended one.",
			Meaning: "The pods can use up what was reserved for the system: kubelet, the runtime and sshd then suffer for " +
				"them, up to an OOM of the whole node.",
			Evidence: []string{
				"journalctl --since=-1h -g 'Node Allocatable|Cgroup Limits'",
				"cat /sys/fs/cgroup/kubepods.slice/memory.max",
				"grep -A3 enforceNodeAllocatable /var/lib/kubelet/config.yaml",
			},
			LookAlike: "cgroupsPerQOS: false, or an enforceNodeAllocatable without pods: then no limit is meant to be there.",
			Remedy: "Mend the setting named in the error: systemReservedCgroup and kubeReservedCgroup must exist before " +
				"kubelet starts, and a limit cannot go below what is used. Restart kubelet.",
			Next: "grep -H . /sys/fs/cgroup/{kubepods.slice,kubepods}/memory.max 2>/dev/null",
		},
		{
			Kind: KubeletMemoryHigh, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Warning, Sources: Level,
			Warn: Persist{For: 10 * time.Minute}, Crit: Persist{For: 10 * time.Minute},
			Resources: []string{"kubelet_memory"},
			Summary:   "kubelet itself uses far more memory than it should.",
			Meaning:   "It takes memory from the pods, and at the limit of its cgroup, or of the node, the kernel kills it.",
			Evidence: []string{
				"grep -E 'RssAnon|Threads' /proc/$(pidof -s kubelet)/status",
				"cat /sys/fs/cgroup/system.slice/kubelet.service/memory.{current,max}",
			},
			LookAlike: "The page cache of its cgroup, which memory.current includes, and programs that hold more than " +
				"kubelet (k3s): not applicable.",
			Remedy: "Restarting kubelet frees it at once and harms no container. Then look for the reason: leaked cgroups " +
				"or containers that cAdvisor keeps, very many volumes or Secrets, an old version with a known leak.",
			Next: "grep -E 'RssAnon|Threads' /proc/$(pidof -s kubelet)/status",
		},
		{
			Kind: APIServerUnreachable, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Log,
			// kubelet tries every 10 s (nodeStatusUpdateFrequency, and the lease's renewal), and
			// each try makes five lines and more: five tries, not five lines. So an API server
			// that is restarted, which all nodes miss for some seconds, is no failure of theirs;
			// one that stays away is told of before the node is taken for NotReady
			// (kube-controller-manager's node-monitor-grace-period, 50 s).
			Logs: Count{N: 5, Within: 5 * time.Minute, Apart: 9 * time.Second},
			// kubelet does not say that it goes well again. While it does not, its lease
			// makes a line each 7 s, or each minute where nobody answers at all
			// (component-helpers' lease controller: five tries of 10 s, then one more).
			Quiet: 2 * time.Minute,
			Causes: []Edge{
				{Kind: DNSFailure},
				{Kind: DefaultRouteMissing},
				{Kind: LinkFault},
				{Kind: KubeletCertificateExpiring, Refused: true},
				{Kind: ClockJumped},
			},
			Summary: "kubelet cannot reach the API server, or is refused by it.",
			Meaning: "The node's status and lease are not renewed: the node becomes NotReady within a minute and its pods " +
				"are replaced elsewhere, while the old ones go on running here.",
			Evidence: []string{
				"journalctl --since=-1h -g 'node status|register node|dial tcp'",
				"grep -h server: /etc/kubernetes/*.conf",
				"curl -ksS -m 5 https://APISERVER:6443/livez",
			},
			LookAlike: "Closed connections of a port-forward or exec, and a few errors while the API server is restarted or " +
				"upgraded.",
			Remedy: "Try the address from the node. Time-out: route, security group, load balancer. Refused: is the API " +
				"server up? x509 or Unauthorized: certificate, clock, or the node object was deleted. If all nodes " +
				"report it, look at the control plane.",
			Next: "journalctl --since=-1h -n 5 -g 'dial tcp|x509|Unauthorized|node status'",
		},
		{
			Kind: CgroupDriverMismatch, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "kubelet and the container runtime use different cgroup drivers (systemd, cgroupfs).",
			Meaning: "Two managers then write to the same tree: kubelet may refuse to start, containers land outside their " +
				"pod's cgroup, and limits do not bind.",
			Evidence: []string{
				"grep cgroupDriver /var/lib/kubelet/config.yaml",
				"grep -rn SystemdCgroup /etc/containerd/; docker info -f '{{.CgroupDriver}}'",
				"ls -d /sys/fs/cgroup/{,*/}kubepods*   # .slice: systemd",
			},
			LookAlike: "Folders that a former setting left behind: only those with processes count.",
			Remedy: "Set both to systemd on a systemd host: cgroupDriver: systemd for kubelet, SystemdCgroup = true for " +
				"containerd's runc, native.cgroupdriver=systemd for docker. Drain the node first and reboot after.",
			Next: "ls -d /sys/fs/cgroup/{,*/}kubepods*; grep cgroupDriver /var/lib/kubelet/config.yaml",
		},
		{
			Kind: ConfigSyncStarved, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Warning, Sources: Log,
			// When kubelet starts, all pods' volumes wait for its first lists at once.
			Logs:    Count{N: 10, Within: 5 * time.Minute, Apart: 5 * time.Second},
			Summary: "kubelet times out waiting for ConfigMaps and Secrets, again and again.",
			Meaning: "Pods that mount them stay in ContainerCreating on this node, while they start elsewhere. The watches " +
				"of many objects can use up the HTTP/2 streams of kubelet's one connection.",
			Evidence: []string{
				"journalctl --since=-1h -g 'failed to sync (configmap|secret) cache'",
				"grep configMapAndSecretChangeDetectionStrategy /var/lib/kubelet/config.yaml",
			},
			LookAlike: "`configmap \"x\" not found`: the object does not exist, which is the author's mistake. A " +
				"time-out of each volume at once right after kubelet starts.",
			Remedy: "Restart kubelet: it opens a new connection. If it comes back: fewer pods and mounted objects a node, " +
				"immutable: true on them, or change detection by Cache; and see that the API server is not " +
				"overloaded.",
			Next: "journalctl --since=-1h -n 5 -g 'failed to sync'",
		},
		{
			Kind: EvictionImminent, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Warning, Sources: Level | Log,
			Logs:      Count{N: 1, Within: 5 * time.Minute},
			Resources: []string{"eviction"},
			Causes: []Edge{
				{Kind: FilesystemSpaceLow, Subject: "nodefs.available"},
				{Kind: FilesystemSpaceLow, Subject: "imagefs.available"},
				{Kind: FilesystemInodesLow, Subject: "nodefs.inodesFree"},
				{Kind: FilesystemInodesLow, Subject: "imagefs.inodesFree"},
				{Kind: NodeThreadsNearLimit, Subject: "pid.available"},
				{Kind: MemoryStall, Subject: "memory.available"},
			},
			Summary: "A resource is at one of kubelet's own eviction thresholds, or so near that kubelet is about to evict " +
				"pods.",
			Meaning: "kubelet first removes images and dead containers, then ends pods, those above their requests first, " +
				"and taints the node so that no new ones come.",
			Evidence: []string{
				"grep -A8 -i eviction /var/lib/kubelet/config.yaml",
				"journalctl --since=-1h -g 'attempting to reclaim|must evict|garbage coll'",
				"df -hl; df -il; grep MemAvailable /proc/meminfo",
			},
			LookAlike: "\"Image garbage collection failed once\", which every start of kubelet writes; its observations " +
				"lines; a pod that has eviction in its name.",
			Remedy: "Give back what the subject names: image and log space, memory of the largest pods, pids. A threshold " +
				"set only in part switches kubelet's other defaults off: write all of evictionHard.",
			Next: "journalctl --since=-1h -n 10 -g 'evict|reclaim|garbage'",
		},
		{
			Kind: ToolMissing, Condition: KubeletUnhealthy,
			Scope: NodeScope, Severity: Warning, Sources: Level | Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "kubelet or kube-proxy needs a program that is not installed on the node.",
			Meaning: "One function fails while all else works: without conntrack stale UDP entries break DNS, without " +
				"socat port-forward fails on old runtimes, without mount.nfs or iscsiadm such volumes do not mount.",
			Evidence: []string{
				"journalctl --since=-1h -g 'executable file not found'",
				"command -v conntrack socat mount.nfs iscsiadm ethtool ipset",
			},
			LookAlike: "\"OCI runtime exec failed … executable file not found\": the program is missing in a pod's image. A " +
				"tool that is absent and that nobody has asked for is info only.",
			Remedy: "Install the package (conntrack-tools, socat, nfs-common or nfs-utils, open-iscsi) in the node's " +
				"image. kubelet and kube-proxy find it at the next try.",
			Next: "command -v conntrack socat mount.nfs iscsiadm ethtool ipset",
		},
	}
}

// kubeletDownCauses are what ends kubelet; whatever restarts it then makes its
// restarts frequent, so that both kinds share them.
func kubeletDownCauses() []Edge {
	return []Edge{
		{Kind: NodeOOM, Touching: kubeletTasks()}, // it was the victim
		{Kind: CgroupDriverMismatch},
		{Kind: QOSCgroupFailure},
		{Kind: NoSpaceLeft},
		{Kind: KubeletCertificateExpiring, Refused: true}, // it has expired
	}
}
