package runtime

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: the network of a real runtime's pods.

func itoa(n int) string { return strconv.Itoa(n) }

// networkReady awaits that the runtime has taken in a change of its configuration.
func (c *containerd) networkReady(want bool) {
	c.t.Helper()
	await(c.t, fmt.Sprintf("NetworkReady=%t", want), func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r, err := c.Status(ctx, &cri.StatusRequest{})
		return err == nil && slices.ContainsFunc(r.GetStatus().GetConditions(), func(rc *cri.RuntimeCondition) bool {
			return rc.GetType() == "NetworkReady" && rc.GetStatus() == want
		})
	})
}

func TestNetworkConfiguration(t *testing.T) {
	c, p, n := start(t), probes.NewRuntime(), node(t)
	quiet(t, look(t, p, n))

	if err := os.Rename(binDir+"/bridge", binDir+"/.bridge"); err != nil {
		t.Fatal(err)
	}
	v := wrong(t, look(t, p, n), problem.CNINotReady)
	says(t, v, "the plugin bridge, which 10-pods.conflist needs, is not in "+binDir)
	if v.Severity != problem.Critical {
		t.Errorf("severity %s", v.Severity)
	}
	if err := os.Rename(binDir+"/.bridge", binDir+"/bridge"); err != nil {
		t.Fatal(err)
	}
	quiet(t, look(t, p, n))

	write(t, conflist, "{\n\"cniVersion\": \"0.4.0\",\n__PLUGINS__\n}")
	c.networkReady(false)
	says(t, wrong(t, look(t, p, n), problem.CNINotReady), conflist+": it is no JSON: line 3", "NetworkReady=false")

	if err := os.Remove(conflist); err != nil {
		t.Fatal(err)
	}
	c.networkReady(false)
	says(t, wrong(t, look(t, p, n), problem.CNINotReady), "no network configuration in "+confDir)

	// What an editor leaves behind is no configuration.
	write(t, confDir+"/05-pods.conflist~", "not for anyone")
	write(t, conflist, network("10.89.1.0/24"))
	c.networkReady(true)
	quiet(t, look(t, p, n))
}

