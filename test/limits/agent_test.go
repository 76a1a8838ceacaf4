package limits

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/daemon"
	tool "github.com/nodevitals/nodevitals/test/helper"
	"github.com/nodevitals/nodevitals/test/unprivileged"
)

// fullPod makes a pod that is at its pids limit and has had forks refused.
func fullPod(t *testing.T, n *probes.Node, top string) (limit int) {
	t.Helper()
	pod := pidsCgroup(t, n, top+"/kubepods/burstable/pod"+podUID)
	h := start(t, "forker", nil)
	h.line()
	put(t, pod, "cgroup.procs", strconv.Itoa(h.cmd.Process.Pid))
	raw, err := os.ReadFile(filepath.Join(pod, "pids.current"))
	if err != nil {
		t.Fatal(err)
	}
	own, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
	limit = own + 10
	put(t, pod, "pids.max", strconv.Itoa(limit))
	if refused := h.say("fork 15"); refused != "5" {
		t.Fatalf("%s forks were refused, want 5", refused)
	}
	return limit
}

// once runs agent --once and decodes what it prints.
func once(t *testing.T, cmd *exec.Cmd) (problem.Snapshot, int) {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var s problem.Snapshot
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	return s, cmd.ProcessState.ExitCode()
}

// checkForkRefused checks that the report leads with the refused forks of the
// pod, links them to its limit, and clears the node's limits.
func checkForkRefused(t *testing.T, s problem.Snapshot, subject string, limit int) {
	t.Helper()
	i := slices.IndexFunc(s.Problems, func(p problem.Problem) bool { return p.Kind == problem.ForkRefused })
	if i < 0 {
		t.Fatalf("no ForkRefused among %+v", s.Problems)
	}
	p := s.Problems[i]
	if want := fmt.Sprintf("fork fails: pids.max reached in %s (%d of %d threads, 5 refused)", subject, limit, limit); p.Message != want || p.Subject != subject {
		t.Errorf("message %q of %q, want %q", p.Message, p.Subject, want)
	}
	if len(p.Causes) != 1 || p.Causes[0].Kind != problem.CgroupPIDsNearLimit || p.Causes[0].Subject != subject {
		t.Errorf("causes %+v, want the pod's limit", p.Causes)
	}
	for _, other := range []string{"not pid_max: ", "not threads_max: "} {
		if !slices.ContainsFunc(p.Examined, func(e string) bool { return strings.HasPrefix(e, other) }) {
			t.Errorf("examined %q lacks %q", p.Examined, other)
		}
	}
	if len(p.Holders) == 0 || p.Holders[0].Process != "sleep" || p.Holders[0].Amount != 10 {
		t.Errorf("holders %+v, want 10 threads of sleep", p.Holders)
	}
}

// TestAgentOnceOnASickNode runs the program as a person would.
func TestAgentOnceOnASickNode(t *testing.T) {
	needRoot(t)
	bin := buildAgent(t)
	healthy, code := once(t, exec.Command(bin, "--once", "-o", "json"))
	if slices.ContainsFunc(healthy.Problems, func(p problem.Problem) bool { return p.Kind == problem.ForkRefused }) {
		t.Fatalf("exit %d; %+v", code, healthy.Problems)
	}
	n := node(t)
	limit := fullPod(t, n, fmt.Sprintf("/nodevitals-test-%d", os.Getpid()))
	sick, code := once(t, exec.Command(bin, "--once", "-o", "json"))
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	checkForkRefused(t, sick, "pod uid "+podUID, limit)
}

// TestAgentInAPod runs the program as a pod would: in a cgroup of its own with a
// cgroup namespace, in a mount namespace with nothing but the program, /proc,
// /sys and the host's root at /host. It must find the pod's name in the host's
// log folders, and its cgroup through the namespace.
func TestAgentInAPod(t *testing.T) {
	needRoot(t)
	n := node(t)
	top := fmt.Sprintf("/nodevitals-test-%d", os.Getpid())
	limit := fullPod(t, n, top)
	own := pidsCgroup(t, n, top+"/kubepods/besteffort/pod00000000-0000-4000-8000-000000000001/"+strings.Repeat("a", 64))
	root := t.TempDir()
	bin := buildAgent(t)
	s, code := once(t, tool.Command("pod", "POD_ROOT="+root, "POD_CGROUP="+own, "POD_AGENT="+bin))
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	checkForkRefused(t, s, "pod payments/worker-7c9", limit)
	// In a network namespace that is the host's, nothing is out of reach.
	for _, p := range s.Probes {
		if p.Outcome == problem.OutcomeFailed {
			t.Errorf("probe %s failed: %s", p.Probe, p.Reason)
		}
	}
}

