package probes

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func neighbourFiles(entries uint64, limit uint64, fulls ...uint32) map[string]string {
	rows := make([][]uint32, len(fulls))
	for i, n := range fulls {
		rows[i] = []uint32{uint32(entries), 1, n}
	}
	return map[string]string{
		"/proc/net/stat/arp_cache":                    netStat("entries allocs table_fulls", rows...),
		"/proc/net/stat/ndisc_cache":                  netStat("entries allocs table_fulls", []uint32{3, 0, 0}),
		"/proc/sys/net/ipv4/neigh/default/gc_thresh3": fmt.Sprintln(limit),
		"/proc/sys/net/ipv6/neigh/default/gc_thresh3": "1024\n",
	}
}

// neighboursOn makes n entries of one link.
func neighboursOn(link string, n int, exempt bool) []neighbour {
	var all []neighbour
	for range n {
		all = append(all, neighbour{link: link, exempt: exempt})
	}
	return all
}

func TestNeighbours(t *testing.T) {
	type look struct {
		entries uint64
		fulls   []uint32
	}
	for _, tc := range []struct {
		name    string
		looks   []look
		visible []neighbour
		want    problem.Severity
		refused bool
	}{
		{"healthy", []look{{50, []uint32{0, 0}}}, nil, 0, false},
		{"warning", []look{{900, []uint32{0, 0}}}, neighboursOn("eth0", 900, false), problem.Warning, false},
		{"look-alike: most entries are permanent", []look{{900, []uint32{0, 0}}}, neighboursOn("flannel.1", 800, true), 0, false},
		{"enough others beside the permanent ones", []look{{1800, []uint32{0, 0}}}, neighboursOn("flannel.1", 900, true), problem.Warning, false},
		{"refused since the last look", []look{{1024, []uint32{5, 5}}, {1024, []uint32{5, 6}}}, nil, problem.Critical, true},
		{"refused since the last look, room again", []look{{1024, []uint32{5, 5}}, {700, []uint32{9, 5}}}, nil, problem.Critical, true},
		{"refused long ago", []look{{500, []uint32{5, 5}}, {500, []uint32{5, 5}}}, nil, 0, false},
		{"first look: refused before and full now", []look{{1024, []uint32{5, 0}}}, nil, problem.Critical, true},
		{"first look: refused before, room now", []look{{600, []uint32{5, 0}}}, nil, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, n := NewNeighbours(), tree(t, nil)
			p.list = func(family int) ([]neighbour, error) {
				if family != unix.AF_INET {
					t.Errorf("dump of family %d, which is not near its limit", family)
				}
				return tc.visible, nil
			}
			var r problem.Result
			for _, l := range tc.looks {
				for path, content := range neighbourFiles(l.entries, 1024, l.fulls...) {
					writeFile(t, n.Host.Root(), path, content)
				}
				var err error
				if r, err = p.Run(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			v := checkSeverity(t, r, problem.NeighbourTableNearLimit, "arp", tc.want)
			if v.Refused != tc.refused {
				t.Errorf("refused %t, want %t", v.Refused, tc.refused)
			}
			checkSeverity(t, r, problem.NeighbourTableNearLimit, "ndisc", 0)
			if len(r.Measurements) != 2 || r.Measurements[1].Subject != "ndisc" || r.Measurements[1].Used != 3 {
				t.Errorf("measured %+v", r.Measurements)
			}
		})
	}
}

func TestNeighbourHolders(t *testing.T) {
	p := NewNeighbours()
	p.list = func(int) ([]neighbour, error) {
		return append(neighboursOn("eth0", 300, false), neighboursOn("cni0", 100, false)...), nil
	}
	r, err := p.Run(t.Context(), tree(t, neighbourFiles(1000, 1024, 0)))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(checkSeverity(t, r, problem.NeighbourTableNearLimit, "arp", problem.Warning).Holders)
	want := fmt.Sprint([]problem.Holder{
		{Owner: "other network namespaces", Amount: 600, Unit: problem.Connections},
		{Owner: "link eth0", Amount: 300, Unit: problem.Connections},
		{Owner: "link cni0", Amount: 100, Unit: problem.Connections},
	})
	if got != want {
		t.Errorf("holders %s, want %s", got, want)
	}
}

func TestNeighboursUnread(t *testing.T) {
	run := func(files map[string]string) (problem.Result, error) {
		p := NewNeighbours()
		p.list = func(int) ([]neighbour, error) { return nil, errors.New("no netlink") }
		return p.Run(t.Context(), tree(t, files))
	}
	var na *problem.NotApplicableError
	if _, err := run(nil); !errors.As(err, &na) {
		t.Errorf("no tables: %v, want not applicable", err)
	}

	files := neighbourFiles(10, 1024, 0)
	delete(files, "/proc/sys/net/ipv4/neigh/default/gc_thresh3")
	r, err := run(files)
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, r, problem.NeighbourTableNearLimit, "arp", problem.Unknown)

	files = neighbourFiles(10, 1024, 0)
	files["/proc/net/stat/arp_cache"] = "garbage"
	if r, err = run(files); err != nil {
		t.Fatal(err)
	}
	if v := checkState(t, r, problem.NeighbourTableNearLimit, "arp", problem.Unknown); !strings.Contains(v.Message, "arp_cache") {
		t.Errorf("the reason does not name the file: %q", v.Message)
	}

	// Without the dump all entries count, and the evidence says so.
	if r, err = run(neighbourFiles(900, 1024, 0)); err != nil {
		t.Fatal(err)
	}
	v := checkSeverity(t, r, problem.NeighbourTableNearLimit, "arp", problem.Warning)
	if !strings.Contains(strings.Join(v.Evidence, "\n"), "no netlink") {
		t.Errorf("evidence %q does not tell of the failed dump", v.Evidence)
	}
}
