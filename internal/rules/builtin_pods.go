package rules

import "github.com/nodevitals/nodevitals/internal/problem"

// podRules recognise what concerns one pod: its sandbox, images and volumes;
// and holes in the log.
func podRules() []Rule {
	return []Rule{
		{
			// runc, before and after 1.1.
			Kind: problem.SandboxLimitTooSmall, Name: "killed", Sources: Runtimes | Kubelet,
			Pattern: `exec setns process for init caused \W{0,12}signal: killed|container init was OOM-killed`,
			Subject: "{pod}",
			Message: "the memory limit is too small to set the container up[ ({pod})]",
		},
		{
			// runc on cgroup v1, before and after 1.0.0-rc94. kubelet's own limits are not a pod's.
			Kind: problem.SandboxLimitTooSmall, Name: "busy", Sources: Runtimes | Kubelet,
			Pattern: `memory\.limit_in_bytes: device or resource busy|unable to set memory limit to \d+ \(current usage`,
			Exclude: `Node Allocatable|Cgroup Limits|QOS|QoS`,
			Subject: "{pod}",
			Message: "the memory limit is too small to set the container up[ ({pod})]",
		},
		{
			// runc before 1.0.0-rc94, whose child was gone when it wrote to it.
			Kind: problem.SandboxLimitTooSmall, Name: "pipe", Sources: Runtimes | Kubelet,
			Pattern: `(?:copying bootstrap data to pipe|sending config to init process) caused:? \W{0,12}write init-p: broken pipe`,
			Subject: "{pod}",
			Message: "a container's first process ended while it was set up[ ({pod})], as one does whose memory limit is too small",
		},
		{
			Kind: problem.SandboxRecreated, Name: "changed", Sources: Kubelet,
			Pattern: `[Ss]andbox for pod .*has changed|[Pp]od sandbox changed, it will be killed and re-created`,
			Subject: "{pod}",
			Message: "the sandbox[ of {pod}] was lost and is made anew",
		},
		{
			Kind: problem.SandboxRecreated, Name: "failed", Sources: Kubelet | Runtimes,
			Pattern: `RunPodSandbox (?:for|from) .*failed|CreatePodSandbox for pod .*failed|[Ff]ailed (?:to )?create (?:pod )?sandbox`,
			Subject: "{pod}",
			Message: "the sandbox[ of {pod}] could not be started",
		},
		{
			// The second is structured klog's.
			Kind: problem.ImagePullFailure, Name: "image", Sources: Kubelet | Runtimes,
			Pattern: `(?:PullImage|[Ff]ailed to pull image) ` + quote + `(?P<image>[^"\\\s]+)` + quote + `.*(?:failed|err=|[Ee]rror)` +
				`|(?:PullImage from image service failed|Failed to pull image)" err=.* image="(?P<image>[^"\s]+)"`,
			Subject: "{pod}|{image}",
			Message: "the image {image} could not be pulled[ for {pod}]",
		},
		{
			Kind: problem.ImagePullFailure, Name: "pull", Sources: Kubelet | Runtimes,
			Pattern: `PullImage from image service failed|ErrImagePull|ImagePullBackOff|Attempting next endpoint for pull after error|Not continuing with pull after error|/images/create\S* returned error`,
			Subject: "{pod}",
			Message: "an image could not be pulled[ for {pod}]",
		},
		{
			Kind: problem.VolumeMountFailure, Sources: Kubelet,
			Pattern: `(?:MountVolume\.(?:SetUp|MountDevice|NewMounter)|MapVolume\.\w+) failed(?: for volume ` + quote + `(?P<volume>[^"\\]+))?`,
			Exclude: `failed to sync (?:configmap|secret) cache`, // it is tried again and succeeds
			Subject: "{pod}|volume {volume}",
			Message: "a volume could not be mounted[: {volume}][ for {pod}]",
		},
		{
			Kind: problem.SubpathMountFailure, Sources: Kubelet | Runtimes,
			Pattern: `failed to (?:prepare subPath|create subPath directory) for volumeMount|volume-subpaths/.*(?:no such file or directory|not a directory|are you trying to mount a directory)`,
			Subject: "{pod}",
			Message: "a volume's subPath could not be mounted[ for {pod}]",
		},
		{
			// journald, which older rsyslogs call "journal", and rsyslog's two inputs.
			Kind: problem.LogsSuppressed, Name: "journald", Sources: Systemd | Other,
			Pattern: `Suppressed (?P<lines>\d+) messages from (?P<unit>/\S+|\S+\.(?:service|scope|slice|socket|mount))`, Subject: "{unit}",
			Message: "journald dropped {lines} lines of {unit}",
		},
		{
			Kind: problem.LogsSuppressed, Name: "rsyslog",
			Pattern: `(?:imjournal|imuxsock).*(?:messages lost due to rate-limiting|drop messages.*due to rate-limiting)`,
			Message: "rsyslog dropped lines",
		},
	}
}