// pod is a helper that becomes the agent in a container.
func pod() {
	runtime.LockOSThread() // namespaces are a thread's, until it executes another program
	root := os.Getenv("POD_ROOT")
	must := func(what string, err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, what, err)
			os.Exit(70)
		}
	}
	must("join", os.WriteFile(os.Getenv("POD_CGROUP")+"/cgroup.procs", []byte("0"), 0))
	must("unshare", unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_NEWCGROUP))
	must("private", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must("root", unix.Mount("tmpfs", root, "tmpfs", 0, ""))
	for _, dir := range []string{"/host", "/proc", "/sys"} {
		must("mkdir", os.Mkdir(root+dir, 0o755))
	}
	must("agent", copyFile(os.Getenv("POD_AGENT"), root+"/agent"))
	must("host", unix.Mount("/", root+"/host", "", unix.MS_BIND|unix.MS_REC, ""))
	logs := root + "/host/var/log"
	must("logs", unix.Mount("tmpfs", logs, "tmpfs", 0, ""))
	must("pod logs", os.MkdirAll(logs+"/pods/payments_worker-7c9_"+podUID+"/app", 0o755))
	must("proc", unix.Mount("proc", root+"/proc", "proc", 0, ""))
	must("sys", unix.Mount("sysfs", root+"/sys", "sysfs", unix.MS_RDONLY, ""))
	must("cgroups", unix.Mount("tmpfs", root+"/sys/fs/cgroup", "tmpfs", 0, ""))
	must("pids", os.Mkdir(root+"/sys/fs/cgroup/pids", 0o755))
	must("own cgroup", unix.Mount(os.Getenv("POD_CGROUP"), root+"/sys/fs/cgroup/pids", "", unix.MS_BIND, ""))
	must("chroot", unix.Chroot(root))
	must("chdir", unix.Chdir("/"))
	must("exec", unix.Exec("/agent", []string{"agent", "--once", "-o", "json", "--root", "/host"}, nil))
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Close()
}

// TestDaemon runs the program as a service: what it serves is sound, and it
// ends when it is told to.
func TestDaemon(t *testing.T) {
	d := daemon.Start(t, exec.Command(buildAgent(t), "--listen", "127.0.0.1:0", "--state-file", filepath.Join(t.TempDir(), "state.json")))
	d.AwaitReady()
	_, metrics, err := d.Ask("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nodevitals_build_info{", `nodevitals_limit_used{resource="pid_max"`, "nodevitals_probe_success{"} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if promtool, err := exec.LookPath("promtool"); err != nil {
		t.Log("promtool is not installed: the metrics were not checked by it (make test installs it)")
	} else {
		check := exec.Command(promtool, "check", "metrics")
		check.Stdin = strings.NewReader(string(metrics))
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	}
	if err := d.End(syscall.SIGTERM); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestSystemd: as a unit of type notify it says when it is ready, feeds the
// watchdog, and says that it stops.
func TestSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	next := func() string {
		b := make([]byte, 1024)
		n, err := socket.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	cmd := exec.Command(buildAgent(t), "--listen", "127.0.0.1:0", "--state-file", filepath.Join(t.TempDir(), "state.json"))
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=2000000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	ready, fed := 0, 0
	for ready == 0 || fed < 2 {
		switch msg := next(); msg {
		case "READY=1":
			ready++
		case "WATCHDOG=1":
			fed++
		default:
			t.Fatalf("it says %q", msg)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for msg := next(); msg != "STOPPING=1"; msg = next() {
	}
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestAgentWithoutRoot: as nobody it says what it cannot see, and does not call
// that fine.
func TestAgentWithoutRoot(t *testing.T) {
	needRoot(t) // to become nobody
	bin := buildAgent(t)
	unprivileged.Open(t, filepath.Dir(bin))
	cmd := exec.Command(bin, "--once", "-o", "json")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	s, code := once(t, cmd)
	if code == 0 {
		t.Errorf("exit code 0 though it cannot see all: %+v", s.Conditions)
	}
	unknown := 0
	for _, k := range s.Kinds {
		if k.State == problem.Unknown {
			unknown++
			if k.Reason == "" {
				t.Errorf("%s cannot be told, and no reason is given", k.Kind)
			}
		}
	}
	if unknown == 0 {
		t.Error("nobody can tell all")
	}
}

// TestBadRoot: a root that is none is an error that says so, and no report.
func TestBadRoot(t *testing.T) {
	bin := buildAgent(t)
	for _, root := range []string{t.TempDir(), "/no/such/folder"} {
		out, err := exec.Command(bin, "--once", "--root", root).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 64 || !strings.Contains(string(out), "is not the root of a running Linux host") {
			t.Errorf("%s: %v\n%s", root, err, out)
		}
	}
}
