package rules

import (
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// slowElsewhere are deadlines that are not the runtime's fault: a slow exec
// probe, a registry, a volume's driver, clients of the API server.
const slowElsewhere = `ExecSync|PullImage|/images/create|Client\.Timeout|https://|MountVolume|MountDevice|AttachVolume|kubernetes\.io/csi|NodePublish|NodeStage|NodeUnpublish`

// runtimeRules recognise what goes wrong with the container runtime.
func runtimeRules() []Rule {
	return []Rule{
		{
			Kind: problem.RuntimeDown, Name: "socket", Sources: Kubelet | Docker,
			Pattern: `container runtime is down` +
				`|Cannot connect to the Docker daemon` +
				`|` + runtimeSocket + `\\*"?:? ?.*(?:connection refused|no such file or directory)`,
			// cAdvisor looks for each runtime; k3s and RKE2 wait for theirs at each start.
			Exclude: `Registration of the|container factory|CRI-O not connected|\brkt\b|Waiting for (?:containerd|cri\b)`,
			Message: "the container runtime cannot be reached",
		},
		{
			Kind: problem.RuntimeDown, Name: "unit", Sources: Systemd,
			Pattern: `(?P<unit>` + runtimeUnits + `): (?:Start request repeated too quickly|[Mm]ain process exited, code=|Failed with result)`,
			Exclude: `status=(?:0/SUCCESS|15/TERM|143/n/a)`,
			Message: "the container runtime's unit {unit} has failed",
		},
		{
			// docker since 18.09 says the second without logrus.
			Kind: problem.RuntimeDown, Name: "fatal", Sources: Docker | CRIO, Sure: true,
			Pattern: `level=fatal msg="?(?P<text>.+?)"?$|^failed to start daemon: (?P<text>.+)`,
			Message: "the container runtime gave up: {text}",
		},
		{
			// kubelet's client of the runtime, structured and before 1.20.
			Kind: problem.RuntimeDeadlineExceeded, Name: "client", Sources: Kubelet,
			Pattern: `\b(?P<call>[A-Z]\w+)(?: ` + quote + `\w+` + quote + `)?(?: with filter.*)? from (?:runtime|image) service failed.*` + deadline,
			Exclude: slowElsewhere,
			Message: "calls of {call} to the container runtime run into their deadline",
		},
		{
			Kind: problem.RuntimeDeadlineExceeded, Name: "call", Sources: Kubelet | Runtimes,
			Pattern: `\b(?P<call>RunPodSandbox|StopPodSandbox|RemovePodSandbox|PodSandboxStatus|ListPodSandbox|CreatePodSandbox|KillPodSandbox|KillContainer` +
				`|CreateContainer|StartContainer|StopContainer|RemoveContainer|ListContainers|ContainerStatus)(?:Error)?\b.*` + deadline,
			Exclude: slowElsewhere,
			Message: "calls of {call} to the container runtime run into their deadline",
		},
		{
			// dockershim, cri-dockerd, and kubelet's and the runtime's own work with a sandbox;
			// the last is CRI-O's.
			Kind: problem.RuntimeDeadlineExceeded, Name: "docker", Sources: Kubelet | Runtimes,
			Pattern: `[Oo]peration timeout: context deadline exceeded` +
				`|[Ff]ailed to (?:create|start|stop|remove|list|get) (?:pod |sandbox |container)?.*(?:sandbox|container|pod)s?\b.*` + deadline +
				`|GenericPLEG: Unable to retrieve pods.*` + deadline +
				`|[Cc]ontainer runtime (?:sanity|status) check failed.*` + deadline +
				`|(?:[Cc]ontainer garbage collection failed|getKubeletContainers failed|[Ff]ailed to update image list).*` + deadline +
				`|Handler for (?:GET|POST|DELETE) /\S+ returned error: .*` + deadline +
				`|context was either canceled or the deadline was exceeded: ` + deadline,
			Exclude: slowElsewhere,
			Message: "calls to the container runtime run into their deadline",
		},
		{
			Kind: problem.FrequentRuntimeRestart, Sources: Systemd,
			Pattern: `^Started .*(?:containerd container runtime|Docker Application Container Engine|Container Runtime Interface for OCI|CRI Interface for Docker|(?:containerd|docker|crio|cri-docker)\.service)`,
			Exclude: `libcontainer|\.scope`,
			Message: "the container runtime was started again and again",
		},
		{
			Kind: problem.ShimFailure, Sources: Runtimes | Kubelet,
			Pattern: `ttrpc: (?:client shutting down|closed)` +
				`|shim\.sock.*connection reset` +
				`|get state for [0-9a-f]+\\*" error=` + quote + `context deadline exceeded` + // it hangs
				`|containerd-shim\S*.*\b(?:has )?died\b|\bshim died\b|shim exited unexpectedly`,
			Exclude: `shim disconnected|cleaning up (?:after|dead) shim`,
			Message: "a container's shim has failed",
		},
		{
			// "using the force" after signal 15 is the normal end of a program that ignores it.
			Kind: problem.ContainerNotStopping, Sources: Runtimes | Kubelet,
			Pattern: `trying direct SIGKILL` +
				`|[Ff]ailed to kill (?:container|all|the|init|shim|task|pod|process|` + quote + `?[0-9a-f]{12,})` +
				`|[Kk]ill container failed|KillContainerError` +
				`|tried to kill container, but did not receive an exit event` +
				`|waiting for container .* to be killed` +
				`|handle (?:container|sandbox|pod sandbox) TaskExit event.*failed to stop` +
				`|(?:rootfs|root filesystem|/merged|/overlay2?/|/aufs/|/devicemapper/|[Ff]ailed to remove device ).*: [Dd]evice (?:or resource busy|is Busy)`,
			Exclude: `code = NotFound|[Nn]o such container|no running task found|process already finished`, // it has ended meanwhile
			Message: "a container cannot be ended or removed[ ({pod})]", Subject: "{pod}",
		},
		{
			// docker's, containerd's, CRI-O's words.
			Kind: problem.SandboxNameConflict, Sources: Runtimes | Kubelet,
			Pattern: `name ` + quote + `[^"\\]+` + quote + ` is already in use by container` +
				`|[Ff]ailed to reserve (?:sandbox|container) name` +
				`|name ` + quote + `[^"\\]+` + quote + ` is reserved for` +
				`|error reserving (?:ctr|pod|container) name`,
			Subject: "{pod}", Logs: problem.Count{N: 3, Within: 5 * time.Minute},
			Message: "the name of a container or sandbox[ of {pod}] is still taken by an earlier one",
		},
		{
			// dockershim's and cri-dockerd's, whose list kubelet believed.
			Kind: problem.ContainersRemovedExternally, Sources: Kubelet,
			Pattern: `No such container: (?P<container>[0-9a-f]{12,64})`,
			Message: "containers that kubelet knows are gone",
		},
	}
}
