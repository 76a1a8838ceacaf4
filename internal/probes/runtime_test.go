package probes

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/cni"
	"github.com/nodevitals/nodevitals/internal/host/cri"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestJudgeAnswer(t *testing.T) {
	const containerd = "/run/containerd/containerd.sock"
	failed := func(f cri.Failure, call string) error {
		return &cri.Error{Failure: f, Call: call, Err: errors.New("why")}
	}
	for _, tc := range []struct {
		name string
		look runtimeLook
		want problem.Kind
		says string
	}{
		{name: "well", look: runtimeLook{status: cri.Status{Runtime: cri.Condition{Known: true, True: true}}}},
		{name: "says nothing of itself", look: runtimeLook{}},
		{"no socket", runtimeLook{err: failed(cri.Absent, "")}, problem.RuntimeDown, "no socket"},
		{"refused", runtimeLook{err: failed(cri.Refused, "")}, problem.RuntimeDown, "nobody listens"},
		{"silent", runtimeLook{err: failed(cri.Silent, "Version"), waited: 10 * time.Second}, problem.RuntimeNotAnswering, "containerd did not answer within 10s: the call Version"},
		{"queue full", runtimeLook{err: failed(cri.Silent, ""), waited: 10 * time.Second}, problem.RuntimeNotAnswering, "queue"},
		{
			"slow lists",
			runtimeLook{version: cri.Version{Runtime: "cri-o"}, err: failed(cri.Silent, "ListContainers"), waited: 4500 * time.Millisecond},
			problem.RuntimeNotAnswering, "cri-o did not answer within 4.5s: the call ListContainers",
		},
		{"foreign", runtimeLook{err: failed(cri.Foreign, "Version")}, problem.RuntimeNotAnswering, "does not speak"},
		{"no service", runtimeLook{err: failed(cri.Unsupported, "Version")}, problem.RuntimeNotAnswering, "disabled_plugins"},
		{"errors", runtimeLook{err: failed(cri.Broken, "Status")}, problem.RuntimeNotAnswering, "fails to answer"},
		{
			"not ready",
			runtimeLook{status: cri.Status{Runtime: cri.Condition{Known: true, Reason: "R", Message: "shim is gone"}}},
			problem.RuntimeNotAnswering, "shim is gone",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.look.endpoint = cri.Endpoint{Socket: containerd}
			kind, message := judgeAnswer(tc.look)
			if kind != tc.want || !strings.Contains(message, tc.says) {
				t.Errorf("%s: %q, want %s that says %q", kind, message, tc.want, tc.says)
			}
			gathered := false
			r := evaluateAnswer(tc.look, NewRuntime().Thresholds, func() runtimeFacts {
				gathered = true
				return runtimeFacts{daemons: []process.Process{{PID: 7, Comm: "containerd", State: 'T'}}, touches: []problem.Ref{problem.RefNode}}
			})
			if gathered != (tc.want != "") {
				t.Errorf("facts gathered: %t", gathered)
			}
			if tc.want == "" {
				if len(r.Verdicts) != 0 || len(r.Measurements) != 1 {
					t.Errorf("%+v", r)
				}
				return
			}
			v := checkSeverity(t, r, tc.want, "", problem.Critical)
			if !strings.Contains(v.Message, "process 7 is stopped (state T)") {
				t.Errorf("the stopped process is not named: %s", v.Message)
			}
		})
	}
}

// sandbox and container make entries of a runtime's lists.
func sandbox(uid string, ready bool, age time.Duration) cri.Sandbox {
	return cri.Sandbox{ID: "s-" + uid, Namespace: "kube-system", Name: "pod-" + uid, UID: uid, Ready: ready, Created: agentsNow.Add(-age)}
}

func containerOf(uid, name string, attempt uint32, running bool, age time.Duration) cri.Container {
	return cri.Container{ID: "c", Sandbox: "s-" + uid, Name: name, Attempt: attempt, Running: running, Created: agentsNow.Add(-age)}
}

