package rules

// This file: whose log a line is from, as a set of programs, and which systemd
// units and identifiers are which program.

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	"github.com/nodevitals/nodevitals/internal/journal"
)

// Source is a set of programs. A rule has the programs whose lines it reads; a
// record has those that may have written it: more than one for a binary like
// k3s that is several in one, and all (Any) where nothing tells.
type Source uint16

// The programs that rules tell apart.
const (
	Kubelet Source = 1 << iota
	Docker
	Containerd
	CRIO
	Kernel
	KubeProxy
	Systemd // the manager itself and journald
	CoreDNS
	Pod   // any container's own output
	Other // a program that is none of these
)

const (
	// Any is every program.
	Any = Other<<1 - 1
	// Runtimes are the daemons of container runtimes.
	Runtimes = Docker | Containerd | CRIO
	// Host is all but what a container prints, which anybody may have written.
	Host = Any &^ (Pod | CoreDNS)
)

// sourceNames are what people write in a configuration and on a command line.
func sourceNames() []struct {
	name   string
	source Source
} {
	return []struct {
		name   string
		source Source
	}{
		{"any", Any},
		{"kubelet", Kubelet},
		{"docker", Docker},
		{"containerd", Containerd},
		{"crio", CRIO},
		{"kernel", Kernel},
		{"kube-proxy", KubeProxy},
		{"systemd", Systemd},
		{"coredns", CoreDNS},
		{"pod", Pod},
		{"other", Other},
	}
}

// ParseSource reads the name of one source: any, kubelet, docker, containerd,
// crio, kernel, kube-proxy, systemd, coredns, pod, other.
func ParseSource(name string) (Source, error) {
	var known []string
	for _, n := range sourceNames() {
		if n.name == name {
			return n.source, nil
		}
		known = append(known, n.name)
	}
	return 0, fmt.Errorf("unknown source %q (one of %s)", name, strings.Join(known, ", "))
}

func (s Source) String() string {
	if s == Any {
		return "any"
	}
	var names []string
	for _, n := range sourceNames()[1:] {
		if s&n.source != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, "+")
}

// Units says which systemd units, syslog identifiers, and log files (by their
// name without ".log") belong to which program.
type Units map[string]Source

// BuiltinUnits are the names that distributions use. Units stand without
// ".service" and without the instance of a template.
func BuiltinUnits() Units {
	const (
		// All of Kubernetes' node components in one process.
		allInOne = Kubelet | Containerd | KubeProxy
		snap     = "snap.microk8s.daemon-"
	)
	return Units{
		"kubelet": Kubelet, "hyperkube": Kubelet | KubeProxy, "kubelet-wrapper": Kubelet,
		"origin-node": Kubelet | KubeProxy, "atomic-openshift-node": Kubelet | KubeProxy,
		"kubenswrapper":           Kubelet, // OpenShift's
		"snap.kubelet-eks.daemon": Kubelet, "snap.k8s.kubelet": Kubelet, "snap.kubelet.daemon": Kubelet,
		"kube-proxy": KubeProxy, "snap.k8s.kube-proxy": KubeProxy, "snap.kube-proxy.daemon": KubeProxy, snap + "proxy": KubeProxy,

		"k3s": allInOne, "k3s-server": allInOne, "k3s-agent": allInOne,
		"rke2": allInOne, "rke2-server": allInOne, "rke2-agent": allInOne,
		"k0s": allInOne, "k0scontroller": allInOne, "k0sworker": allInOne,
		"kubelite": Kubelet | KubeProxy, snap + "kubelite": Kubelet | KubeProxy, snap + "kubelet": Kubelet,

		"containerd": Containerd, snap + "containerd": Containerd, "snap.k8s.containerd": Containerd,
		"containerd-shim": Containerd, "containerd-shim-runc-v2": Containerd, "containerd-shim-runc-v1": Containerd,
		"host-containerd": Containerd,

		"docker": Docker, "dockerd": Docker, "dockerd-current": Docker, "dockerd-latest": Docker, "snap.docker.dockerd": Docker,
		"docker-containerd": Docker | Containerd, "docker-containerd-shim": Docker | Containerd,
		// cri-dockerd is what was kubelet's dockershim and writes the same lines.
		"cri-docker": Docker | Kubelet, "cri-dockerd": Docker | Kubelet,

		"crio": CRIO, "cri-o": CRIO, "conmon": CRIO,
		"runc": Runtimes, "crun": Runtimes,

		"kernel": Kernel, "kern": Kernel,
		"systemd": Systemd, "systemd-journald": Systemd, "systemd-journal": Systemd, "systemd-timesyncd": Systemd, "chronyd": Systemd, "ntpd": Systemd, "ntpdate": Systemd,
		"init.scope": Systemd,

		"coredns": CoreDNS | Pod, "kube-dns": CoreDNS | Pod, "kubedns": CoreDNS | Pod, "dnsmasq": CoreDNS | Pod,
	}
}

// With returns the units and more, of which the later ones win.
func (u Units) With(more Units) Units {
	all := maps.Clone(u)
	maps.Copy(all, more)
	return all
}

// expanded has each name with ".service" as well, so that one look suffices for
// nearly every record.
func (u Units) expanded() Units {
	all := maps.Clone(u)
	for name, s := range u {
		if !strings.Contains(name, ".service") {
			all[name+service] = s
		}
		if tag, ok := strings.CutPrefix(name, "snap."); ok { // by which the snap's program logs
			all[tag] = s
		}
	}
	return all
}

const service = ".service"

// Of says who may have written a record.
func (u Units) Of(r *journal.Record) Source {
	switch {
	case r.Pod != "" || r.Container != "":
		return u.ofContainer(r)
	case r.Kernel:
		return Kernel
	case r.Identifier == "systemd" && r.PID <= 1:
		// The journal's UNIT= is the unit that the manager writes about.
		return Systemd
	}
	if r.Unit != "" {
		if s, ok := u.lookup(r.Unit); ok {
			if s&Docker != 0 && isContainerID(r.Identifier) {
				return Pod // docker's journald driver: a container's output under docker's unit
			}
			return s
		}
	}
	if r.Identifier != "" {
		s, ok := u.lookup(r.Identifier)
		if !ok || s == Kernel { // the kernel's own records say so: anybody may call himself kernel
			return Other
		}
		return s
	}
	if r.Unit != "" {
		return Other
	}
	if s, ok := u.lookup(strings.TrimSuffix(filepath.Base(r.Source), ".log")); ok {
		return s
	}
	return Any
}

// ofContainer: only in kube-system is a container what its name says; elsewhere
// anybody may call one coredns.
func (u Units) ofContainer(r *journal.Record) Source {
	if strings.HasPrefix(r.Pod, "kube-system/") || r.Pod == "" {
		if s := u[r.Container]; s&(CoreDNS|KubeProxy) != 0 {
			return s | Pod
		}
	}
	return Pod
}

func (u Units) lookup(name string) (Source, bool) {
	if s, ok := u[name]; ok {
		return s, true
	}
	name = strings.TrimSuffix(name, service)
	if i := strings.IndexByte(name, '@'); i > 0 {
		name = name[:i]
	}
	s, ok := u[name]
	return s, ok
}

// isContainerID: docker tags lines with the first 12 or all 64 digits of an id.
func isContainerID(s string) bool {
	if len(s) != 12 && len(s) != 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
