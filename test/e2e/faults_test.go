package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: what is really broken on node-a, and what is expected to be told of it,
// by node-a only.

// fault is something that is wrong with node-a.
type fault struct {
	condition string
	kind      problem.Kind
	says      string       // part of what kubectl describe node says
	effect    problem.Kind // if not empty, what the kind brings about: its alert is inhibited
	make      func(*world) (mend func())
}

// sickNode: several things are wrong with node-a at once. The agent tells of each, its
// pod lives on, can be deleted, and the next one tells the same; and all is well again
// when they are mended.
func sickNode(w *world) {
	faults := []fault{
		{condition: "PIDExhaustion", kind: problem.CgroupPIDsNearLimit, says: "of 20 threads", effect: problem.ForkRefused, make: serviceOutOfTasks},
		{
			condition: "MountHung", kind: problem.FUSEServerNotAnswering, says: "/mnt/silent", effect: problem.TasksStuckOnMount,
			make: hungMount,
		},
		{condition: "DiskExhaustion", kind: problem.FilesystemSpaceLow, says: "/var/lib/etcd", effect: problem.NoSpaceLeft, make: fullFileSystem},
		{
			condition: "ConntrackExhaustion", kind: problem.ConntrackNearLimit, says: "100 %", effect: problem.ConntrackDropping,
			make: func(w *world) func() { return w.do("node-a", "flood") },
		},
	}
	var mend []func()
	for _, f := range faults {
		mend = append(mend, f.make(w))
	}
	for _, f := range faults {
		w.sick(f)
	}
	w.replaceAgent()
	w.say("the next agent is ready")
	for _, f := range faults {
		w.must(w.has("node-a", f.condition, "True"))
	}
	for _, f := range mend {
		f()
	}
	w.say("all is mended")
	w.well()
	w.say("all conditions are False again")
	for _, f := range faults {
		w.await("no metric of "+string(f.kind), func() error { return w.none("nodevitals_problem{kind=%q}", f.kind) })
	}
}

// replaceAgent deletes node-a's agent, whatever its node is like.
func (w *world) replaceAgent() {
	w.t.Helper()
	pod := strings.TrimSpace(w.kubectl("get", "pods", "-n=kube-system", "-l=app.kubernetes.io/name=nodevitals", "--field-selector=spec.nodeName=node-a", "-o=name"))
	if restarts := w.kubectl("get", "-n=kube-system", pod, "-o=jsonpath={.status.containerStatuses[0].restartCount}"); restarts != "0" {
		w.t.Errorf("it was restarted %s times", restarts)
	}
	began := time.Now()
	w.kubectl("delete", "-n=kube-system", pod, "--wait", "--timeout=60s")
	w.say(fmt.Sprintf("the agent's pod was deleted in %.1f s", time.Since(began).Seconds()))
	w.kubectl("rollout", "status", "-n=kube-system", "daemonset/nodevitals", "--timeout=60s")
}

// hungMount: its server takes requests and answers none. In the end it dies, and the mount goes.
func hungMount(w *world) func() {
	const dir = "/mnt/silent"
	kill := w.do("node-a", "hang "+dir)
	return func() {
		kill()
		_, err := w.in("node-a", "umount", dir)
		w.must(err)
	}
}

// serviceOutOfTasks: a program of the node's own starts processes until its cgroup's
// limit says no. (kubelet would soon set a limit of its cgroups right again.)
func serviceOutOfTasks(w *world) func() {
	const cgroup = "cd /sys/fs/cgroup/pids 2>/dev/null || cd /sys/fs/cgroup; mkdir -p service; cd service; "
	w.run(w.enter(w.t.Context(), "node-a", "sh", "-c", cgroup+"echo 20 > pids.max; echo $$ > cgroup.procs; exec "+os.Getenv(insideEnv)+"/pod fork"))
	return func() {
		// What has ended is not listed any more and holds the cgroup for a moment yet.
		_, err := w.in("node-a", "sh", "-c", cgroup+"kill -9 $(cat cgroup.procs); cd ..; until rmdir service 2>/dev/null; do sleep 0.1; done")
		w.must(err)
	}
}