var agentsNow = time.Unix(1e9, 0)

func TestAgents(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name       string
		sandboxes  []cri.Sandbox
		containers []cri.Container
		wanted     string // uid of pods that kubelet keeps
		want       problem.Severity
		says       string
		none       bool // no agent is here
	}{
		{name: "nothing", none: true},
		{name: "others", sandboxes: []cri.Sandbox{sandbox("a", true, day)}, containers: []cri.Container{containerOf("a", "web", 0, false, day)}, none: true},
		{name: "runs", sandboxes: []cri.Sandbox{sandbox("a", true, day)}, containers: []cri.Container{containerOf("a", "calico-node", 0, true, day)}},
		{
			name: "ended", sandboxes: []cri.Sandbox{sandbox("a", true, day)}, containers: []cri.Container{containerOf("a", "calico-node", 4, false, day)},
			want: problem.Critical, says: "calico-node does not run (pod kube-system/pod-a)",
		},
		{
			name: "its last attempt runs", sandboxes: []cri.Sandbox{sandbox("a", true, day)},
			containers: []cri.Container{containerOf("a", "calico-node", 1, true, time.Hour), containerOf("a", "calico-node", 0, false, day)},
		},
		{
			name: "an old pod beside the new one", sandboxes: []cri.Sandbox{sandbox("a", false, day), sandbox("b", true, time.Minute)},
			containers: []cri.Container{containerOf("a", "calico-node", 0, false, day), containerOf("b", "calico-node", 0, true, time.Minute)},
		},
		{
			name: "a pod that was removed", sandboxes: []cri.Sandbox{sandbox("a", false, day)},
			containers: []cri.Container{containerOf("a", "calico-node", 0, false, day)},
		},
		{
			name: "a pod whose sandbox was lost", sandboxes: []cri.Sandbox{sandbox("a", false, day)},
			containers: []cri.Container{containerOf("a", "calico-node", 0, false, day)}, wanted: "a",
			want: problem.Critical, says: "does not run",
		},
		{
			name: "a young pod that does not stay", sandboxes: []cri.Sandbox{sandbox("a", true, 5*time.Minute)},
			containers: []cri.Container{containerOf("a", "calico-node", 3, true, time.Second)},
			want:       problem.Critical, says: "3 new attempts within 10m0s",
		},
		{
			name: "restarts of long ago", sandboxes: []cri.Sandbox{sandbox("a", true, day)},
			containers: []cri.Container{containerOf("a", "calico-node", 40, true, time.Hour)},
		},
		{name: "a container without a sandbox", containers: []cri.Container{containerOf("x", "calico-node", 0, false, day)}, none: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s starts
			th := NewRuntime().Thresholds
			l := runtimeLook{sandboxes: tc.sandboxes, containers: tc.containers}
			found := s.findAgents(l, networkAgents(), day, th.RestartsWithin, agentsNow,
				func(p cri.Sandbox) bool { return p.Ready || p.UID == tc.wanted })
			r := problem.Result{Verdicts: evaluateAgents(found, th)}
			if tc.none {
				checkState(t, r, problem.CNIAgentDown, "", problem.NotApplicable)
				return
			}
			if v := checkSeverity(t, r, problem.CNIAgentDown, "calico-node", tc.want); !strings.Contains(v.Message, tc.says) {
				t.Errorf("%q does not say %q", v.Message, tc.says)
			}
		})
	}
}

