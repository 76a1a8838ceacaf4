package rules

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func one(t *testing.T, line string, kind problem.Kind) problem.Claim {
	t.Helper()
	for _, c := range text(builtin(t), line) {
		if c.Kind == kind {
			return c
		}
	}
	t.Fatalf("no claim of %s: %s", kind, line)
	return problem.Claim{}
}

func TestWhatAClaimSays(t *testing.T) {
	for _, tc := range []struct {
		kind    problem.Kind
		line    string
		subject string
		message string
		touches []problem.Ref
	}{
		{
			problem.ForkRefused, "cgroup: fork rejected by pids controller in /kubepods/besteffort/podabc/def",
			"", "the kernel refused a fork at a cgroup's pids limit",
			[]problem.Ref{"cgroup:/kubepods/besteffort/podabc/def"},
		},
		{
			problem.NFSServerNotResponding, "nfs: server 10.9.0.1 not responding, still trying",
			"10.9.0.1", "the NFS server 10.9.0.1 does not respond",
			[]problem.Ref{"server:10.9.0.1"},
		},
		{
			problem.TaskHung, "INFO: task my (odd) app:9:12 blocked for more than 120 seconds.",
			"", "the task my (odd) app:9 has been blocked for more than 120 s",
			[]problem.Ref{"process:my (odd) app:9", "pid:12"},
		},
		{
			problem.NodeOOM, "Out of memory: Killed process 4242 (a) b (c) total-vm:1kB, anon-rss:1kB",
			"", "the node ran out of memory and the kernel killed a) b (c",
			[]problem.Ref{"process:a) b (c", "node"},
		},
		{
			problem.BlockDeviceError, "I/O error, dev nvme0n1, sector 4096 op 0x1:(WRITE) flags 0x800",
			"nvme0n1", "requests to nvme0n1 fail: I/O error",
			[]problem.Ref{"device:nvme0n1"},
		},
		{
			problem.ContainerOOM,
			"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/kubepods.slice/kubepods-pod5382cf41_7a0b.slice/cri-containerd-9f.scope,task_memcg=/x,task=java,pid=1,uid=0",
			"", "a pod or cgroup reached its own memory limit and the kernel killed in it",
			[]problem.Ref{"cgroup:/kubepods.slice/kubepods-pod5382cf41_7a0b.slice"},
		},
		{
			problem.VolumeOperationStuck,
			`E1122 10:00:00.000000    1234 kubelet.go:1732] "Unable to attach or mount volumes for pod; skipping pod" err="timed out" pod="payments/db-0"`,
			"pod payments/db-0", "kubelet cannot attach, mount or unmount a volume of pod payments/db-0",
			[]problem.Ref{"pod:payments/db-0"},
		},
		{
			problem.OrphanedPodVolumes,
			`E1122 10:00:00.000000    1234 kubelet_volumes.go:154] Orphaned pod "5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11" found, but volume paths are still present on disk`,
			"pod uid 5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11", "the volume folders of the vanished pod 5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11 cannot be removed",
			[]problem.Ref{"pod:5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11"},
		},
		{
			problem.DaemonFilesNearLimit, "Nov 22 10:00:00 n1 dockerd[900]: accept unix /var/run/docker.sock: accept4: too many open files; retrying in 1s",
			"dockerd", "dockerd: a daemon has used up its open files",
			[]problem.Ref{"process:dockerd"},
		},
		{
			problem.LogsSuppressed, "Nov 22 10:00:00 n1 systemd-journald[300]: Suppressed 1234 messages from kubelet.service",
			"kubelet.service", "journald dropped 1234 lines of kubelet.service",
			[]problem.Ref{"unit:kubelet.service"},
		},
		{
			problem.NetdeviceStuck, "unregister_netdevice: waiting for lo to become free. Usage count = 1",
			"lo", "the kernel cannot release the network device lo",
			[]problem.Ref{"link:lo"},
		},
	} {
		c := one(t, tc.line, tc.kind)
		if c.Subject != tc.subject || c.Message != tc.message || !slices.Equal(c.Touches, tc.touches) {
			t.Errorf("%s:\n%q %q %q, want\n%q %q %q", tc.kind, c.Subject, c.Message, c.Touches, tc.subject, tc.message, tc.touches)
		}
	}
}