// fullFileSystem: that of etcd has not a byte left. It comes when the agent is there already.
func fullFileSystem(w *world) func() {
	const dir = "/var/lib/etcd"
	_, err := w.in("node-a", "sh", "-c", "mkdir -p "+dir+"; mount -t tmpfs -o size=16m etcd "+dir+"; cat /dev/zero > "+dir+"/big || true")
	w.must(err)
	return func() {
		_, err := w.in("node-a", "rm", dir+"/big")
		w.must(err)
	}
}

// volume is a PersistentVolume on a disk of node-a, its claim, and a pod that fills it.
const volume = `{"apiVersion":"v1","kind":"List","items":[
{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"pv-small"},"spec":{"capacity":{"storage":"16Mi"},"accessModes":["ReadWriteOnce"],"storageClassName":"",
 "local":{"path":"/mnt/disk"},"nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":["node-a"]}]}]}}}},
{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"small","namespace":"default"},"spec":{"accessModes":["ReadWriteOnce"],"storageClassName":"","volumeName":"pv-small",
 "resources":{"requests":{"storage":"16Mi"}}}},
{"apiVersion":"v1","kind":"Pod","metadata":{"name":"writer","namespace":"default"},"spec":{"nodeName":"node-a","terminationGracePeriodSeconds":2,
 "containers":[{"name":"it","image":"` + image + `:pod","args":["fill","/data/big"],"volumeMounts":[{"name":"data","mountPath":"/data"}]}],
 "volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"small"}}]}}]}`

// sickPods: a pod starts processes until its limit says no, and another writes until its
// volume is full. That is told of the pods, and is no condition of the node.
func sickPods(w *world) {
	w.await("the service account", func() error { return w.Get("/api/v1/namespaces/default/serviceaccounts/default", &struct{}{}) })
	w.pod("greedy", "fork")
	_, err := w.in("node-a", "sh", "-c", "truncate -s 16M /mnt/disk.img && mkfs.ext4 -q /mnt/disk.img && mkdir /mnt/disk && mount -o loop /mnt/disk.img /mnt/disk")
	w.must(err)
	_, err = w.Kubectl(volume, "create", "-f", "-")
	w.must(err)
	told := []struct {
		pod, says    string
		kind, effect problem.Kind
	}{
		{"greedy", "of 100 threads", problem.CgroupPIDsNearLimit, problem.ForkRefused},
		{"writer", "volume pv-small", problem.VolumeSpaceLow, ""},
	}
	for _, told := range told {
		w.await("kubectl describe pod "+told.pod, func() error {
			out, err := w.Kubectl("", "describe", "pod", told.pod)
			if err == nil && (!strings.Contains(out, string(told.kind)) || !strings.Contains(out, told.says)) {
				err = errors.New(out)
			}
			return err
		})
		w.alerted(told.kind, false)
		if told.effect != "" {
			w.alerted(told.effect, true)
		}
	}
	for _, n := range nodes() {
		w.must(w.fine(n))
	}
	w.kubectl("delete", "pod", "greedy", "writer", "--wait", "--timeout=60s")
	w.kubectl("delete", "pvc/small", "pv/pv-small", "--wait", "--timeout=60s")
	_, err = w.in("node-a", "umount", "/mnt/disk")
	w.must(err)
	for _, told := range told {
		w.await("no metric of "+string(told.kind), func() error { return w.none("nodevitals_problem{kind=%q}", told.kind) })
	}
}

// restartedAPIServer: each kubelet misses it and says so in many lines. That no node is told
// to be ill by them is looked at later, in quietLogs.
func restartedAPIServer(w *world) {
	claims := func() (n float64) {
		w.t.Helper()
		_, value, err := w.query(`min(sum by (instance) (nodevitals_log_claims_total{kind=%q}) or 0 * sum by (instance) (up{job="nodevitals"}))`, problem.APIServerUnreachable)
		w.must(err)
		n, err = strconv.ParseFloat(value, 64)
		w.must(err)
		return n
	}
	before := claims()
	w.API.Kill()
	away := time.Now()
	w.await("the lines of both kubelets", func() error {
		if n := claims(); n-before < 5 {
			return fmt.Errorf("%v, were %v", n, before)
		}
		return nil
	})
	w.must(w.API.Start())
	w.must(w.Ready(time.Minute))
	w.say(fmt.Sprintf("the API server was away for %.0f s; each kubelet wrote %v lines or more", time.Since(away).Seconds(), claims()-before))
	w.well()
}