// An agent of an old pod that begins to crash is seen by how its attempts rise, and
// is forgotten once it stays.
func TestAgentRestarts(t *testing.T) {
	var s starts
	th := NewRuntime().Thresholds
	pods := []cri.Sandbox{sandbox("a", true, 48*time.Hour)}
	for _, step := range []struct {
		at      time.Duration
		attempt uint32
		want    problem.Severity
	}{
		{0, 40, 0},
		{time.Minute, 41, 0},
		{2 * time.Minute, 42, 0},
		{4 * time.Minute, 43, problem.Critical},
		{10 * time.Minute, 43, problem.Critical},
		{12 * time.Minute, 43, 0}, // the first of the three is over ten minutes ago
		{time.Hour, 44, 0},
	} {
		l := runtimeLook{sandboxes: pods, containers: []cri.Container{containerOf("a", "aws-node", step.attempt, true, 0)}}
		found := s.findAgents(l, networkAgents(), step.at, th.RestartsWithin, agentsNow, func(cri.Sandbox) bool { return true })
		r := problem.Result{Verdicts: evaluateAgents(found, th)}
		t.Log(step.at)
		checkSeverity(t, r, problem.CNIAgentDown, "aws-node", step.want)
	}
	s.findAgents(runtimeLook{}, networkAgents(), 2*time.Hour, th.RestartsWithin, agentsNow, nil)
	if len(s.seen) != 0 {
		t.Errorf("%d pods that are gone are remembered", len(s.seen))
	}
}

func TestProxyHealth(t *testing.T) {
	status := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, ok := status[r.URL.Path]
		if !ok {
			code = http.StatusNotFound
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	_ = l.Close()
	runs := []agent{{newest: cri.Container{Running: true}}}
	n := tree(t, nil)
	for _, tc := range []struct {
		name     string
		address  string
		status   map[string]int
		answered bool
		kubelet  bool
		runs     []agent
		want     problem.State // 0: silence
	}{
		{name: "no kubelet, no container", address: free, want: problem.NotApplicable},
		{name: "none", address: free, kubelet: true, want: problem.NotApplicable},
		{name: "well", address: address, status: map[string]int{"/livez": 200}, kubelet: true, runs: runs},
		{name: "before 1.28", address: address, status: map[string]int{"/healthz": 200}, kubelet: true, runs: runs},
		{name: "node taken out of service", address: address, status: map[string]int{"/livez": 200, "/healthz": 503}, kubelet: true, runs: runs},
		{name: "rules are old", address: address, status: map[string]int{"/livez": 503}, kubelet: true, runs: runs, want: problem.Wrong},
		{name: "rules are old, before 1.28", address: address, status: map[string]int{"/healthz": 503}, kubelet: true, want: problem.Wrong},
		{name: "another port", address: free, kubelet: true, runs: runs},
		{name: "answered before", address: free, answered: true, kubelet: true, runs: runs, want: problem.Wrong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status = tc.status
			p := proxyHealth{address: tc.address, answered: tc.answered}
			vs := p.check(t.Context(), n, kubelet.Settings{Found: tc.kubelet}, tc.runs)
			switch {
			case tc.want == 0 && len(vs) != 0:
				t.Errorf("%+v, want silence", vs)
			case tc.want != 0:
				checkState(t, problem.Result{Verdicts: vs}, problem.KubeProxyDown, "", tc.want)
			}
		})
	}
}