func TestCountsOfTheirOwn(t *testing.T) {
	for _, tc := range []struct {
		kind problem.Kind
		line string
		want problem.Count
	}{
		{problem.PageAllocationFailure, "x: page allocation failure: order:0, mode:0x1", problem.Count{N: 10, Within: 10 * time.Minute}},
		{problem.PageAllocationFailure, "x: page allocation failure: order:10, mode:0x1", problem.Count{}},
		{problem.PLEGUnhealthy, "GenericPLEG: Unable to retrieve pods: x", problem.Count{N: 3, Within: 5 * time.Minute}},
		{problem.PLEGUnhealthy, "PLEG is not healthy: pleg was last seen active 3m1s ago; threshold is 3m0s", problem.Count{}},
		{problem.APIServerUnreachable, "Waiting to retrieve agent configuration; server is not ready: x", problem.Count{N: 5, Within: 2 * time.Minute, Lasting: 3 * time.Minute}},
		{problem.DNSFailure, "lookup a.example on 10.0.0.2:53: no such host", problem.Count{N: 3, Within: 5 * time.Minute, Distinct: "name"}},
		{problem.SandboxNameConflict, `failed to reserve sandbox name "a"`, problem.Count{N: 3, Within: 5 * time.Minute}},
	} {
		if c := one(t, tc.line, tc.kind); c.Logs != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.line, c.Logs, tc.want)
		}
	}
}

func TestGoodNews(t *testing.T) {
	for line, subject := range map[string]string{"nfs: server 10.9.0.1 OK": "10.9.0.1", `"Starting kubelet main sync loop"`: ""} {
		cs := text(builtin(t), line)
		if len(cs) != 1 || !cs[0].Resolves || cs[0].Subject != subject {
			t.Errorf("%s: %+v", line, cs)
		}
	}
}

// TestWhomALineTouches: who has written it, and the pod whose output it is.
func TestWhomALineTouches(t *testing.T) {
	for _, tc := range []struct {
		record journal.Record
		want   []problem.Ref
	}{
		{journal.Record{Unit: "containerd.service", Message: []byte("runtime: failed to create new OS thread (have 5 already; errno=11)")}, []problem.Ref{"unit:containerd.service"}},
		{journal.Record{Kernel: true, Unit: "init.scope", Message: []byte("x: page allocation failure: order:10, mode:0x1")}, nil},
		{journal.Record{Pod: "kube-system/coredns-1", Container: "coredns", Message: []byte("plugin/loop: Loop (127.0.0.1:1 -> :53) detected")}, []problem.Ref{"node", "pod:kube-system/coredns-1"}},
	} {
		cs := builtin(t).Match(&tc.record)
		if len(cs) != 1 || !slices.Equal(cs[0].Touches, tc.want) {
			t.Errorf("%s: %+v, want %q", tc.record.Message, cs, tc.want)
		}
	}
}

