package rules

import (
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// kubeletRules recognise what goes wrong in kubelet itself.
func kubeletRules() []Rule {
	return []Rule{
		{
			// systemd, the second and third as before version 240.
			Kind: problem.KubeletDown, Name: "unit", Sources: Systemd,
			Pattern: `(?P<unit>` + kubeletUnits + `): (?:Start request repeated too quickly|[Mm]ain process exited, code=|Failed with result)` +
				`|[Ss]tart request repeated too quickly for ` + kubeletUnits +
				`|Unit ` + kubeletUnits + ` entered failed state`,
			Exclude: `status=(?:0/SUCCESS|15/TERM|143/n/a)`,
			Message: "kubelet's unit has failed",
		},
		{
			Kind: problem.KubeletDown, Name: "panic", Sources: Kubelet, Sure: true,
			Pattern: `^(?:panic: |fatal error: )(?P<text>.+)`,
			Message: "kubelet has crashed: {text}",
		},
		{
			// klog ends the program after a line of severity F, whatever it says.
			Kind: problem.KubeletDown, Name: "fatal", Sources: Kubelet, Sure: true,
			Pattern: klogFatal + `\d\d:\d\d\.\d+ +\d+ \S+\] (?P<text>.+)`,
			Message: "kubelet gave up: {text}",
		},
		{
			// k3s, RKE2, k0s; cri-dockerd, which has kubelet's lines, writes so of docker.
			Kind: problem.KubeletDown, Name: "distribution", Sources: Kubelet, Sure: true,
			Pattern: `level=fatal msg="?(?P<text>.+?)"?$`, Exclude: `[Dd]ocker`,
			Message: "kubelet gave up: {text}",
		},
		{
			// The second is k3s's.
			Kind: problem.KubeletDown, Name: "start", Sources: Kubelet,
			Pattern: `[Ff]ailed to (?:run [Kk]ubelet|load [Kk]ubelet config file)|\bkubelet exited: `,
			Message: "kubelet gave up at its start",
		},
		{
			Kind: problem.PLEGUnhealthy, Name: "inactive", Sources: Kubelet,
			Pattern: `PLEG is not healthy: pleg was last seen active (?P<ago>[\w.]+) ago`, Exclude: neverActive,
			Message: "kubelet's pod lifecycle event generator was last active {ago} ago",
		},
		{
			Kind: problem.PLEGUnhealthy, Name: "relist", Sources: Kubelet,
			Pattern: `GenericPLEG: Unable to retrieve pods`,
			Logs:    problem.Count{N: 3, Within: 5 * time.Minute},
			Message: "kubelet cannot get the list of pods from the runtime",
		},
		{
			// It comes at every start, until the first list of pods is there; kubelet
			// repeats it every 5 s. 3 min is what PLEG's health check allows later on.
			Kind: problem.PLEGUnhealthy, Name: "never", Sources: Kubelet,
			Pattern: `PLEG is not healthy: pleg (?:has yet to be successful|was last seen ` + neverActive + `)`,
			Logs:    problem.Count{N: 10, Within: time.Minute, Lasting: 3 * time.Minute},
			Message: "kubelet has not got a list of pods from the runtime since its start",
		},
		{
			// What was said of the last kubelet does not hold for the next.
			Kind: problem.PLEGUnhealthy, Name: "restart", Sources: Kubelet, Resolves: true,
			Pattern: `\bStarting kubelet main sync loop`,
			Message: "kubelet has been started",
		},
		{
			// "Started UNIT - DESCRIPTION." since systemd 249, "Started DESCRIPTION." before.
			Kind: problem.FrequentKubeletRestart, Sources: Systemd,
			Pattern: `^Started .*(?:[Kk]ubelet\b|Lightweight Kubernetes|Rancher Kubernetes Engine|k0s - Zero Friction Kubernetes|microk8s\.daemon-kubelite)`,
			Exclude: `\.timer|\.path|[Ss]ession|[Mm]onitor|[Hh]ealth|[Ee]xporter`,
			Touches: []string{"process:kubelet", "unit:kubelet.service"},
			Message: "kubelet was started again and again",
		},
		{
			Kind: problem.KubeletCertificateExpiring, Sources: Kubelet,
			Pattern: `x509: certificate has expired|(?:bootstrap|active) client certificate.*\b(?:is|has) expired`,
			Exclude: `[Pp]ull|/v2/|registry|webhook|[Pp]robe|Unable to authenticate the request`,
			Message: "kubelet's certificate, or the API server's, has expired",
		},
		{
			// Before 1.20 with another spelling.
			Kind: problem.QOSCgroupFailure, Sources: Kubelet,
			Pattern: `failed to initiali[sz]e top level QOS containers|[Ff]ailed to start ContainerManager`,
			Message: "kubelet cannot set up its container manager or its cgroups",
		},
		{
			Kind: problem.NodeAllocatableFailure, Sources: Kubelet,
			Pattern: `[Ff]ailed to update Node Allocatable Limits|[Ff]ailed to enforce .*(?:Cgroup Limits|Node Allocatable)`,
			Message: "kubelet cannot enforce the node's allocatable",
		},
		{
			Kind: problem.CgroupDriverMismatch, Name: "drivers", Sources: Kubelet | Runtimes,
			Pattern: `cgroup driver: ` + quote + `(?P<kubelet>[\w']+)` + quote + ` is different from \w+ cgroup driver: ` + quote + `(?P<runtime>\w+)`,
			Touches: []string{"node"},
			Message: "kubelet's cgroup driver is {kubelet}, the runtime's {runtime}",
		},
		{
			// runc, of a path in the other driver's form.
			Kind: problem.CgroupDriverMismatch, Name: "path", Sources: Kubelet | Runtimes,
			Pattern: `expected cgroupsPath to be of format ` + quote + `slice:prefix:name` + quote,
			Touches: []string{"node"},
			Message: "kubelet and the runtime use different cgroup drivers",
		},
		{
			Kind: problem.ConfigSyncStarved, Sources: Kubelet,
			Pattern: `failed to sync (?P<what>configmap|secret) cache: timed out`,
			Message: "kubelet's cache of {what}s is not filled in time",
		},
		{
			// Structured klog, before it, and the errors of the client library.
			Kind: problem.APIServerUnreachable, Sources: Kubelet,
			Pattern: `Unable to (?:update node status|register node)` +
				`|[Ee]rror updating node status, will retry` +
				`|[Ff]ailed to ensure (?:node )?lease exists` +
				`|\b[Nn]odes? (?:` + quote + `|')[-.\w]+(?:` + quote + `|') not found` +
				`|https://[^\s"\\]+/apis?/[^\s"\\]*` + quote + `?: (?:(?:proxyconnect tcp: )?dial tcp|net/http: (?:TLS handshake timeout|request canceled)|context deadline exceeded|(?:unexpected )?EOF|http2: |read tcp|write tcp|x509: )` +
				`|(?:ListAndWatch|Failed to (?:list|watch)).*(?:dial tcp|: Unauthorized|system:anonymous)` +
				`|cannot create certificate signing request|No valid client certificate is found but the server is not responsive`,
			Exclude: `[Pp]robe|port-?forward|[Ww]ebhook`,
			Message: "kubelet cannot reach the API server",
		},
		{
			// k3s and RKE2, which get kubelet's configuration from their server first. A
			// server says it of itself at each start, until its API server is there.
			Kind: problem.APIServerUnreachable, Name: "join", Sources: Kubelet,
			Pattern: `configuration; server is not ready|failed to get CA certs|CA cert validation failed`, Exclude: `level=fatal`,
			Logs:    problem.Count{N: 5, Within: 2 * time.Minute, Lasting: 3 * time.Minute},
			Message: "kubelet cannot be started since the server does not answer",
		},
		{
			// The end of every kubelet's start, also of one whose Node was there before.
			Kind: problem.APIServerUnreachable, Name: "registered", Sources: Kubelet, Resolves: true,
			Pattern: `Successfully registered node`,
			Message: "kubelet has reached the API server",
		},
		{
			Kind: problem.ToolMissing, Name: "exec", Sources: Kubelet | KubeProxy,
			Pattern: `exec: ` + quote + `(?P<process>[-\w./]+)` + quote + `: executable file not found in \$PATH`,
			Exclude: notTool, Subject: "{process}",
			Message: "the program {process}, which Kubernetes needs, is not on the node",
		},
		{
			Kind: problem.ToolMissing, Name: "tool", Sources: Kubelet | KubeProxy | Runtimes,
			Pattern: `(?:unable to do port forwarding: |error looking for path of )?\b(?P<process>socat|conntrack|nsenter|mount\.nfs4?|iscsiadm|ethtool|ipset|ebtables)(?:(?::|` + quote + `:)? (?:executable file )?not found| is not installed)`,
			Exclude: notTool, Subject: "{process}",
			Message: "the program {process}, which Kubernetes needs, is not on the node",
		},
		{
			// mount(8) of a type whose helper program is missing.
			Kind: problem.ToolMissing, Name: "mount", Sources: Kubelet,
			Pattern: `need a /s?bin/mount\.(?P<type>\S+) helper|unknown filesystem type '(?:nfs4?|cifs|glusterfs)'`,
			Subject: "mount helper",
			Message: "the helper program of mount for a volume's type is not on the node",
		},
	}
}

// neverActive is how kubelet before 1.16 said at every start that PLEG has yet to be
// successful: the longest time.Duration there is, since the year 1.
const neverActive = `active 2562047h`

// notTool are programs that are missing in a pod's image.
const notTool = `OCI runtime|runc (?:create|run)|container process|StartError|[Ee]xecSync|exec failed|unable to start container|[Pp]robe`
