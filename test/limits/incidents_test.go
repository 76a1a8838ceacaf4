package limits

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/daemon"
)

// This file: incidents from end to end. A real fault, the lines that programs write
// of it, and the whole program between, which must name the cause. Before the fault
// the same lines are there, and nobody is blamed. test/incidents/README.md lists them.

// ward is what an agent looks at: a folder of logs, and this machine.
type ward struct {
	t      *testing.T
	logs   string
	config string
	bin    string
}

// newWard makes the logs and a configuration that follows them.
func newWard(t *testing.T, logs, root, more string) *ward {
	t.Helper()
	needRoot(t)
	w := &ward{t: t, logs: filepath.Join(root, logs), config: filepath.Join(t.TempDir(), "config.yaml"), bin: buildAgent(t)}
	var files []string
	for _, program := range []string{"kern", "kubelet", "containerd", "crio", "coredns"} {
		files = append(files, filepath.Join(logs, program+".log"))
		w.write(program, "all is well")
	}
	put(t, filepath.Dir(w.config), "config.yaml", fmt.Sprintf("listen: 127.0.0.1:0\nrunDir: %s\nstateFile: \"\"\nlogs: {files: [%s], journal: [], kmsg: false}\n%s",
		t.TempDir(), strings.Join(files, ", "), more))
	return w
}

