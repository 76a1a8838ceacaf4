package cri

// This file: where the runtime's socket is.

import (
	"os"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
)

// DockerSocket is where Docker's daemon listens for its own API.
const DockerSocket = "/run/docker.sock"

// Endpoint is a socket of the runtime.
type Endpoint struct {
	Socket string // on the host
	Docker bool   // speaks Docker's API
	// Configured: kubelet is set up to use it, so that it is missed if it is not there.
	Configured bool
	// Exists: there is such a file.
	Exists bool
}

// usualSockets are where the runtimes and the distributions have their socket,
// Docker's after that of its own adapter.
func usualSockets() []string {
	return []string{
		"/run/containerd/containerd.sock",
		"/run/crio/crio.sock",
		"/run/k3s/containerd/containerd.sock", // and rke2's
		"/run/k3s/cri-dockerd/cri-dockerd.sock",
		"/run/cri-dockerd.sock",
		"/var/snap/microk8s/common/run/containerd.sock",
		DockerSocket,
	}
}

// Find says where the runtime's socket is. Kubelet's settings decide. Where they
// are silent, or not known, it is the first of the usual ones that exists; if
// there is none, Socket is empty, or what kubelet would use by default.
func Find(h *host.Host, s kubelet.Settings) Endpoint {
	first := usualSockets()[0]
	configured := ""
	if s.Found {
		configured = socketOf(s.ContainerRuntimeEndpoint)
	}
	if configured != "" {
		e := Endpoint{Socket: configured, Configured: true, Exists: exists(h, configured)}
		if strings.Contains(configured, "dockershim") {
			// It is in kubelet itself, and Docker behind it.
			e.Socket, e.Docker, e.Exists = DockerSocket, true, exists(h, DockerSocket)
		}
		if e.Exists || configured != first {
			return e
		}
	}
	// The first of the usual ones is also what a kubelet uses that was told nothing;
	// older ones had others.
	for _, socket := range usualSockets() {
		if exists(h, socket) {
			return Endpoint{Socket: socket, Docker: socket == DockerSocket, Configured: s.Found, Exists: true}
		}
	}
	return Endpoint{Socket: configured, Configured: configured != ""}
}

// Path is where we find the endpoint's socket.
func (e Endpoint) Path(h *host.Host) string { return h.Locate(e.Socket) }

// socketOf is the path of an endpoint such as unix:///run/crio/crio.sock; empty for
// one that is no unix socket. /var/run is /run, by one name in all messages.
func socketOf(endpoint string) string {
	p, ok := strings.CutPrefix(endpoint, "unix://")
	if !ok && strings.HasPrefix(endpoint, "/") {
		p, ok = endpoint, true
	}
	if !ok || !strings.HasPrefix(p, "/") {
		return ""
	}
	if rest, ok := strings.CutPrefix(p, "/var/run/"); ok {
		return "/run/" + rest
	}
	return p
}

func exists(h *host.Host, p string) bool {
	_, err := os.Stat(h.Locate(p))
	return err == nil || !os.IsNotExist(err)
}
