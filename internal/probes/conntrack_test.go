package probes

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

const conntrackColumns = "entries clashres found insert_failed drop early_drop"

// conntrackFiles are the files of a table; drops has a number for each of two CPUs.
func conntrackFiles(count, limit uint64, drops, early [2]uint32) map[string]string {
	return map[string]string{
		conntrackCount: fmt.Sprintln(count),
		conntrackMax:   fmt.Sprintln(limit),
		conntrackStat: netStat(conntrackColumns,
			[]uint32{uint32(count), 0, 0, early[0], drops[0], early[0]},
			[]uint32{uint32(count), 0, 0, early[1], drops[1], early[1]}),
	}
}

func TestConntrack(t *testing.T) {
	type look struct {
		count, limit uint64
		drops, early [2]uint32
	}
	for _, tc := range []struct {
		name           string
		looks          []look
		near, dropping problem.Severity
		refused        bool
	}{
		{"healthy", []look{{1000, 262144, [2]uint32{}, [2]uint32{}}}, 0, 0, false},
		{"no limit", []look{{1000, 0, [2]uint32{}, [2]uint32{}}}, 0, 0, false},
		{"warning", []look{{80000, 100000, [2]uint32{}, [2]uint32{}}}, problem.Warning, 0, false},
		{"critical", []look{{95000, 100000, [2]uint32{}, [2]uint32{}}}, problem.Critical, 0, false},
		{
			"full and dropping",
			[]look{{100000, 100000, [2]uint32{5, 5}, [2]uint32{}}, {100000, 100000, [2]uint32{6, 5}, [2]uint32{}}},
			problem.Critical, problem.Critical, true,
		},
		{
			"dropping, the counter wraps around",
			[]look{{99000, 100000, [2]uint32{0xffffffff, 5}, [2]uint32{}}, {99000, 100000, [2]uint32{1, 5}, [2]uint32{}}},
			problem.Critical, problem.Critical, true,
		},
		{"first look: it dropped before, and is full", []look{{100000, 100000, [2]uint32{9, 0}, [2]uint32{}}}, problem.Critical, problem.Critical, true},
		{"first look: it dropped before, and has room", []look{{50000, 100000, [2]uint32{9, 0}, [2]uint32{}}}, 0, 0, false},
		{
			"it dropped before, and drops no more",
			[]look{{100000, 100000, [2]uint32{9, 0}, [2]uint32{}}, {96000, 100000, [2]uint32{9, 0}, [2]uint32{}}},
			problem.Critical, 0, false,
		},
		{
			"look-alike: insertion clashes with room in the table",
			[]look{{50000, 100000, [2]uint32{1, 1}, [2]uint32{}}, {50000, 100000, [2]uint32{90, 1}, [2]uint32{}}},
			0, 0, false,
		},
		{
			"look-alike: full, but unanswered flows make room (early_drop)",
			[]look{{100000, 100000, [2]uint32{}, [2]uint32{0, 5}}, {100000, 100000, [2]uint32{}, [2]uint32{900, 5}}},
			problem.Critical, 0, true,
		},
		{
			"the module was loaded anew",
			[]look{{99000, 100000, [2]uint32{70, 0}, [2]uint32{}}, {99000, 100000, [2]uint32{2, 0}, [2]uint32{}}},
			problem.Critical, 0, false,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, n := NewConntrack(), tree(t, nil)
			var r problem.Result
			for _, l := range tc.looks {
				for path, content := range conntrackFiles(l.count, l.limit, l.drops, l.early) {
					writeFile(t, n.Host.Root(), path, content)
				}
				var err error
				if r, err = p.Run(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			near := checkSeverity(t, r, problem.ConntrackNearLimit, "", tc.near)
			checkSeverity(t, r, problem.ConntrackDropping, "", tc.dropping)
			if near.Refused != tc.refused {
				t.Errorf("refused %t, want %t", near.Refused, tc.refused)
			}
			last := tc.looks[len(tc.looks)-1]
			m := r.Measurements[0]
			if m.Resource != "conntrack_entries" || m.Used != float64(last.count) || m.Max != float64(last.limit) ||
				m.Refused == nil || *m.Refused != uint64(last.drops[0])+uint64(last.drops[1]) {
				t.Errorf("measured %+v", m)
			}
		})
	}
}

func TestConntrackHolders(t *testing.T) {
	files := conntrackFiles(90000, 100000, [2]uint32{}, [2]uint32{})
	line := "ipv4     2 udp      17 29 src=%s dst=10.0.0.10 sport=%d dport=53 src=10.0.0.10 dst=10.1.0.7 sport=53 dport=1 mark=0 zone=0 use=2\n"
	var list strings.Builder
	for i := range 300 {
		fmt.Fprintf(&list, line, "10.1.0.7", i)
		if i%3 == 0 {
			fmt.Fprintf(&list, line, "fd00::8", i)
		}
	}
	list.WriteString("garbage\nipv4 2 tcp 6 src=nobody dst=1\n")
	files[conntrackList] = list.String()
	r, err := NewConntrack().Run(t.Context(), tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	got := checkSeverity(t, r, problem.ConntrackNearLimit, "", problem.Warning).Holders
	want := []problem.Holder{
		{Owner: "source 10.1.0.7", Amount: 68000, Unit: problem.Connections},
		{Owner: "source fd00::8", Amount: 23000, Unit: problem.Connections},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("holders %+v, want %+v", got, want)
	}
}

// Addresses that host-local gave out are their pods'.
func TestConntrackHoldersArePods(t *testing.T) {
	const (
		uid     = "be5db358-61ac-2a7b-1886-bc3f26bc3a2b"
		sandbox = "28bbd39a4eec01777d971f150bab693d8c507aecd194089782015636435dc995"
	)
	files := conntrackFiles(3, 3, [2]uint32{}, [2]uint32{})
	files[conntrackList] = strings.Repeat("ipv4 2 udp 17 29 src=10.244.1.7 dst=10.0.0.10 sport=1 dport=53 src=10.0.0.10\n", 2) +
		"ipv4 2 udp 17 29 src=10.244.1.8 dst=10.0.0.10 sport=1 dport=53 src=10.0.0.10\n"
	files["/etc/cni/net.d/10-net.conflist"] = bridgeJSON
	files["/var/lib/cni/networks/net/10.244.1.7"] = sandbox + "\neth0"
	files["/var/lib/cni/networks/net/10.244.1.8"] = strings.Repeat("0", 64) + "\neth0" // of a sandbox that is gone
	files["/proc/1/mountinfo"] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
	files["/sys/fs/cgroup/cgroup.controllers"] = "cpu memory pids\n"
	files["/sys/fs/cgroup/cgroup.procs"] = ""
	files["/sys/fs/cgroup/kubepods/burstable/pod"+uid+"/"+sandbox+"/cgroup.procs"] = ""
	files["/var/log/pods/payments_api-7c9_"+uid+"/app/0.log"] = ""
	n := tree(t, files)
	if n.CgroupsErr != nil {
		t.Fatal(n.CgroupsErr)
	}
	r, err := NewConntrack().Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	got := checkSeverity(t, r, problem.ConntrackNearLimit, "", problem.Critical).Holders
	if len(got) != 2 || got[0].Owner != "pod payments/api-7c9 (10.244.1.7)" || got[0].Amount != 2 || got[1].Owner != "source 10.244.1.8" {
		t.Errorf("holders %+v", got)
	}
}

// However many entries there are, a look reads 512 KiB of them at most.
func TestConntrackHoldersAreASample(t *testing.T) {
	files := conntrackFiles(100000, 100000, [2]uint32{}, [2]uint32{})
	var list strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&list, "ipv4     2 udp      17 29 src=10.1.%d.%d dst=10.0.0.10 sport=1 dport=53 src=10.0.0.10\n", i>>8, i&255)
		if i%4 == 0 {
			list.WriteString("ipv4     2 udp      17 29 src=10.7.7.7 dst=10.0.0.10 sport=1 dport=53 src=10.0.0.10\n")
		}
		if list.Len() > conntrackSample {
			list.WriteString(strings.Repeat("ipv4     2 udp      17 29 src=10.9.9.9 dst=10.0.0.10 sport=1 dport=53 src=10.0.0.10\n", 10))
		}
	}
	files[conntrackList] = list.String()
	r, err := NewConntrack().Run(t.Context(), tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	if got := checkSeverity(t, r, problem.ConntrackNearLimit, "", problem.Critical).Holders; got[0].Owner != "source 10.7.7.7" || got[0].Amount != 20000 {
		t.Errorf("holders %+v", got)
	}
}

func TestConntrackAbsent(t *testing.T) {
	var na *problem.NotApplicableError
	if _, err := NewConntrack().Run(t.Context(), tree(t, nil)); !errors.As(err, &na) {
		t.Errorf("no connection tracking: %v, want not applicable", err)
	}
	files := conntrackFiles(99999, 100000, [2]uint32{}, [2]uint32{})
	delete(files, conntrackStat)
	r, err := NewConntrack().Run(t.Context(), tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	checkSeverity(t, r, problem.ConntrackNearLimit, "", problem.Critical)
	checkState(t, r, problem.ConntrackDropping, "", problem.NotApplicable)

	files[conntrackStat] = "garbage\n"
	if r, err := NewConntrack().Run(t.Context(), tree(t, files)); err == nil || !strings.Contains(err.Error(), conntrackStat) {
		t.Errorf("a garbled file: %+v, %v", r, err)
	}
	files = conntrackFiles(1, 2, [2]uint32{}, [2]uint32{})
	files[conntrackMax] = "-1\n"
	if r, err := NewConntrack().Run(t.Context(), tree(t, files)); err == nil || !strings.Contains(err.Error(), conntrackMax) {
		t.Errorf("a garbled limit: %+v, %v", r, err)
	}
}

func FuzzConntrackSource(f *testing.F) {
	f.Add([]byte("ipv4 2 udp 17 29 src=10.1.0.7 dst=10.0.0.10 sport=1 dport=53 src=10.0.0.10\n"))
	f.Add([]byte(" src="))
	f.Fuzz(func(t *testing.T, line []byte) {
		if src, ok := conntrackSource(line); ok && !src.IsValid() {
			t.Fatalf("%q: no address, and no refusal", line)
		}
	})
}

// TestNetworkProbesOnRecordedNodes: none of these nodes is short of anything
// that the network probes look at.
func TestNetworkProbesOnRecordedNodes(t *testing.T) {
	neighbours := NewNeighbours()
	neighbours.list = func(int) ([]neighbour, error) { t.Error("a dump on a healthy node"); return nil, nil }
	for state, probes := range map[string][]Probe{
		"healthy-k6.12":   {NewConntrack(), neighbours, NewTCPMemory()},
		"healthy-k6.1":    {NewConntrack()}, // recorded with fewer files
		"throttled-k6.12": {NewConntrack()},
	} {
		n := nodeAt(t, fixtures.Node(t, state))
		writeFile(t, n.Host.Root(), "/proc/sys/net/ipv6/neigh/default/gc_thresh3", "1024\n") // not recorded
		for _, p := range probes {
			for range 2 {
				r, err := p.Run(t.Context(), n)
				if err != nil {
					t.Fatalf("%s: %s: %v", state, p.Name(), err)
				}
				if len(r.Verdicts) != 0 || len(r.Measurements) == 0 {
					t.Errorf("%s: %s: %+v", state, p.Name(), r)
				}
			}
		}
	}
}
