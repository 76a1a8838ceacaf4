package owner

// This file: the names in the names of kubelet's log folders and files
// (BuildPodLogsDirectory and logSymlink in
// pkg/kubelet/kuberuntime/{helpers,legacy}.go):
//
//	/var/log/pods/NAMESPACE_POD_UID/
//	/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log
//
// Only names are read, links are not followed: those of the second folder hold
// absolute paths, which point nowhere from a container.

import (
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
)

const (
	podsDir       = "/var/log/pods"
	containersDir = "/var/log/containers"
)

// podName is a pod as kubelet names its log folder.
type podName struct{ namespace, name, uid string }

// parsePodDir reads NAMESPACE_POD_UID. None of the three can hold a "_".
func parsePodDir(dir string) (p podName, ok bool) {
	parts := strings.Split(dir, "_")
	if len(parts) != 3 {
		return p, false
	}
	p = podName{namespace: parts[0], name: parts[1], uid: parts[2]}
	return p, validLabel(p.namespace) && validName(p.name) && validName(strings.ToLower(p.uid))
}

// containerName is a container as kubelet names the link to its log.
type containerName struct{ namespace, pod, container, id string }

// parseContainerLink reads POD_NAMESPACE_CONTAINER-ID.log.
func parseContainerLink(link string) (c containerName, ok bool) {
	rest, ok := strings.CutSuffix(link, ".log")
	parts := strings.Split(rest, "_")
	if !ok || len(parts) != 3 {
		return c, false
	}
	i := strings.LastIndexByte(parts[2], '-')
	if i < 0 {
		return c, false
	}
	c = containerName{pod: parts[0], namespace: parts[1], container: parts[2][:i], id: parts[2][i+1:]}
	return c, validName(c.pod) && validLabel(c.namespace) && validLabel(c.container) && validID(c.id)
}

// names are all that the log folders tell.
type names struct {
	pods       map[string]podName       // by uid
	containers map[string]containerName // by id
}

// readNames lists the log folders. A host that has none runs no pods, or logs
// elsewhere: then there are no names.
func readNames(h *host.Host) names {
	n := names{pods: map[string]podName{}, containers: map[string]containerName{}}
	dirs, _ := h.ReadDirNames(podsDir)
	for _, d := range dirs {
		if p, ok := parsePodDir(d); ok {
			n.pods[p.uid] = p
		}
	}
	links, _ := h.ReadDirNames(containersDir)
	for _, l := range links {
		if c, ok := parseContainerLink(l); ok {
			n.containers[c.id] = c
		}
	}
	return n
}

// validLabel: a DNS label (RFC 1123), as namespaces and containers have for a name.
func validLabel(s string) bool { return len(s) <= 63 && validName(s) && !strings.Contains(s, ".") }

// validName: a DNS subdomain (RFC 1123), as pods have for a name.
func validName(s string) bool {
	if len(s) == 0 || len(s) > 253 || !isAlphanumeric(s[0]) || !isAlphanumeric(s[len(s)-1]) {
		return false
	}
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' }

// validID: 64 hex digits.
func validID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
