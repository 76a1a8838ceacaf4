package cgroup

// This file: what a cgroup's path says about whose it is. kubelet makes
//
//	/kubepods/burstable/podUID/ID                                   (cgroupfs driver)
//	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice/RUNTIME-ID.scope  (systemd)
//
// below its cgroupRoot, whose name systemd puts before "kubepods"
// (pkg/kubelet/cm/cgroup_manager_linux.go).
//
// A pod may own cgroups below its own and name them as it likes. So it is always
// the outermost match that counts.

import "strings"

// parent is the cgroup above path; the root is its own.
func parent(path string) string {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return "/"
	}
	return path[:i]
}

// PodOf is the uid of the pod to which a cgroup belongs: a UUID, or the 32 hex
// digits of a static pod.
func PodOf(path string) (uid string, ok bool) {
	uid, _, ok = cutPod(path)
	return uid, ok
}

// cutPod is the uid of a path's pod and what follows it on the path.
func cutPod(path string) (uid, below string, ok bool) {
	inKubepods := false
	for at := path; at != ""; {
		e, next, _ := strings.Cut(at, "/")
		// If the two drivers differ, kubelet's slice and the container make one
		// element: kubepods-podU_I_D.slice:cri-containerd:ID.
		e, _, _ = strings.Cut(e, ":")
		if uid, ok := podElement(e, inKubepods); ok {
			return uid, at[len(e):], true
		}
		inKubepods = inKubepods || isKubepodsElement(e)
		at = next
	}
	return "", "", false
}

// podElement is the uid in one element of a path.
func podElement(e string, inKubepods bool) (uid string, ok bool) {
	if inKubepods {
		if uid, ok := strings.CutPrefix(e, "pod"); ok && validUID(uid) {
			return uid, true
		}
	}
	name, isSlice := strings.CutSuffix(e, ".slice")
	i := strings.LastIndex(name, "-pod")
	if !isSlice || i < 0 {
		return "", false
	}
	above := strings.TrimSuffix(strings.TrimSuffix(name[:i], "-besteffort"), "-burstable")
	uid = strings.ReplaceAll(name[i+len("-pod"):], "_", "-")
	if !isKubepodsElement(above) || !validUID(uid) {
		return "", false
	}
	return uid, true
}

// validUID: a manifest of a static pod may bring any uid, so more than hex
// digits pass, but nothing that could garble a message.
func validUID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isKubepodsElement(e string) bool {
	e = strings.TrimSuffix(e, ".slice")
	return e == "kubepods" || strings.HasSuffix(e, "-kubepods")
}

func lastElement(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// IsKubepods reports whether path is the cgroup of all pods, whose limit is the
// node's allocatable.
func IsKubepods(path string) bool {
	_, inPod := PodOf(path)
	return !inPod && isKubepodsElement(lastElement(path))
}

// IsQoS reports whether path is the cgroup of all Burstable or all BestEffort pods.
func IsQoS(path string) bool {
	if !IsKubepods(parent(path)) {
		return false
	}
	switch e := lastElement(path); e {
	case "burstable", "besteffort":
		return true
	default:
		name, ok := strings.CutSuffix(e, ".slice")
		above, isBurstable := strings.CutSuffix(name, "-burstable")
		if !isBurstable {
			above = strings.TrimSuffix(name, "-besteffort")
		}
		return ok && above != name && isKubepodsElement(above)
	}
}

// ContainerOf is the id of the container to which a cgroup belongs, 64 hex
// digits, as its runtime names it.
func ContainerOf(path string) (id string, ok bool) {
	// A node may itself be a container (kind): the pod's is the one that counts.
	if _, below, inPod := cutPod(path); inPod {
		path = below
	}
	for e := range strings.SplitSeq(path, "/") {
		if id, ok := containerElement(e); ok {
			return id, true
		}
	}
	return "", false
}

func containerElement(e string) (id string, ok bool) {
	if isContainerID(e) {
		return e, true
	}
	if i := strings.LastIndexByte(e, ':'); i >= 0 && isContainerID(e[i+1:]) {
		return e[i+1:], true
	}
	name, isScope := strings.CutSuffix(e, ".scope")
	i := strings.LastIndexByte(name, '-')
	// conmon watches a container from outside of it: crio-conmon-ID.scope.
	if !isScope || i < 0 || !isContainerID(name[i+1:]) || strings.HasSuffix(name[:i], "conmon") {
		return "", false
	}
	return name[i+1:], true
}

func isContainerID(s string) bool {
	if len(s) != 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// UnitOf is the systemd unit to which a cgroup belongs: the first service or
// scope on the path, as for systemd itself, else the last slice.
func UnitOf(path string) (unit string, ok bool) {
	for e := range strings.SplitSeq(path, "/") {
		// systemd escapes names that would clash with a kernel file by "_".
		e = strings.TrimPrefix(e, "_")
		switch {
		case strings.HasSuffix(e, ".service"), strings.HasSuffix(e, ".scope"):
			return e, true
		case strings.HasSuffix(e, ".slice"):
			unit, ok = e, true
		default:
			if ok { // not systemd's any more
				return unit, true
			}
		}
	}
	return unit, ok
}

// UserOf is the numeric id of the user whose session a cgroup belongs to, as
// logind makes it: /user.slice/user-1000.slice/….
func UserOf(path string) (uid string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/user.slice/user-")
	if !ok {
		return "", false
	}
	uid, _, ok = strings.Cut(rest, ".slice")
	if !ok || len(uid) == 0 || len(uid) > 10 {
		return "", false
	}
	for _, c := range []byte(uid) {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	return uid, true
}
