package cgroup

import (
	"strings"
	"testing"
)

const id64 = "cba8680550f6f33d25e144a8118716ae874a6e75d57bb0f7323175725df8835b"

func TestNames(t *testing.T) {
	other := strings.Repeat("0", 64)
	const uuid = "0c1d2e3f-4a5b-6c7d-8e9f-001122334455"
	const under = "0c1d2e3f_4a5b_6c7d_8e9f_001122334455"
	const static = "5382cf4156bade762f2c2c39a8704974"
	for _, c := range []struct {
		path, pod, container, unit, user string
		kubepods, qos                    bool
	}{
		{path: "/"},
		{path: ""},
		{path: "/init.scope", unit: "init.scope"},
		{path: "/kubepods", kubepods: true},
		{path: "/kubepods.slice", unit: "kubepods.slice", kubepods: true},
		{path: "/kubelet/kubepods", kubepods: true},
		{path: "/kubelet.slice/kubelet-kubepods.slice", unit: "kubelet-kubepods.slice", kubepods: true},
		{path: "/notkubepods"},
		{path: "/kubepods/burstable", qos: true},
		{path: "/kubepods.slice/kubepods-besteffort.slice", unit: "kubepods-besteffort.slice", qos: true},
		{path: "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice", unit: "kubelet-kubepods-burstable.slice", qos: true},
		{path: "/system.slice/burstable", unit: "system.slice"},
		{
			path: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + id64 + ".scope",
			pod:  uuid, container: id64, unit: "cri-containerd-" + id64 + ".scope",
		},
		{path: "/kubepods.slice/kubepods-pod" + static + ".slice", pod: static, unit: "kubepods-pod" + static + ".slice"},
		{path: "/kubepods/besteffort/pod" + uuid + "/" + id64, pod: uuid, container: id64},
		{path: "/kubepods/pod" + static, pod: static},
		{
			path: "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + under + ".slice/crio-" + id64 + ".scope",
			pod:  uuid, container: id64, unit: "crio-" + id64 + ".scope",
		},
		// A node that is itself a container.
		{path: "/docker/" + other + "/kubelet/kubepods/pod" + uuid + "/" + id64, pod: uuid, container: id64},
		{path: "/docker/" + other, container: other},
		{path: "/system.slice/docker-" + id64 + ".scope", container: id64, unit: "docker-" + id64 + ".scope"},
		{path: "/machine.slice/libpod-" + id64 + ".scope/container", container: id64, unit: "libpod-" + id64 + ".scope"},
		// conmon is not in the container.
		{path: "/kubepods/pod" + uuid + "/crio-conmon-" + id64 + ".scope", pod: uuid, unit: "crio-conmon-" + id64 + ".scope"},
		// The two drivers differ.
		{
			path: "/system.slice/containerd.service/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + id64,
			pod:  uuid, container: id64, unit: "containerd.service",
		},
		// A pod names a cgroup of its own after another pod and a unit.
		{
			path: "/kubepods/pod" + uuid + "/" + id64 + "/kubepods-pod" + static + ".slice/kubelet.service",
			pod:  uuid, container: id64, unit: "kubelet.service",
		},
		// Not a pod, whatever it is called.
		{path: "/system.slice/pod" + uuid, unit: "system.slice"},
		{path: "/kubepods/podx\ny"},
		{path: "/kubepods/pod" + strings.Repeat("a", 65)},
		{path: "/kubepods/pod"},
		{path: "/x-pod" + uuid + ".slice", unit: "x-pod" + uuid + ".slice"},
		{path: "/system.slice/kubelet.service", unit: "kubelet.service"},
		{path: "/system.slice/_cpu.service/payload", unit: "cpu.service"},
		{path: "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", unit: "user@1000.service", user: "1000"},
		{path: "/user.slice/user-1000.slice/session-3.scope", unit: "session-3.scope", user: "1000"},
		{path: "/user.slice/user-x.slice", unit: "user-x.slice"},
		{path: "/user.slice/user-1000", unit: "user.slice"},
		{path: "/user.slice/user-.slice", unit: "user-.slice"},
		{path: "/user.slice/user-12345678901.slice", unit: "user-12345678901.slice"},
		{path: "/docker/g" + id64[1:]},
		{path: "/docker/" + strings.ToUpper(id64)},
		{path: "/kubepods.slice/kubepods-burstable", unit: "kubepods.slice"},
		{path: "/kubepods.slice/other-burstable.slice", unit: "other-burstable.slice"},
		{path: "/kubepods.slice/kubepods.slice", unit: "kubepods.slice", kubepods: true},
		{path: "/foo"},
	} {
		pod, _ := PodOf(c.path)
		container, _ := ContainerOf(c.path)
		unit, _ := UnitOf(c.path)
		user, _ := UserOf(c.path)
		if pod != c.pod || container != c.container || unit != c.unit || user != c.user {
			t.Errorf("%s\n got pod %q container %q unit %q user %q\nwant pod %q container %q unit %q user %q",
				c.path, pod, container, unit, user, c.pod, c.container, c.unit, c.user)
		}
		if IsKubepods(c.path) != c.kubepods || IsQoS(c.path) != c.qos {
			t.Errorf("%s: kubepods %v, QoS %v", c.path, IsKubepods(c.path), IsQoS(c.path))
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0c1d_2e.slice/cri-containerd-" + id64 + ".scope")
	f.Add("/kubepods/besteffort/pod0c1d-2e/" + id64)
	f.Add("/kubepods-pod1.slice:cri-containerd:" + id64)
	f.Add("/user.slice/user-0.slice")
	f.Fuzz(func(t *testing.T, path string) {
		if uid, ok := PodOf(path); ok != validUID(uid) {
			t.Fatalf("pod %q of %q", uid, path)
		}
		if id, ok := ContainerOf(path); ok != isContainerID(id) {
			t.Fatalf("container %q of %q", id, path)
		}
		if unit, ok := UnitOf(path); ok != (unit != "") || strings.Contains(unit, "/") {
			t.Fatalf("unit %q of %q", unit, path)
		}
		if _, pod := PodOf(path); pod && (IsKubepods(path) || IsQoS(path)) {
			t.Fatalf("%q is both a pod and above all pods", path)
		}
		UserOf(path)
	})
}
