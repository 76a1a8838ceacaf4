package probes

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

const (
	testKubepods  = "/kubepods.slice"
	testQoS       = "/kubepods.slice/kubepods-burstable.slice"
	testPodA      = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod11111111_1111_1111_1111_111111111111.slice"
	testPodB      = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod22222222_2222_2222_2222_222222222222.slice"
	testSystem    = "/system.slice"
	testService   = "/system.slice/kubelet.service"
	testContainer = testPodA + "/cri-containerd-" + containerID + ".scope"
)

func TestOOMCountV2(t *testing.T) {
	type groups = map[string]oomGroup
	local := func(n uint64) oomGroup { return oomGroup{local: n, hasLocal: true} }
	before := groups{testKubepods: local(0), testQoS: local(0), testPodA: {}, testPodB: {oom: 7, kills: 9}, testSystem: {oom: 2, kills: 2}, testService: {}}
	for _, tc := range []struct {
		name    string
		kills   uint64
		after   groups // what differs
		without []string
		limits  map[string]uint64
		node    uint64
		victim  string
		unclear bool
	}{
		{name: "healthy"},
		{
			name: "a pod's limit, its container killed as a group: two kills for one", kills: 2,
			after:  groups{testKubepods: {oom: 1, kills: 2, hasLocal: true}, testQoS: {oom: 1, kills: 2, hasLocal: true}, testPodA: {oom: 1, kills: 2}},
			limits: map[string]uint64{testPodA: 1},
		},
		{
			name: "a pod's limit again", kills: 1,
			after:  groups{testKubepods: {oom: 1, kills: 1, hasLocal: true}, testQoS: {oom: 1, kills: 1, hasLocal: true}, testPodB: {oom: 8, kills: 10}},
			limits: map[string]uint64{testPodB: 1},
		},
		{
			name: "a pod that is new", kills: 1,
			after: groups{
				testKubepods: {oom: 1, kills: 1, hasLocal: true}, testQoS: {oom: 1, kills: 1, hasLocal: true},
				strings.ReplaceAll(testPodA, "1", "3"): {oom: 1, kills: 1},
			},
			limits: map[string]uint64{strings.ReplaceAll(testPodA, "1", "3"): 1},
		},
		{
			name: "a pod that is gone: its parents remember that it was no fault of the node", kills: 1, without: []string{testPodA},
			after: groups{testKubepods: {oom: 1, kills: 1, hasLocal: true}, testQoS: {oom: 1, kills: 1, hasLocal: true}},
		},
		{
			name: "the limit of all pods, one of them killed", kills: 1,
			after:  groups{testKubepods: {oom: 1, kills: 1, local: 1, hasLocal: true}, testQoS: {kills: 1, hasLocal: true}, testPodA: {kills: 1}},
			limits: map[string]uint64{testKubepods: 1},
		},
		{
			name: "the limit of a QoS class", kills: 1,
			after:  groups{testKubepods: {oom: 1, kills: 1, hasLocal: true}, testQoS: {oom: 1, local: 1, kills: 1, hasLocal: true}, testPodA: {kills: 1}},
			limits: map[string]uint64{testQoS: 1},
		},
		{
			name: "the limit of all pods, on a kernel without memory.events.local", kills: 1,
			after:  groups{testKubepods: {oom: 1, kills: 1}, testQoS: {kills: 1}, testPodA: {kills: 1}},
			limits: map[string]uint64{testKubepods: 1},
		},
		{
			name: "the node, a pod killed", kills: 1,
			after: groups{testKubepods: {kills: 1, hasLocal: true}, testQoS: {kills: 1, hasLocal: true}, testPodA: {kills: 1}},
			node:  1, victim: testPodA,
		},
		{
			name: "the node, kubelet killed", kills: 1,
			after: groups{testSystem: {oom: 2, kills: 3}, testService: {kills: 1}},
			node:  1, victim: testService,
		},
		{
			name: "the node and a pod's limit at once", kills: 2,
			after: groups{
				testKubepods: {oom: 1, kills: 2, hasLocal: true}, testQoS: {oom: 1, kills: 2, hasLocal: true},
				testPodA: {kills: 1}, testPodB: {oom: 8, kills: 10},
			},
			limits: map[string]uint64{testPodB: 1}, node: 1, victim: testPodA,
		},
		{
			name: "the limit of a service", kills: 1,
			after:  groups{testSystem: {oom: 3, kills: 3}, testService: {oom: 1, kills: 1}},
			limits: map[string]uint64{testService: 1},
		},
		{name: "the node, a process of the root killed", kills: 1, node: 1, victim: "/"},
		{name: "a cgroup at the top has gone", kills: 1, without: []string{testSystem, testService}, unclear: true},
		{name: "counters went back", kills: 0, after: groups{testPodB: {}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			prev := oomSample{kills: 100, v2: true, groups: before}
			cur := oomSample{kills: 100 + tc.kills, v2: true, groups: maps.Clone(before)}
			maps.Copy(cur.groups, tc.after)
			for _, at := range tc.without {
				delete(cur.groups, at)
			}
			checkRise(t, cur.since(prev, nil), tc.limits, tc.node, tc.victim, tc.unclear)
		})
	}
}

