package problem

import "time"

// This file holds what is told by Events and metrics only and never sets a
// condition: it concerns one pod, or the agent's own sight.

// Kinds without a condition.
const (
	ContainerOOM                Kind = "ContainerOOM"
	ImagePullFailure            Kind = "ImagePullFailure"
	SandboxRecreated            Kind = "SandboxRecreated"
	SandboxLimitTooSmall        Kind = "SandboxLimitTooSmall"
	VolumeMountFailure          Kind = "VolumeMountFailure"
	SubpathMountFailure         Kind = "SubpathMountFailure"
	LogsSuppressed              Kind = "LogsSuppressed"
	ContainersRemovedExternally Kind = "ContainersRemovedExternally"
)

func eventKinds() []Definition {
	return []Definition{
		{
			Kind: ContainerOOM, Scope: PodScope, Severity: Info, Sources: Level | Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "A container reached its own memory limit and the kernel killed a process in it.",
			Meaning: "The container restarts, unless the process that was killed was not its first: then it may go on half " +
				"broken, and Kubernetes does not show it. The node is well.",
			Evidence: []string{
				"journalctl -k -g 'Memory cgroup out of memory|CONSTRAINT_MEMCG'",
				"grep -rs --include=memory.events 'oom_kill [1-9]' /sys/fs/cgroup",
				"crictl inspect CONTAINER | grep -i oom",
			},
			LookAlike: "\"Started watching for new ooms\", statistics lines, a pod named oom. memory.oom.group kills all " +
				"processes of the container at once: one event, several kills.",
			Remedy: "Compare the limit with what the program needs at its peak: raise the limit, or make the program heed " +
				"it (GOMEMLIMIT, -XX:MaxRAMPercentage). Growth without end is a leak.",
			Next: "dmesg -T | grep -iE 'oom-kill|killed process' | tail",
		},
		{
			Kind: ImagePullFailure, Scope: PodScope, Severity: Info, Sources: Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "An image could not be pulled.",
			Meaning: "The pod waits in ImagePullBackOff; kubelet tries again, at most every five minutes.",
			Evidence: []string{
				"journalctl --since=-1h -g 'PullImage|ErrImagePull'",
				"crictl pull IMAGE",
			},
			LookAlike: "A wrong name or tag, or missing credentials, is the pod's own fault and fails on every node; only " +
				"time-outs, DNS and disk errors point to this one.",
			Remedy: "Read the registry's answer: not found, unauthorized, too many requests (use a mirror or " +
				"credentials), x509 (its CA is missing on the node), no space left, i/o timeout.",
			Next: "journalctl --since=-1h -n 3 -g 'PullImage|ErrImagePull'",
		},
		{
			Kind: SandboxRecreated, Scope: PodScope, Severity: Info, Sources: Log,
			Logs: Count{N: 1, Within: 5 * time.Minute},
			Causes: []Edge{
				{Kind: CNIFailure},
				{Kind: RuntimeDeadlineExceeded},
				{Kind: CgroupCreationRefused},
				{Kind: NodeAllocatableOOM},
				{Kind: SandboxLimitTooSmall},
			},
			Summary: "A pod's sandbox failed to start or was lost, and kubelet makes a new one.",
			Meaning: "All containers of the pod are started anew and it gets another address. Again and again, it means " +
				"that the pod can never start.",
			Evidence: []string{
				"journalctl --since=-1h -g 'Sandbox for pod|RunPodSandbox'",
				"crictl pods --name POD",
			},
			LookAlike: "Once after a reboot of the node for every pod: expected.",
			Remedy: "Look at the failure before it: the network plugin's error, a pause process that was killed, a " +
				"runtime that was restarted.",
			Next: "journalctl --since=-1h -n 5 -g 'Sandbox for pod|RunPodSandbox'",
		},
		{
			Kind: SandboxLimitTooSmall, Scope: PodScope, Severity: Info, Sources: Level | Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "A container's memory limit is too small for the container even to be set up.",
			Meaning: "runc or the pause process is killed within the limit before the program starts; the pod restarts for " +
				"ever with errors that do not mention memory.",
			Evidence: []string{
				"journalctl --since=-1h -g 'signal: killed|OOM-killed'",
				"grep -rs --include=memory.max -E '^[0-9]{1,7}$' /sys/fs/cgroup/kubepods*",
			},
			LookAlike: "A container that is killed some time after it has started: that is ContainerOOM.",
			Remedy: "Look at the unit of the limit: `limits.memory: 64m` is 64 thousandths of a byte, 64M or 64Mi was " +
				"meant. Give at least some 10 MiB.",
			Next: "journalctl --since=-1h -n 3 -g 'signal: killed|OOM-killed'",
		},
		{
			Kind: VolumeMountFailure, Scope: PodScope, Severity: Info, Sources: Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "A volume of a pod could not be mounted.",
			Meaning: "The pod waits in ContainerCreating while kubelet tries again.",
			Evidence: []string{
				"journalctl --since=-1h -g 'MountVolume.SetUp failed'",
				"journalctl -k --since=-1h | grep -iE 'nfs|mount|ext4|xfs'",
			},
			LookAlike: "One failure while the CSI node plugin's pod starts. Failures that go on are VolumeOperationStuck.",
			Remedy: "Read the error after SetUp failed: object not found (ConfigMap, Secret), driver not registered (is " +
				"its node plugin running here?), wrong fs type, access denied by the server, a helper program that is " +
				"missing.",
			Next: "journalctl --since=-1h -n 3 -g 'MountVolume.SetUp failed'",
		},
		{
			Kind: SubpathMountFailure, Scope: PodScope, Severity: Info, Sources: Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "A volume's subPath could not be prepared or bound.",
			Meaning: "The container cannot start. It happens when the source changed or vanished between two starts, " +
				"typically of a ConfigMap that is mounted by subPath.",
			Evidence: []string{
				"journalctl --since=-1h -g 'subpath'",
				"ls -l /var/lib/kubelet/pods/UID/volume-subpaths/*/*",
			},
			LookAlike: "A subPath that does not exist on a read-only volume: the pod's specification is wrong.",
			Remedy: "Delete the pod, so that kubelet prepares the folders anew. Mount the whole ConfigMap instead of a " +
				"subPath: it is then updated as well.",
			Next: "journalctl --since=-1h -n 3 -g 'subpath'",
		},
		{
			Kind: LogsSuppressed, Scope: NodeScope, Severity: Info, Sources: Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Summary: "journald dropped lines of a unit because it wrote too many.",
			Meaning: "The log has a hole: failures of that time may have gone unseen, by the agent as well as by you. " +
				"Verdicts from probes are not touched.",
			Evidence: []string{
				"journalctl --since=-1h -g 'Suppressed [0-9]+ messages'",
				"grep -i ratelimit /etc/systemd/journald.conf /etc/systemd/journald.conf.d/*",
			},
			LookAlike: "The kernel's own \"callbacks suppressed\": one message of one place in the kernel was limited.",
			Remedy: "Lower the unit's verbosity (kubelet: --v=2), or set LogRateLimitBurst=0 in its unit file, or " +
				"RateLimitBurst= in journald.conf.",
			Next: "journalctl --since=-1h -n 10 -g 'Suppressed [0-9]+ messages'",
		},
		{
			Kind: ContainersRemovedExternally, Scope: NodeScope, Severity: Info, Sources: Log,
			Logs:    Count{N: 10, Within: 5 * time.Minute},
			Summary: "Containers that kubelet knows were removed by somebody else.",
			Meaning: "kubelet starts them anew and loses logs and exit codes of the old ones; init containers may run a " +
				"second time. Usually a clean-up job (`docker system prune`) runs on the node.",
			Evidence: []string{
				"journalctl --since=-1h -g 'No such container'",
				"grep -rs prune /etc/cron* /var/spool/cron /etc/systemd/system",
			},
			LookAlike: "A single such line when a pod is deleted just as kubelet looks at it.",
			Remedy: "Find the job or person that removes containers and stop it: kubelet collects dead containers and " +
				"unused images by itself.",
			Next: "grep -rs prune /etc/cron* /var/spool/cron /etc/systemd/system",
		},
	}
}