// hostLocal asks the real plugin for an address for a container.
func hostLocal(t *testing.T, subnet, id string) error {
	t.Helper()
	cmd := exec.Command(pluginDir + "/host-local")
	cmd.Env = []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=" + id, "CNI_NETNS=/proc/self/ns/net", "CNI_IFNAME=eth0", "CNI_PATH=" + pluginDir}
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"cniVersion":"0.4.0","name":"pods","ipam":{"type":"host-local","ranges":[[{"subnet":%q}]]}}`, subnet))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("host-local: %w: %s", err, out)
	}
	return nil
}

// age makes all reservations older than any sandbox that is being made.
func age(t *testing.T) {
	t.Helper()
	const dir = "/var/lib/cni/networks/pods"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-time.Hour)
	for _, e := range entries {
		if err := os.Chtimes(dir+"/"+e.Name(), then, then); err != nil {
			t.Fatal(err)
		}
	}
}

func ips(t *testing.T, r problem.Result) problem.Measurement {
	t.Helper()
	i := slices.IndexFunc(r.Measurements, func(m problem.Measurement) bool { return m.Resource == "pod_ips" })
	if i < 0 {
		t.Fatalf("addresses are not measured: %+v", r)
	}
	return r.Measurements[i]
}

func TestAddresses(t *testing.T) {
	c, p, n := start(t), probes.NewRuntime(), node(t)
	for i := range 2 {
		c.pod("default", "web-"+itoa(i), "")
	}
	age(t)
	r := look(t, p, n)
	quiet(t, r)
	if m := ips(t, r); m.Used != 2 || m.Max != 253 || m.Subject != "10.89.1.0/24" {
		t.Errorf("measured %+v, want 2 of 253", m)
	}

	// Sandboxes that are gone without the plugin being called leave addresses behind.
	for i := range 11 {
		if err := hostLocal(t, "10.89.1.0/24", fmt.Sprintf("%064x", i)); err != nil {
			t.Fatal(err)
		}
	}
	quiet(t, look(t, p, n)) // they may be of sandboxes that are being made
	age(t)
	v := wrong(t, look(t, p, n), problem.PodIPsNearLimit)
	says(t, v, "11 of the 13 pod addresses in use belong to pods that are gone", "/var/lib/cni/networks/pods/10.89.1.")
	if v.Severity != problem.Warning || v.Refused {
		t.Errorf("severity %s, refused %t", v.Severity, v.Refused)
	}
	if err := os.RemoveAll("/var/lib/cni/networks"); err != nil {
		t.Fatal(err)
	}

	// A range of 13 that is used up, until the plugin itself refuses.
	write(t, conflist, network("10.89.1.0/28"))
	given := 0
	for hostLocal(t, "10.89.1.0/28", fmt.Sprintf("%064x", 100+given)) == nil {
		given++
	}
	v = wrong(t, look(t, p, n), problem.PodIPsNearLimit)
	says(t, v, fmt.Sprintf("100 %% (%d of %d addresses)", given, given))
	if given != 13 || v.Severity != problem.Critical || !v.Refused {
		t.Errorf("%d given, severity %s, refused %t", given, v.Severity, v.Refused)
	}
}

func TestNodeAgents(t *testing.T) {
	c, p, n := start(t), probes.NewRuntime(), node(t)
	write(t, "/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\ncgroupDriver: cgroupfs\ncgroupRoot: /nodevitals-runtime-test\n")
	c.pod("kube-system", "kube-proxy-x", "kube-proxy")
	c.pod("kube-flannel", "kube-flannel-ds-y", "kube-flannel")
	c.pod("default", "job", "kube-thing", "0") // ends, as it should
	quiet(t, look(t, p, n))

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	list, err := c.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range list.Containers {
		if _, err := c.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: k.Id, Timeout: 0}); err != nil {
			t.Fatal(err)
		}
	}
	r := look(t, p, n)
	v := wrong(t, r, problem.KubeProxyDown)
	says(t, v, "kube-proxy does not run (pod kube-system/kube-proxy-x)")
	if !slices.Contains(v.Touches, problem.Ref("pod:kube-system/kube-proxy-x")) {
		t.Errorf("touches %v", v.Touches)
	}
	if v = wrong(t, r, problem.CNIAgentDown); v.Subject != "kube-flannel" {
		t.Errorf("subject %q", v.Subject)
	}
	says(t, v, "kube-flannel does not run (pod kube-flannel/kube-flannel-ds-y)")

	// It is started anew and ends, three times.
	for _, s := range sandboxes(t, c) {
		if s.Metadata.Name != "kube-proxy-x" {
			continue
		}
		config := &cri.PodSandboxConfig{Metadata: s.Metadata, LogDirectory: "/run/logs", Linux: &cri.LinuxPodSandboxConfig{CgroupParent: cgroupParent}}
		for attempt := range uint32(3) {
			c.container(s.Id, config, "kube-proxy", attempt+1)
		}
	}
	says(t, wrong(t, look(t, p, n), problem.KubeProxyDown), "kube-proxy ends again and again: 3 new attempts within 10m0s")

	// The pods are removed, as on a node that no longer needs them.
	c.removePods()
	for _, v := range look(t, p, n).Verdicts {
		if v.State == problem.Wrong {
			t.Errorf("%s %q is reported of pods that are gone: %s", v.Kind, v.Subject, v.Message)
		}
	}
}

func sandboxes(t *testing.T, c *containerd) []*cri.PodSandbox {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	list, err := c.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func TestCgroupDrivers(t *testing.T) {
	start(t)
	n := node(t)
	config := func(driver string) {
		write(t, "/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\ncgroupRoot: /nodevitals-runtime-test\ncgroupDriver: "+driver+"\n")
	}
	config("cgroupfs")
	quiet(t, look(t, probes.NewRuntime(), n))
	config("systemd")
	v := wrong(t, look(t, probes.NewRuntime(), n), problem.CgroupDriverMismatch)
	says(t, v, "kubelet uses the cgroup driver systemd, the container runtime cgroupfs", "/var/lib/kubelet/config.yaml")
}