// write has a program write a line, some times over.
func (w *ward) write(program, line string, times ...int) {
	w.t.Helper()
	if err := os.MkdirAll(w.logs, 0o755); err != nil {
		w.t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(w.logs, program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		w.t.Fatal(err)
	}
	identifier := strings.ReplaceAll(program, "kern", "kernel")
	for range append(times, 1)[0] {
		_, more := fmt.Fprintf(f, "%s n %s: %s\n", time.Now().Format(time.RFC3339Nano), identifier, line)
		err = errors.Join(err, more)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// daemon runs the agent on this machine.
func (w *ward) daemon() *daemon.Daemon {
	w.t.Helper()
	d := daemon.Start(w.t, exec.Command(w.bin, "--config", w.config))
	d.AwaitReady()
	return d
}

// once runs agent --once among the namespaces of a helper, as nsenter(1) has them.
func (w *ward) once(h *helper, namespaces string, args ...string) problem.Snapshot {
	w.t.Helper()
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		w.t.Skipf("SKIPPED: %v; test/install-deps installs it", err)
	}
	enter := append(strings.Fields("-t "+strconv.Itoa(h.cmd.Process.Pid)+" "+namespaces), "--", w.bin, "--once", "-o", "json", "--config", w.config)
	s, _ := once(w.t, exec.Command(nsenter, append(enter, args...)...))
	return s
}

// tells reports whether a report has a problem with this way to its root:
// "effect <- cause <- cause". An effect alone is one without a cause.
func tells(s problem.Snapshot, way string) bool {
	for _, p := range s.Problems {
		if slices.Contains(ways(title(p.Kind, p.Subject), p.Causes), way) {
			return true
		}
	}
	return false
}

func ways(effect string, causes []problem.Cause) (all []string) {
	if len(causes) == 0 {
		return []string{effect}
	}
	for _, c := range causes {
		for _, way := range ways(title(c.Kind, c.Subject), c.Causes) {
			all = append(all, effect+" <- "+way)
		}
	}
	return all
}

func title(k problem.Kind, subject string) string {
	return strings.TrimSpace(string(k) + " " + subject)
}

func mustTell(t *testing.T, s problem.Snapshot, way string) {
	t.Helper()
	if !tells(s, way) {
		var all []string
		for _, p := range s.Problems {
			all = append(all, ways(title(p.Kind, p.Subject), p.Causes)...)
		}
		t.Errorf("it does not tell %q, but\n  %s", way, strings.Join(all, "\n  "))
	}
}

// mustNotTell fails the test if anything of that kind is wrong.
func mustNotTell(t *testing.T, s problem.Snapshot, kinds ...problem.Kind) {
	t.Helper()
	for _, p := range s.Problems {
		if slices.Contains(kinds, p.Kind) {
			t.Errorf("besides: %s: %s", title(p.Kind, p.Subject), p.Message)
		}
	}
}

// awaits waits until the daemon tells it.
func awaits(d *daemon.Daemon, way string) problem.Snapshot {
	return d.Await(way, func(s problem.Snapshot) bool { return tells(s, way) })
}

// TestIncidentPodAtItsPIDsLimit: a pod's forks fail at its limit, and the kernel says
// so of the container. It is one problem, and the pod's.
func TestIncidentPodAtItsPIDsLimit(t *testing.T) {
	w := newWard(t, t.TempDir(), "", "probes: {threads: {period: 1s}}\n")
	d := w.daemon()
	top := fmt.Sprintf("/nodevitals-test-%d", os.Getpid())
	fullPod(t, node(t), top)
	w.write("kern", "[ 1234.567890] cgroup: fork rejected by pids controller in "+top+"/kubepods/burstable/pod"+podUID)
	s := d.Await("the line and the counter", func(s problem.Snapshot) bool {
		return slices.ContainsFunc(s.Problems, func(p problem.Problem) bool {
			return p.Kind == problem.ForkRefused && p.Lines == 1 && len(p.Evidence) > 1
		})
	})
	mustTell(t, s, "ForkRefused pod uid "+podUID+" <- CgroupPIDsNearLimit pod uid "+podUID)
	mustNotTell(t, s, problem.NodeThreadsNearLimit, problem.UnitTasksNearLimit)
	forks := 0
	for _, p := range s.Problems {
		if p.Kind == problem.ForkRefused {
			forks++
		}
	}
	if forks != 1 {
		t.Errorf("%d problems of forks, want one", forks)
	}
}

// TestIncidentDeletedFilesFillADisk: deleted files that are still open take a file
// system up, what is left is filled, and kubelet cannot write.
func TestIncidentDeletedFilesFillADisk(t *testing.T) {
	fs := t.TempDir()
	ext4(t, fs, "")
	w := newWard(t, t.TempDir(), "", fmt.Sprintf("probes: {filesystems: {period: 1s, thresholds: {paths: [%s]}}, deletedfiles: {period: 1s}}\n", fs))
	line := fmt.Sprintf(`E1122 10:00:00.000000    1234 cpu_manager.go:190] "could not save state" err="write %s/cpu_manager_state: no space left on device"`, fs)
	w.write("kubelet", line)
	d := w.daemon()
	mustNotTell(t, d.Snapshot(), problem.FilesystemSpaceLow, problem.DeletedFilesHoldSpace)
	h := start(t, "holder", nil)
	h.say(fmt.Sprintf("hold %d %s", usage(t, fs).Avail*90/100, filepath.Join(fs, "app.log")))
	fill(t, filepath.Join(fs, "big"), 0)
	w.write("kubelet", line)
	s := awaits(d, "NoSpaceLeft "+fs+" <- FilesystemSpaceLow "+fs+" <- DeletedFilesHoldSpace "+fs)
	mustNotTell(t, s, problem.InotifyRefused, problem.CgroupCreationRefused)
	h.say("close")
	remove(t, filepath.Join(fs, "big"))
	d.Await("all is well", func(s problem.Snapshot) bool {
		return !slices.ContainsFunc(s.Problems, func(p problem.Problem) bool {
			return p.Kind == problem.NoSpaceLeft || p.Kind == problem.FilesystemSpaceLow || p.Kind == problem.DeletedFilesHoldSpace
		})
	})
	h.end() // before its file system is unmounted
}

// TestIncidentRuntimeOutOfFiles: a runtime has used up its descriptors and says so,
// and kubelet waits for it in vain.
func TestIncidentRuntimeOutOfFiles(t *testing.T) {
	w := newWard(t, t.TempDir(), "", "probes: {daemonfiles: {period: 1s}}\n")
	h := start(t, "hoarder", nil)
	h.line()
	d := w.daemon()
	w.write("kubelet", `E1122 10:00:00.000000    1234 remote_runtime.go:407] "ListContainers with filter from runtime service failed" err="rpc error: code = DeadlineExceeded desc = context deadline exceeded" filter="nil"`, 6)
	awaits(d, "RuntimeDeadlineExceeded")
	h.say("open")
	w.write(daemonName, `time="2026-11-22T10:00:00Z" level=error msg="accept unix /var/run/crio/crio.sock: accept4: too many open files"`)
	awaits(d, "RuntimeDeadlineExceeded <- DaemonFilesNearLimit "+daemonName)
	h.say("close")
	awaits(d, "RuntimeDeadlineExceeded")
}

// TestIncidentOOMOfAllPods: all pods together are at their limit and the kernel kills
// in one of them, whose sandbox is made anew; that of another is not explained by it.
func TestIncidentOOMOfAllPods(t *testing.T) {
	const other = "00000000-0000-4000-8000-00000000beef"
	const limit = 48 << 20
	n := node(t)
	w := newWard(t, t.TempDir(), "", "probes: {oom: {period: 1s}}\n")
	at, container := memoryCgroup(t, n, "kubepods/burstable/pod"+podUID+"/"+strings.Repeat("c0de", 16))
	pods, dir := memoryCgroup(t, n, "kubepods")
	limitMemory(t, n, dir, limit)
	d := w.daemon()
	for _, uid := range []string{podUID, other} {
		w.write("kubelet", fmt.Sprintf(`E1122 10:00:00.000000    1234 kuberuntime_sandbox.go:72] "Failed to create sandbox for pod" err="rpc error: code = Unknown desc = failed to start sandbox" podUID="%s"`, uid))
		awaits(d, "SandboxRecreated pod uid "+uid)
	}
	h := startEater(t)
	put(t, container, "cgroup.procs", strconv.Itoa(h.cmd.Process.Pid))
	if _, err := fmt.Fprintf(h.Stdin, "eat %d\n", 4*limit); err != nil {
		t.Fatal(err)
	}
	if h.Out.Scan() {
		t.Fatalf("the helper was not killed: %s", h.Out.Text())
	}
	h.end()
	// As the kernel has it; its own log is the whole machine's.
	w.write("kern", fmt.Sprintf("[ 1234.567890] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=%s,task_memcg=%s,task=limits.test,pid=%d,uid=0", pods, at, h.cmd.Process.Pid))
	s := awaits(d, "SandboxRecreated pod uid "+podUID+" <- NodeAllocatableOOM "+n.Owners.OfCgroup(pods).String())
	mustTell(t, s, "SandboxRecreated pod uid "+other)
	mustNotTell(t, s, problem.ContainerOOM, problem.NodeOOM)
}

// TestIncidentInotifyUsedUp: a user has no inotify instance left, and kubelet says "too
// many open files". Neither a disk nor the table of files is blamed.
func TestIncidentInotifyUsedUp(t *testing.T) {
	w := newWard(t, t.TempDir(), "", "")
	w.write("kubelet", `E1122 10:00:00.000000    1234 kubelet.go:1431] "Failed to start cAdvisor" err="inotify_init: too many open files"`)
	h := startInside(t, "inotify-eater", unix.CLONE_NEWUSER)
	before := w.once(h, "-U -m -p")
	mustNotTell(t, before, problem.InotifyInstancesNearLimit, problem.InotifyWatchesNearLimit)
	h.say(fmt.Sprintf("instances %d", 2*fewInstances))
	s := w.once(h, "-U -m -p")
	mustTell(t, s, "InotifyRefused <- InotifyInstancesNearLimit uid 0")
	mustNotTell(t, s, problem.NoSpaceLeft, problem.SystemFileTableNearLimit, problem.InotifyWatchesNearLimit)
}

// dnsFails is what CoreDNS writes while nobody answers it.
func (w *ward) dnsFails() {
	w.t.Helper()
	w.write("coredns", "[ERROR] plugin/errors: 2 example.com. A: read udp 10.244.0.2:45678->10.0.0.2:53: i/o timeout", 6)
}

// TestIncidentConntrackFull: the connection tracking table is full, the kernel says that
// it drops, and names cannot be looked up.
func TestIncidentConntrackFull(t *testing.T) {
	limit, err := strconv.Atoi(strings.TrimSpace(read(t, "/proc/sys/net/netfilter/nf_conntrack_max")))
	if err != nil || limit > 300_000 {
		t.Skipf("SKIPPED: it would take too long, and too much memory, to fill a table of %d: %v", limit, err)
	}
	w := newWard(t, t.TempDir(), "", "")
	w.dnsFails()
	h := startInside(t, "flooder", unix.CLONE_NEWNET)
	before := w.once(h, "-n -m -p")
	mustTell(t, before, "DNSFailure")
	h.say(fmt.Sprintf("fill %d", limit+100))
	if _, err := fmt.Fprintln(h.Stdin, "send 2000000"); err != nil { // which goes on meanwhile
		t.Fatal(err)
	}
	w.write("kern", "[ 1234.567890] nf_conntrack: nf_conntrack: table full, dropping packet")
	mustTell(t, w.once(h, "-n -m -p"), "DNSFailure <- ConntrackDropping <- ConntrackNearLimit")
	h.line()
	h.say("flush")
}

func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	return string(raw)
}

// TestIncidentForwardingOff: a node stops to forward, and names cannot be looked up.
func TestIncidentForwardingOff(t *testing.T) {
	h, root := startNetworkedAt(t)
	w := newWard(t, "/var/log", root, "")
	h.say("sysctl ipv4/ip_forward 1")
	w.dnsFails()
	mustTell(t, w.once(h, "-n -m -p", "--root", root), "DNSFailure")
	h.say("sysctl ipv4/ip_forward 0")
	mustTell(t, w.once(h, "-n -m -p", "--root", root), "DNSFailure <- IPForwardingOff IPv4")
}

// TestIncidentHungMount: a FUSE server is silent, a task waits for it, and the kernel
// says that this task hangs; of another task it is not the reason.
func TestIncidentHungMount(t *testing.T) {
	c := newCell(t, 1)
	w := newWard(t, t.TempDir(), "", "")
	const comm = "stuck-in-cell"
	user := c.start("fuse-user", fuseDir+"="+c.mount(0), fuseComm+"="+comm)
	w.write("kern", fmt.Sprintf("[ 1234.567890] INFO: task %s:%d blocked for more than 120 seconds.", comm, user.cmd.Process.Pid))
	look := func() problem.Snapshot {
		s, _ := once(t, c.command(w.bin, "--once", "-o", "json", "--config", w.config))
		return s
	}
	mustTell(t, look(), "TaskHung")
	c.say("hang")
	user.say("ask")
	c.say("held 1")
	at := c.mount(0)
	mustTell(t, look(), "TaskHung <- TasksStuckOnMount "+at+" <- MountNotAnswering "+at+" <- FUSEServerNotAnswering "+at)
	c.say("answer")
	user.line()
}