// TestWhoWroteIt: the same words mean nothing from another mouth.
func TestWhoWroteIt(t *testing.T) {
	set := builtin(t)
	const (
		pleg = "PLEG is not healthy: pleg was last seen active 3m1s ago; threshold is 3m0s"
		hung = "INFO: task dockerd:1234 blocked for more than 120 seconds."
		dead = `level=fatal msg="no room"`
		nat  = `"Failed to execute iptables-restore" err="exit status 4"`
	)
	for _, tc := range []struct {
		name   string
		record journal.Record
		text   string
		want   bool
	}{
		{"kubelet's unit", journal.Record{Unit: "kubelet.service"}, pleg, true},
		{"k3s", journal.Record{Unit: "k3s.service", Identifier: "k3s"}, pleg, true},
		{"microk8s", journal.Record{Unit: "snap.microk8s.daemon-kubelite.service", Identifier: "microk8s.daemon-kubelite"}, pleg, true},
		{"microk8s in a file", journal.Record{Identifier: "microk8s.daemon-kubelite"}, pleg, true},
		{"a snap's kubelet in a file", journal.Record{Identifier: "kubelet.daemon"}, pleg, true},
		{"OpenShift", journal.Record{Identifier: "kubenswrapper"}, pleg, true},
		{"kubelet's tag under another unit", journal.Record{Unit: "my-kubelet.service", Identifier: "kubelet"}, pleg, true},
		{"sshd", journal.Record{Unit: "ssh.service", Identifier: "sshd"}, pleg, false},
		{"a pod", journal.Record{Pod: "default/kubelet", Container: "kubelet"}, pleg, false},
		{"docker", journal.Record{Unit: "docker.service", Identifier: "dockerd"}, dead, true},
		{"a container under docker's unit", journal.Record{Unit: "docker.service", Identifier: "9f86d081884c"}, dead, false},
		{"its whole id", journal.Record{Unit: "docker.service", Identifier: strings.Repeat("09af", 16)}, dead, false},
		{"no id, of its length", journal.Record{Unit: "docker.service", Identifier: "docker-proxy"}, dead, true},
		{"kube-proxy", journal.Record{Pod: "kube-system/kube-proxy-1", Container: "kube-proxy"}, nat, true},
		{"another kube-proxy", journal.Record{Pod: "shop/kube-proxy-1", Container: "kube-proxy"}, nat, false},
		{"a kube-proxy of no pod that is known", journal.Record{Container: "kube-proxy"}, nat, true},
		{"nobody", journal.Record{}, pleg, true},
		{"kubelet.log", journal.Record{Source: "/var/log/kubelet.log"}, pleg, true},
		{"the kernel", journal.Record{Kernel: true}, hung, true},
		{"kern.log", journal.Record{Source: "/var/log/kern.log"}, hung, true},
		{"one who calls himself kernel", journal.Record{Identifier: "kernel"}, hung, false},
		{"kubelet", journal.Record{Unit: "kubelet.service"}, hung, false},
		{"systemd about kubelet", journal.Record{Unit: "kubelet.service", Identifier: "systemd", PID: 1}, "kubelet.service: Start request repeated too quickly.", true},
		{"a user's systemd", journal.Record{Identifier: "systemd", PID: 900}, "kubelet.service: Start request repeated too quickly.", true},
		{"a panic of kubelet", journal.Record{Identifier: "kubelet"}, "panic: x", true},
		{"a panic of nobody knows who", journal.Record{}, "panic: x", false},
		{"CoreDNS", journal.Record{Pod: "kube-system/coredns-1", Container: "coredns"}, "read udp 10.0.0.1:1->10.0.0.2:53: i/o timeout", true},
	} {
		r := tc.record
		r.Message = []byte(tc.text)
		if got := len(set.Match(&r)) > 0; got != tc.want {
			t.Errorf("%s: claimed %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestUnitsOfOnesOwn(t *testing.T) {
	units := BuiltinUnits().With(Units{"acme-node": Kubelet})
	if s := units.Of(&journal.Record{Unit: "acme-node.service"}); s != Kubelet {
		t.Errorf("%v", s)
	}
	for _, n := range sourceNames() {
		if s, err := ParseSource(n.name); err != nil || s.String() != n.name {
			t.Errorf("%s: %v, %v", n.name, s, err)
		}
	}
	if _, err := ParseSource("docker-compose"); err == nil {
		t.Error("an unknown source is accepted")
	}
}

func TestLinesAreBoundedAndSafeToShow(t *testing.T) {
	long := "fork of unprivileged child failed \xff\x1b[31m" + strings.Repeat("x", 100000)
	c := one(t, long, problem.ForkRefused)
	if len(c.Line) > maxLine+len("…") || !strings.HasSuffix(c.Line, "…") || !utf8.ValidString(c.Line) || strings.ContainsRune(c.Line, 0x1b) {
		t.Errorf("%d bytes: %q", len(c.Line), c.Line)
	}
}

func TestMistakesNameTheRule(t *testing.T) {
	_, err := Compile(BuiltinUnits(), []Rule{
		{Kind: "Fine", Pattern: "a"},
		{Kind: "Mine", Pattern: "("},
		{Kind: "Mine", Pattern: "a", Exclude: "["},
		{Kind: "Mine", Pattern: "a", Message: "{b}"},
		{Kind: "Mine"},
		{Pattern: "a"},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for i, want := range []string{
		"rule 2 (Mine): pattern: error parsing", "rule 3 (Mine): exclude: error parsing",
		"rule 4 (Mine): message: {b} is no capture", "rule 5 (Mine): pattern: is missing", "rule 6 (): kind: is missing",
	} {
		if line := strings.Split(err.Error(), "\n")[i]; !strings.HasPrefix(line, want) {
			t.Errorf("%q, want %q", line, want)
		}
	}
	var re *RuleError
	if !errors.As(err, &re) || re.Index != 1 {
		t.Errorf("%+v", re)
	}
}

func TestTemplates(t *testing.T) {
	values := map[string]string{"a": "1"}
	for _, tc := range []struct {
		template, want string
		ok             bool
	}{
		{"x {a} y", "x 1 y", true},
		{"x[ {a}][ {b}] y", "x 1 y", true},
		{"x {b}", "", false},
		{"plain [brackets]", "plain [brackets]", true},
		{"", "", true},
		{"{", "{", true},
	} {
		got, ok := parseTemplate(tc.template).fill(func(n string) string { return values[n] })
		if got != tc.want || ok != tc.ok {
			t.Errorf("%q: %q %v", tc.template, got, ok)
		}
	}
}

func TestFindPod(t *testing.T) {
	const uid = "5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11"
	for _, tc := range []struct{ line, want string }{
		{`"x" pod="payments/worker-7c9" podUID="` + uid + `"`, "pod payments/worker-7c9"},
		{`err="x: pod=\"payments/worker-7c9\""`, "pod payments/worker-7c9"},
		{`RunPodSandbox for &PodSandboxMetadata{Name:worker-7c9,Uid:` + uid + `,Namespace:payments,Attempt:0,} failed`, "pod payments/worker-7c9"},
		{`The container name "/k8s_POD_worker-7c9_payments_` + uid + `_0" is`, "pod payments/worker-7c9"},
		{`failed to create pod network sandbox k8s_worker-7c9_payments_` + uid + `_0(9f86): no addresses`, "pod payments/worker-7c9"},
		{`name \"worker-7c9_payments_` + uid + `_1\" is reserved`, "pod payments/worker-7c9"},
		{`name "app_worker-7c9_payments_` + uid + `_1" is reserved`, "pod payments/worker-7c9"},
		{`Sandbox for pod "worker-7c9_payments(` + uid + `)" has changed`, "pod payments/worker-7c9"},
		{`(UniqueName: "x") pod "worker" (UID: "` + uid + `") : mount failed`, "pod uid " + uid},
		{`mounting "/var/lib/kubelet/pods/` + uid + `/volume-subpaths/x"`, "pod uid " + uid},
		{`nothing of the kind`, ""},
		{`pod="" pod=nil`, ""},
	} {
		if got := findPod([]byte(tc.line)).String(); got != tc.want {
			t.Errorf("%q, want %q: %s", got, tc.want, tc.line)
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, l := range corpus(f) {
		f.Add([]byte(l))
	}
	set := builtin(f)
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, c := range set.MatchText(&journal.Record{Source: "x", Message: line}, now, Any) {
			if c.Kind == "" || c.Message == "" || len(c.Line) > 4*maxLine {
				t.Errorf("%+v", c)
			}
		}
	})
}