func TestNetworkVerdicts(t *testing.T) {
	ready, not := cri.Condition{Known: true, True: true}, cri.Condition{Known: true, Reason: "NetworkPluginNotReady", Message: "cni plugin not initialized"}
	good := cni.Config{File: "/etc/cni/net.d/10-x.conflist", Present: []string{"bridge"}}
	lacks := cni.Config{File: "/etc/cni/net.d/10-x.conflist", Present: []string{"portmap"}, Missing: []string{"bridge"}}
	elsewhere := cni.Config{File: "/etc/cni/net.d/10-x.conflist", Missing: []string{"bridge", "portmap"}}
	broken := errors.New("/etc/cni/net.d/10-x.conflist: it is no JSON")
	for _, tc := range []struct {
		name  string
		sight networkSight
		want  problem.State
		says  string
	}{
		{"well", networkSight{says: ready, config: good, up: time.Hour}, 0, ""},
		{"not ready", networkSight{says: not, config: good, up: time.Hour}, problem.Wrong, "cni plugin not initialized"},
		{"not ready, by the file", networkSight{says: not, err: broken, up: time.Hour}, problem.Wrong, "no JSON"},
		{"just started", networkSight{says: not, err: broken, up: 30 * time.Second}, problem.Unknown, "less than a minute"},
		{"a plugin is gone", networkSight{says: ready, config: lacks, up: time.Hour}, problem.Wrong, "the plugin bridge"},
		{"plugins elsewhere", networkSight{says: ready, config: elsewhere, up: time.Hour}, 0, ""},
		{"plugins gone, as the runtime has them", networkSight{says: ready, config: elsewhere, sure: true, up: time.Hour}, problem.Wrong, "bridge, portmap"},
		// CRI-O passes over a file that it cannot read.
		{"a bad file that does not matter", networkSight{says: ready, err: broken, up: time.Hour}, 0, ""},
		{"docker without CNI", networkSight{err: fmt.Errorf("%w in x", cni.ErrNoConfig), up: time.Hour}, problem.NotApplicable, "Docker"},
		{"docker with a bad file", networkSight{err: broken, up: time.Hour}, problem.Wrong, "no JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := problem.Result{Verdicts: evaluateNetwork(tc.sight)}
			if tc.want == 0 {
				if len(r.Verdicts) != 0 {
					t.Errorf("%+v, want silence", r.Verdicts)
				}
				return
			}
			if v := checkState(t, r, problem.CNINotReady, "", tc.want); !strings.Contains(v.Message, tc.says) {
				t.Errorf("%q does not say %q", v.Message, tc.says)
			}
		})
	}
}