// An OOM in one sample and its kill in the next are one event, and not the node's.
func TestOOMKillFollowsLater(t *testing.T) {
	sample := func(kills, oom uint64) oomSample {
		above := oomGroup{oom: oom, kills: kills, hasLocal: true}
		return oomSample{kills: kills, v2: true, groups: map[string]oomGroup{testKubepods: above, testQoS: above, testPodA: {oom: oom, kills: kills}}}
	}
	first, second, third := sample(0, 0), sample(0, 1), sample(1, 1)
	checkRise(t, second.since(first, nil), nil, 0, "", false)
	second.awaitKills(first)
	checkRise(t, third.since(second, nil), map[string]uint64{testPodA: 1}, 0, "", false)
	third.awaitKills(second)
	checkRise(t, third.since(third, nil), nil, 0, "", false)
}

func TestOOMCountV1(t *testing.T) {
	type groups = map[string]oomGroup
	before := groups{"/": {}, testKubepods: {failed: 50}, testQoS: {}, testPodA: {failed: 5}, testContainer: {}, testPodB: {}, testSystem: {}, testService: {}}
	for _, tc := range []struct {
		name    string
		kills   uint64
		after   groups
		without []string
		limits  map[string]uint64
		node    uint64
		victim  string
		unclear bool
		reached string
	}{
		{name: "healthy"},
		{name: "reclaim at a limit, without a kill", after: groups{testPodA: {failed: 500}}},
		{name: "a container's limit", kills: 1, after: groups{testContainer: {failed: 3, kills: 1}}, limits: map[string]uint64{testPodA: 1}},
		{name: "a pod's limit", kills: 1, after: groups{testPodA: {failed: 6}, testContainer: {kills: 1}}, limits: map[string]uint64{testPodA: 1}},
		{name: "a pod's limit, the container has gone", kills: 1, after: groups{testPodA: {failed: 6}}, without: []string{testContainer}, limits: map[string]uint64{testPodA: 1}},
		{name: "the limit of all pods", kills: 1, after: groups{testKubepods: {failed: 51}, testContainer: {kills: 1}}, limits: map[string]uint64{testKubepods: 1}},
		{name: "a pod's limit, without failcnt", kills: 1, after: groups{testContainer: {kills: 1}}, reached: testPodA, limits: map[string]uint64{testPodA: 1}},
		{name: "a pod's limit, without failcnt and container", kills: 1, without: []string{testContainer}, reached: testPodA, limits: map[string]uint64{testPodA: 1}},
		{name: "the limit of all pods, without failcnt", kills: 1, after: groups{testContainer: {kills: 1}}, reached: testKubepods, limits: map[string]uint64{testKubepods: 1}},
		{name: "a limit of all pods, but nobody killed", after: groups{testPodB: {failed: 1}}, reached: testKubepods},
		{name: "the node, a container killed", kills: 1, after: groups{testContainer: {kills: 1}}, node: 1, victim: testContainer},
		{name: "the node, a process of the root killed", kills: 1, after: groups{"/": {kills: 1}}, node: 1, victim: "/"},
		{name: "a container has gone that had reached no limit", kills: 1, without: []string{testContainer}, unclear: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			prev := oomSample{kills: 100, groups: before}
			cur := oomSample{kills: 100 + tc.kills, groups: maps.Clone(before)}
			maps.Copy(cur.groups, tc.after)
			for _, at := range tc.without {
				delete(cur.groups, at)
			}
			checkRise(t, cur.since(prev, func(at string) bool { return at == tc.reached }), tc.limits, tc.node, tc.victim, tc.unclear)
		})
	}
}

