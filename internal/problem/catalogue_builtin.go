package problem

// This file assembles the built-in catalogue from one literal a group of
// failures, and names the condition types. To add a failure, add a constant and
// a literal to the group's file; everything else reads the catalogue.

// The types of NodeCondition that are published. True means that something is wrong.
const (
	KubeletUnhealthy          = "KubeletUnhealthy"
	ContainerRuntimeUnhealthy = "ContainerRuntimeUnhealthy"
	PIDExhaustion             = "PIDExhaustion"
	FileHandleExhaustion      = "FileHandleExhaustion"
	DiskExhaustion            = "DiskExhaustion"
	StorageFault              = "StorageFault"
	MountHung                 = "MountHung"
	InotifyExhaustion         = "InotifyExhaustion"
	ConntrackExhaustion       = "ConntrackExhaustion"
	CgroupExhaustion          = "CgroupExhaustion"
	MemoryTrouble             = "MemoryTrouble"
	KernelFault               = "KernelFault"
	NodeNetworkFault          = "NodeNetworkFault"
	ClockFault                = "ClockFault"
)

// Builtin is the catalogue of all that nodevitals knows by itself, the
// conditions in the order above. It panics if a literal is unsound.
func Builtin() *Catalogue {
	c, err := NewCatalogue(
		kubeletKinds(),
		runtimeKinds(),
		processKinds(),
		fileKinds(),
		diskKinds(),
		storageKinds(),
		mountKinds(),
		limitKinds(),
		memoryKinds(),
		kernelKinds(),
		networkKinds(),
		clockKinds(),
		eventKinds(),
	)
	if err != nil {
		panic(err)
	}
	return c
}

// Command names (comm, at most 15 bytes) of the processes on which all pods of
// a node depend. A stuck or killed task explains a failure of kubelet or of the
// runtime only if it is one of these.

// kubeletTasks are kubelet and the programs that contain it.
func kubeletTasks() []Ref {
	return processes("kubelet", "hyperkube", "k3s", "k3s-server", "k3s-agent", "kubelite")
}

// runtimeTasks are the daemons of container runtimes and the programs that contain one.
func runtimeTasks() []Ref {
	return processes("containerd", "dockerd", "docker-containe", "cri-dockerd", "crio",
		"k3s", "k3s-server", "k3s-agent")
}

// nodeTasks are kubelet, the runtime, and what the runtime starts for each
// container; runc renames itself while it sets a container up.
func nodeTasks() []Ref {
	refs := append(kubeletTasks(), runtimeTasks()...)
	return append(refs, processes("containerd-shim", "docker-containe", "conmon", "conmonrs",
		"crun", "runc", "runc:[0:PARENT]", "runc:[1:CHILD]", "runc:[2:INIT]")...)
}

// runtimeDaemons are the runtimes' daemons by their command names and units.
func runtimeDaemons() []Ref {
	refs := processes("containerd", "dockerd", "docker-containe", "cri-dockerd", "crio")
	for _, unit := range []string{"containerd", "docker", "cri-docker", "crio", "snap.microk8s.daemon-containerd", "snap.docker.dockerd"} {
		refs = append(refs, NewRef(RefUnit, unit+".service"))
	}
	return refs
}

func processes(comms ...string) []Ref {
	refs := make([]Ref, len(comms))
	for i, comm := range comms {
		refs[i] = NewRef(RefProcess, comm)
	}
	return refs
}