func TestPodIPs(t *testing.T) {
	network, err := cni.Parse([]byte(`{"name":"n","plugins":[{"type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"10.0.0.0/24"}],[{"subnet":"fd00::/64"}]]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := cni.PoolOf(tree(t, nil).Host, network)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	reserve := func(n, leaked int, age time.Duration) (rs []cni.Reservation, live []cri.Sandbox) {
		addr := netip.MustParseAddr("10.0.0.1")
		live = []cri.Sandbox{}
		for i := range n {
			addr = addr.Next()
			id := fmt.Sprintf("%064x", i)
			rs = append(rs, cni.Reservation{Address: addr, Sandbox: id, Since: now.Add(-age)})
			if i >= leaked {
				live = append(live, cri.Sandbox{ID: id})
			}
		}
		return rs, live
	}
	for _, tc := range []struct {
		name      string
		n, leaked int
		age       time.Duration
		blind     bool // the runtime did not tell its sandboxes
		want      problem.Severity
		says      string
		refused   bool
	}{
		{name: "none"},
		{name: "some", n: 100, age: time.Hour},
		{name: "79 %", n: 202, age: time.Hour},
		{name: "80 %", n: 203, age: time.Hour, want: problem.Warning, says: "80 % (203 of 253 addresses)"},
		{name: "95 %", n: 241, age: time.Hour, want: problem.Critical, says: "241 of 253"},
		{name: "full", n: 253, age: time.Hour, want: problem.Critical, says: "100 %", refused: true},
		{name: "ten leaked", n: 30, leaked: 10, age: time.Hour},
		{name: "eleven leaked", n: 30, leaked: 11, age: time.Hour, want: problem.Warning, says: "11 of the 30 pod addresses"},
		{name: "eleven being made", n: 30, leaked: 11, age: time.Minute},
		{name: "not known to leak", n: 30, leaked: 30, age: time.Hour, blind: true},
		{name: "full of leaks", n: 253, leaked: 200, age: time.Hour, want: problem.Critical, says: "200 of the 253", refused: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reserved, live := reserve(tc.n, tc.leaked, tc.age)
			if tc.blind {
				live = nil
			}
			r := evaluatePodIPs(pool, reserved, live, now, NewRuntime().Thresholds)
			v := checkSeverity(t, r, problem.PodIPsNearLimit, "10.0.0.0/24", tc.want)
			if !strings.Contains(v.Message, tc.says) || v.Refused != tc.refused {
				t.Errorf("%q, refused %t; want %q, %t", v.Message, v.Refused, tc.says, tc.refused)
			}
			if len(r.Measurements) != 2 || r.Measurements[0].Used != float64(tc.n) || r.Measurements[0].Max != 253 {
				t.Errorf("measured %+v", r.Measurements)
			}
		})
	}
}

func TestDrivers(t *testing.T) {
	for _, tc := range []struct {
		drivers
		want bool
	}{
		{drivers{kubelet: "systemd", runtime: "systemd"}, false},
		{drivers{kubelet: "systemd", runtime: "cgroupfs"}, true},
		{drivers{kubelet: "", runtime: "systemd", follows: true}, false},
	} {
		if got := evaluateDrivers(tc.drivers); (len(got) != 0) != tc.want {
			t.Errorf("%+v: %+v", tc.drivers, got)
		}
	}
}

func TestShapeOfKubepods(t *testing.T) {
	for folder, want := range map[string]string{
		"/custom.slice/custom-kubepods.slice": driverSystemd, "/custom/kubepods": driverCgroupfs, "/kubepods.slice": "", "/custom/kubepods.slice": "",
	} {
		n := tree(t, map[string]string{
			"/sys/fs/cgroup/cgroup.controllers": "pids\n", "/sys/fs/cgroup/cgroup.procs": "1\n",
			"/sys/fs/cgroup" + folder + "/cgroup.events": "populated 1\n",
		})
		if got, _ := shapeOfKubepods(n.Cgroups, "/custom"); got != want {
			t.Errorf("%s: %q, want %q", folder, got, want)
		}
	}
}

func TestRuntimeDaemonVerdicts(t *testing.T) {
	daemon := func(pid int, comm, exe string, dbs ...database) runtimeDaemon {
		return runtimeDaemon{Process: process.Process{PID: pid, Comm: comm}, exe: exe, databases: dbs}
	}
	for _, tc := range []struct {
		name    string
		daemons []runtimeDaemon
		subject string
		says    string
	}{
		{"one", []runtimeDaemon{daemon(1, "containerd", "/usr/bin/containerd")}, "", ""},
		{"replaced", []runtimeDaemon{daemon(1, "containerd", "/usr/bin/containerd (deleted)")}, "containerd", "not restarted"},
		{"docker's beside kubernetes'", []runtimeDaemon{daemon(1, "containerd", "/a", database{"/r1/meta.db", inode{1, 12}}), daemon(2, "containerd", "/b", database{"/r2/meta.db", inode{1, 13}})}, "", ""},
		{"two nodes in containers", []runtimeDaemon{daemon(1, "containerd", "/a", database{"/r/meta.db", inode{57, 12}}), daemon(2, "containerd", "/a", database{"/r/meta.db", inode{76, 12}})}, "", ""},
		{"one folder", []runtimeDaemon{daemon(1, "dockerd", "/a", database{"/r/meta.db", inode{1, 12}}), daemon(2, "dockerd", "/a", database{"/x.db", inode{1, 13}}, database{"/r/meta.db", inode{1, 12}})}, "dockerd", "processes 1 and 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := problem.Result{Verdicts: evaluateRuntimeDaemons(tc.daemons)}
			if tc.subject == "" {
				if len(r.Verdicts) != 0 {
					t.Errorf("%+v, want silence", r.Verdicts)
				}
				return
			}
			if v := checkSeverity(t, r, problem.RuntimeBinaryMismatch, tc.subject, problem.Info); !strings.Contains(v.Message, tc.says) {
				t.Errorf("%q does not say %q", v.Message, tc.says)
			}
		})
	}
	r := problem.Result{Verdicts: evaluateRuntimeDaemons([]runtimeDaemon{{Process: process.Process{Comm: "crio"}, err: errors.New("permission denied")}})}
	checkState(t, r, problem.RuntimeBinaryMismatch, "crio", problem.Unknown)
}