func checkRise(t *testing.T, r oomRise, limits map[string]uint64, node uint64, victim string, unclear bool) {
	t.Helper()
	if !maps.Equal(r.limits, limits) {
		t.Errorf("limits %v, want %v", r.limits, limits)
	}
	if r.node != node {
		t.Errorf("%d kills for the node's sake, want %d", r.node, node)
	}
	if _, ok := r.victims[victim]; ok != (victim != "") || len(r.victims) > 1 {
		t.Errorf("victims %v, want %q", r.victims, victim)
	}
	if (r.unclear != "") != unclear {
		t.Errorf("unclear: %q", r.unclear)
	}
}

// The recorded pod was killed before it was recorded. Here the counters are set
// back first, and then brought to what was recorded.
func TestOOMOnRecordedNodes(t *testing.T) {
	for _, state := range []string{"oom-killed-k6.1", "oom-killed-k6.12"} {
		t.Run(state, func(t *testing.T) {
			n := nodeAt(t, fixtures.Node(t, state))
			clock := &testClock{boot: time.Hour}
			n.Host.Clock = clock
			pod := ""
			for at := range sampled(t, n).groups {
				if strings.Contains(at, "pod0cb7fd04") {
					pod = at
				}
			}
			recorded := map[string]string{}
			for _, file := range []string{vmstatFile, "/sys/fs/cgroup" + testKubepods + "/memory.events", "/sys/fs/cgroup" + testQoS + "/memory.events", "/sys/fs/cgroup" + pod + "/memory.events"} {
				raw, err := n.Host.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				recorded[file] = string(raw)
				writeFile(t, n.Host.Root(), file, setBack(string(raw)))
			}
			p := NewOOM()
			look := func() problem.Result {
				t.Helper()
				r, err := p.Run(t.Context(), n)
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			if r := look(); len(r.Verdicts) != 0 {
				t.Fatalf("before: %+v", r.Verdicts)
			}
			for file, content := range recorded {
				writeFile(t, n.Host.Root(), file, content)
			}
			for range 2 { // told at once, and still a while later
				r := look()
				checkUsed(t, r, "oom_kills", 2)
				v := checkSeverity(t, r, problem.ContainerOOM, n.Owners.OfCgroup(pod).String(), problem.Info)
				if len(r.Verdicts) != 1 || v.Scope != problem.PodScope || !strings.Contains(v.Message, "48.0 MiB") || !strings.Contains(v.Message, "once") {
					t.Errorf("%+v", r.Verdicts)
				}
				clock.boot += 5*time.Minute - 1
			}
			clock.boot++
			if r := look(); len(r.Verdicts) != 0 {
				t.Errorf("five minutes later: %+v", r.Verdicts)
			}
		})
	}
}

// A first look has no baseline: old counters are no problem.
func TestOOMFirstLook(t *testing.T) {
	for _, state := range fixtures.States(t) {
		if strings.HasPrefix(state, "container-view") {
			continue
		}
		n := nodeAt(t, fixtures.Node(t, state))
		p := NewOOM()
		for range 2 {
			if r, err := p.Run(t.Context(), n); err != nil || len(r.Verdicts) != 0 {
				t.Errorf("%s: %v %+v", state, err, r.Verdicts)
			}
		}
	}
}

func TestNodeOOMVerdict(t *testing.T) {
	n := nodeAt(t, fixtures.Node(t, "healthy-k6.12"))
	p := NewOOM()
	clock := &testClock{}
	n.Host.Clock = clock
	look := func() problem.Result {
		t.Helper()
		r, err := p.Run(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	set := func(kills int) {
		writeFile(t, n.Host.Root(), vmstatFile, fmt.Sprintf("oom_kill %d\n", kills))
		for _, at := range []string{testSystem, testService} {
			writeFile(t, n.Host.Root(), "/sys/fs/cgroup"+at+"/memory.events", fmt.Sprintf("low 0\nhigh 0\nmax 0\noom 0\noom_kill %d\n", kills))
		}
	}
	set(3)
	look()
	set(4)
	clock.boot = time.Minute
	v := checkSeverity(t, look(), problem.NodeOOM, "", problem.Critical)
	for _, ref := range []problem.Ref{problem.RefNode, "process:kubelet", "unit:kubelet.service"} {
		if !strings.Contains(fmt.Sprint(v.Touches), string(ref)) {
			t.Errorf("%v lacks %s", v.Touches, ref)
		}
	}
	if len(v.Holders) == 0 || !strings.Contains(fmt.Sprint(v.Evidence), "unit kubelet.service: 1") {
		t.Errorf("%+v", v)
	}
	set(6)
	clock.boot = 4 * time.Minute
	if v := checkSeverity(t, look(), problem.NodeOOM, "", problem.Critical); !strings.Contains(v.Message, "3 times") {
		t.Errorf("%s", v.Message)
	}
	clock.boot = 9 * time.Minute
	checkSeverity(t, look(), problem.NodeOOM, "", 0)
}

// Kills that nobody can be blamed for are not fine: the log must tell.
func TestOOMUnclear(t *testing.T) {
	p := NewOOM()
	key := oomKey{kind: problem.NodeOOM}
	p.hold(0, key, 1, problem.Verdict{State: problem.Unknown, Message: unclearKills})
	if v := p.told(1); len(v) != 1 || v[0].State != problem.Unknown || v[0].Kind != problem.NodeOOM || v[0].Message != unclearKills {
		t.Errorf("%+v", v)
	}
	p.hold(0, key, 1, problem.Verdict{State: problem.Wrong, Message: "x"})
	p.hold(0, key, 1, problem.Verdict{State: problem.Unknown, Message: unclearKills})
	if v := p.told(1); len(v) != 1 || v[0].State != problem.Wrong || v[0].Message != "x (once)" {
		t.Errorf("%+v", v)
	}
}

func TestOOMCannotTell(t *testing.T) {
	top := "/sys/fs/cgroup"
	files := map[string]string{
		"/proc/1/mountinfo": mountinfoV2, top + "/cgroup.procs": "1\n", top + "/cgroup.controllers": "memory\n",
		vmstatFile: "oom_kill 0\n", top + "/kubepods/memory.events": "oom 0\noom_kill 0\n",
	}
	if _, err := NewOOM().Run(t.Context(), tree(t, files)); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{top + "/kubepods/memory.events": "oom many\n", vmstatFile: "nr_free_pages 1\n"} {
		n := tree(t, files)
		writeFile(t, n.Host.Root(), file, content)
		if r, err := NewOOM().Run(t.Context(), n); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("garbled %s: %v %+v", file, err, r)
		}
	}
}

// FuzzOOMSince: no counters, however they jump, blame more kills than there were.
func FuzzOOMSince(f *testing.F) {
	f.Add(uint64(1), uint64(1), uint64(1), uint64(0), true)
	f.Add(uint64(3), uint64(0), uint64(2), uint64(1), false)
	f.Fuzz(func(t *testing.T, kills, oom, killed, failed uint64, v2 bool) {
		prev := oomSample{kills: 5, v2: v2, groups: map[string]oomGroup{testKubepods: {}, testQoS: {}, testPodA: {oom: 1}, testPodB: {}}}
		cur := oomSample{kills: kills, v2: v2, groups: map[string]oomGroup{
			testKubepods: {oom: oom, kills: killed}, testQoS: {oom: oom, kills: killed}, testPodA: {oom: oom, kills: killed, failed: failed},
		}}
		r := cur.since(prev, func(string) bool { return failed%2 == 0 })
		if r.node > max(kills, killed)*3 && killed < 1<<60 && kills < 1<<60 {
			t.Errorf("%d of %d and %d: %+v", r.node, kills, killed, r)
		}
	})
}

func sampled(t *testing.T, n *Node) oomSample {
	t.Helper()
	s, err := sampleOOM(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// setBack sets all oom counters to 0.
func setBack(content string) string {
	lines := strings.Split(content, "\n")
	for i, line := range lines {
		if key, _, ok := strings.Cut(line, " "); ok && strings.HasPrefix(key, "oom") {
			lines[i] = key + " 0"
		}
	}
	return strings.Join(lines, "\n")
}
