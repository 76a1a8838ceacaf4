// Package capabilities runs the agent without each of the capabilities that the chart
// gives it, on a node where something is wrong that only this capability can see: it has
// to say that it cannot tell, and never that all is well.
package capabilities

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/helper"
	"github.com/nodevitals/nodevitals/test/silentfuse"
	"github.com/nodevitals/nodevitals/test/unprivileged"
)

const (
	insideEnv = "NODEVITALS_TEST_CAPABILITIES" // set inside the namespaces
	hungDir   = "/mnt/silent"
	// watcher is who has nearly all inotify instances that he may have.
	watcher = 65534
)

func TestMain(m *testing.M) {
	helpers := map[string]func(){"fuse": hang, "watcher": watch}
	if os.Getenv(helper.Env) != "" || os.Getenv(insideEnv) != "" {
		helper.Main(m, helpers)
		return
	}
	if err := missing(); err != nil {
		fmt.Println("SKIPPED:", err)
		return
	}
	var ours []string // of the folders that are mounted upon inside
	for _, dir := range []string{"/var/lib/kubelet", "/etc/cni", "/etc/cni/net.d"} {
		if os.Mkdir(dir, 0o755) == nil {
			ours = append(ours, dir)
		}
	}
	code, err := helper.Inside(insideEnv + "=1")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	for _, dir := range slices.Backward(ours) {
		_ = os.Remove(dir)
	}
	os.Exit(code)
}

// missing says what the tests cannot be run for.
func missing() error {
	if os.Getuid() != 0 {
		return errors.New("needs root, to have capabilities to drop")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return err
	}
	_, err := exec.LookPath("setpriv")
	return err
}

// furnish makes the inside of the namespaces a node with a kubelet.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/run", "/mnt", "/var/log", "/var/lib/kubelet", "/etc/cni/net.d"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("node", dir, "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
	}
	if err := unix.Mount("fusectl", "/sys/fs/fuse/connections", "fusectl", 0, ""); err != nil {
		return err
	}
	for file, text := range map[string]string{
		"/var/lib/kubelet/config.yaml":  "kind: KubeletConfiguration\nenforceNodeAllocatable: [none]\n",
		"/etc/cni/net.d/10-it.conflist": `{"cniVersion":"1.0.0","name":"it","plugins":[{"type":"bridge","bridge":"cni0","ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.0.0/24"}]]}}]}`,
		"/run/agent.yaml":               "stateFile: ''\nprobes: {hungmounts: {thresholds: {askFUSE: never}}}\n", // as in a container
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// hang is a helper: a file system that answers nobody, and somebody who waits for it.
func hang() {
	err := silentfuse.Serve(hungDir, func() {
		waiting := exec.Command("ls", hungDir)
		waiting.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		_ = waiting.Start()
	}, func() { fmt.Println("ready") })
	fmt.Println(err)
}

// watch is a helper: it makes inotify instances until it may make no more.
func watch() {
	for {
		if _, err := unix.InotifyInit1(unix.IN_CLOEXEC); err != nil {
			fmt.Println("ready")
			break
		}
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// look is what the agent says with these capabilities.
func look(t *testing.T, agent string, capabilities ...string) *problem.Snapshot {
	t.Helper()
	set := "-all"
	for _, c := range capabilities {
		set += ",+" + c
	}
	cmd := exec.Command("setpriv", "--bounding-set="+set, "--inh-caps=-all", "--no-new-privs", agent, "--once", "--timeout=20s", "--config=/run/agent.yaml", "-o=json")
	out, err := cmd.Output()
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 3) {
		t.Fatalf("%v: %s", err, out)
	}
	var s problem.Snapshot
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return &s
}

func TestWithout(t *testing.T) {
	if err := furnish(); err != nil {
		t.Fatal(err)
	}
	agent := build.Agent(t)
	unprivileged.Open(t, filepath.Dir(agent))
	for name, attr := range map[string]*syscall.SysProcAttr{
		"fuse": {}, "watcher": {Credential: &syscall.Credential{Uid: watcher, Gid: watcher}},
	} {
		attr.Pdeathsig = syscall.SIGKILL
		h := helper.Start(t, name, attr)
		if !h.Out.Scan() || h.Out.Text() != "ready" {
			t.Fatalf("%s: %q", name, h.Out.Text())
		}
	}
	all := []string{"dac_read_search", "sys_ptrace", "syslog", "net_admin"}
	with := look(t, agent, all...)
	wrong := []problem.Kind{problem.TasksStuckOnMount, problem.InotifyInstancesNearLimit}
	for _, kind := range wrong {
		if state(with, kind).State != problem.Wrong {
			t.Fatalf("with all capabilities %s is %+v", kind, state(with, kind))
		}
	}
	for without, blind := range map[string][]problem.Kind{
		"dac_read_search": {problem.InotifyInstancesNearLimit, problem.InotifyWatchesNearLimit},
		"sys_ptrace":      {problem.TasksStuckOnMount, problem.InotifyInstancesNearLimit},
		"syslog":          {problem.SoftLockup, problem.KernelOops, problem.HardwareError},
		"net_admin":       {problem.ForwardPolicyDrop},
	} {
		t.Run(without, func(t *testing.T) {
			s := look(t, agent, slices.DeleteFunc(slices.Clone(all), func(c string) bool { return c == without })...)
			for _, kind := range blind {
				if k := state(s, kind); k.State != problem.Unknown || k.Reason == "" {
					t.Errorf("%s: %+v, want unknown, with the reason", kind, k)
				}
			}
			for _, before := range with.Kinds {
				now := state(s, before.Kind)
				if now.State == problem.Unknown && before.State != problem.Unknown {
					t.Logf("%s cannot be told: %s", now.Kind, now.Reason)
				}
				if ours := slices.Contains(wrong, before.Kind); ours && now.State != problem.Wrong && now.State != problem.Unknown {
					t.Errorf("%s was wrong, and is %+v without the capability", now.Kind, now)
				}
			}
		})
	}
}

// state is that of a kind.
func state(s *problem.Snapshot, kind problem.Kind) problem.KindStatus {
	i := slices.IndexFunc(s.Kinds, func(k problem.KindStatus) bool { return k.Kind == kind })
	if i < 0 {
		return problem.KindStatus{}
	}
	return s.Kinds[i]
}