// burst is how many lines come at once.
const burst = 20_000

// linesInTheLogs: kubelet says again and again that it cannot list the containers, in its
// log; and in the journal one line of twenty thousand matters. Each is read, once.
func linesInTheLogs(w *world) {
	const records = `nodevitals_log_records_total{instance="node-a",source="journal"}`
	_, before, err := w.query(records)
	w.must(err)
	stamp := "E" + time.Now().UTC().Format("0102 15:04:05.000000") + "      11 "
	_, err = w.in("node-a", "sh", "-c", `for i in 1 2 3 4 5; do printf '%s\n' "$0" >> `+kubeletLog+`; done`,
		stamp+`kubelet.go:2347] "Skipping pod synchronization" err="PLEG is not healthy: pleg was last seen active 3m12s ago; threshold is 3m0s"`)
	w.must(err)
	journal, err := net.Dial("unixgram", fmt.Sprintf("/proc/%d/root/run/systemd/journal/socket", w.inits["node-a"].Process.Pid))
	w.must(err)
	defer func() { _ = journal.Close() }()
	for i := range burst {
		line := fmt.Sprintf(`kubelet.go:2434] "SyncLoop (PLEG): event for pod" pod="default/web-%d"`, i)
		if i == burst/2 {
			line = `kubelet.go:1441] "Failed to start ContainerManager" err="failed to initialize top level QOS containers: root container [kubepods] doesn't exist"`
		}
		_, err := fmt.Fprintf(journal, "SYSLOG_IDENTIFIER=kubelet\nMESSAGE=%s%s\n", stamp, line)
		w.must(err)
	}
	w.sick(fault{condition: "KubeletUnhealthy", kind: problem.PLEGUnhealthy, says: "3m12s"})
	w.sick(fault{condition: "KubeletUnhealthy", kind: problem.QOSCgroupFailure, says: "QOS"})
	w.await("all lines are read", func() error { return w.some(`%s - %s >= %d`, records, before, burst) })
	w.must(w.some(`%s - %s < %d`, records, before, burst+100)) // journald has a few of its own
}

// stoppedContainerd: it is there, and says nothing. When it goes on, the agent's pod can be
// deleted, though a mount hangs, too.
func stoppedContainerd(w *world) {
	mend := hungMount(w)
	pid := w.child("node-a", "containerd")
	w.must(syscall.Kill(pid, syscall.SIGSTOP))
	w.t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	w.sick(fault{condition: "ContainerRuntimeUnhealthy", kind: problem.RuntimeNotAnswering, says: "containerd", effect: problem.RuntimeDeadlineExceeded})
	w.must(syscall.Kill(pid, syscall.SIGCONT))
	w.await("containerd answers", func() error { return w.none("nodevitals_problem{kind=%q}", problem.RuntimeNotAnswering) })
	w.await("node-a is Ready", func() error { return w.has("node-a", "Ready", "True") })
	w.await("node-a's hung mount", func() error { return w.has("node-a", "MountHung", "True") })
	w.replaceAgent()
	mend()
}

// quietLogs: what kubelet's log and the journal have told of is over when no line has come
// for some time, though no probe can see it go; and a restart of the API server was told of
// at no time.
func quietLogs(w *world) {
	w.well()
	for _, kind := range []problem.Kind{problem.PLEGUnhealthy, problem.QOSCgroupFailure, problem.RuntimeDeadlineExceeded} {
		w.await("no metric of "+string(kind), func() error { return w.none("nodevitals_problem{kind=%q}", kind) })
	}
	w.must(w.none("count_over_time(nodevitals_problem{kind=%q}[1h])", problem.APIServerUnreachable))
}

// child is the process of a name that a node's first process has started.
func (w *world) child(node, name string) int {
	w.t.Helper()
	init := w.inits[node].Process.Pid
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", init))
	w.must(err)
	for _, task := range tasks {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", init, task.Name()))
		w.must(err)
		for _, pid := range strings.Fields(string(raw)) {
			comm, _ := os.ReadFile("/proc/" + pid + "/comm")
			if strings.TrimSpace(string(comm)) == name {
				var n int
				_, err := fmt.Sscan(pid, &n)
				w.must(err)
				return n
			}
		}
	}
	w.must(errors.New(node + " has no process " + name))
	return 0
}
