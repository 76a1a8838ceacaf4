package systemd

// This file: the units that kubelet and the container runtimes have in the
// distributions. Which of them a node has is found out by asking.

// KubeletUnits are the units that are kubelet, or contain it.
func KubeletUnits() []string {
	return []string{
		"kubelet.service",
		"k3s.service", "k3s-agent.service", "rke2-server.service", "rke2-agent.service",
		"k0scontroller.service", "k0sworker.service",
		"snap.microk8s.daemon-kubelite.service", "snap.microk8s.daemon-kubelet.service",
		"snap.kubelet-eks.daemon.service", "snap.kubelet.daemon.service", "snap.k8s.kubelet.service",
	}
}

// RuntimeUnits are the units of container runtimes. Programs that are kubelet and
// runtime in one (k3s, rke2, k0s) are among KubeletUnits.
func RuntimeUnits() []string {
	return []string{
		"containerd.service", "docker.service", "crio.service", "cri-docker.service",
		"snap.microk8s.daemon-containerd.service", "snap.k8s.containerd.service", "snap.docker.dockerd.service",
	}
}
