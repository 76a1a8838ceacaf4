package probes

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// Lines as they were seen; the fragmented ones had every second page freed.
const (
	buddyDMA        = "Node 0, zone      DMA      0      0      0      0      0      0      1      1      0      1      3 \n"
	buddyHealthy    = "Node 0, zone   Normal   6374   6114   3618   2203   1262    592    263    114     50     21    489 \n"
	buddyFragmented = "Node 0, zone   Normal 785000   9000    300     20      0      0      0      0      0      0      0 \n"
	buddyOtherNode  = "Node 1, zone   Normal  78000    900     30      2      0      0      0      0      0      0      0 \n"
	buddyNoHuge     = "Node 0, zone   Normal 785000   9000    300     20     10      5      1      0      0      0      0 \n"
	buddyShort      = "Node 0, zone   Normal      3      2      2      2      0      0      0      0      0      0      0 \n"
	buddyLow        = "Node 0, zone   Normal   1500    200      3      0      0      0      0      0      0      0      0 \n"
	buddyEmpty      = "Node 0, zone   Normal      0      0      0      0      0      0      0      0      0      0      0 \n"
	buddyArmDMA     = "Node 0, zone      DMA  98000      0      0      0      1      0      0      0      0      0      0 \n"
)

// zoneinfo has 2,000 pages as the low watermark of each zone.
func zoneinfo(zones ...string) string {
	var s string
	for _, z := range zones {
		s += "Node " + z + "\n  pages free     5\n        boost    0\n        min      1600\n        low      2000\n        high     2400\n"
	}
	return s
}

func vmstat(fail, stall int) string {
	return fmt.Sprintf("nr_free_pages 1\nallocstall_dma 0\nallocstall_normal %d\nallocstall_movable 1\ncompact_stall 9\ncompact_fail %d\ncompact_fail_x 7\n", stall, fail)
}

func TestFragmentation(t *testing.T) {
	for _, tc := range []struct {
		name      string
		buddy     string
		then, now string
		want      problem.Severity
		refused   bool
	}{
		{"healthy", buddyDMA + buddyHealthy, vmstat(5, 5), vmstat(9, 9), 0, false},
		{"fragmented, compaction fails", buddyDMA + buddyFragmented, vmstat(5, 5), vmstat(9, 5), problem.Warning, true},
		{"fragmented, tasks stall", buddyDMA + buddyFragmented, vmstat(5, 5), vmstat(5, 6), problem.Warning, false},
		{"fragmented on all nodes", buddyFragmented + buddyOtherNode, vmstat(5, 5), vmstat(6, 6), problem.Warning, true},
		{"fragmented on one node of two", buddyHealthy + buddyOtherNode, vmstat(5, 5), vmstat(6, 6), 0, false},
		{"fragmented, but nobody minds", buddyFragmented, vmstat(5, 5), vmstat(5, 5), 0, false},
		{"counters went back", buddyFragmented, vmstat(5, 5), vmstat(0, 0), 0, false},
		{"look-alike: low on memory", buddyDMA + buddyShort, vmstat(5, 5), vmstat(9, 9), 0, false},
		{"look-alike: a bit more, but below the low watermark", buddyDMA + buddyLow, vmstat(5, 5), vmstat(9, 9), 0, false},
		{"look-alike: nothing free", buddyDMA + buddyEmpty, vmstat(5, 5), vmstat(9, 9), 0, false},
		{"look-alike: only huge pages are missing", buddyNoHuge, vmstat(5, 5), vmstat(9, 9), 0, false},
		{"all memory is in zone DMA, as on a small arm64 machine", buddyArmDMA + buddyOtherNode, vmstat(5, 5), vmstat(9, 9), 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := tree(t, map[string]string{
				buddyFile: tc.buddy, vmstatFile: tc.then,
				zoneinfoFile: zoneinfo("0, zone      DMA", "0, zone   Normal", "1, zone   Normal"),
			})
			p := NewFragmentation()
			first, err := p.Run(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			if len(first.Verdicts) != 0 {
				t.Fatalf("a verdict about counters at the first look: %+v", first.Verdicts)
			}
			writeFile(t, n.Host.Root(), vmstatFile, tc.now)
			r, err := p.Run(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			if v := checkSeverity(t, r, problem.MemoryFragmented, "", tc.want); v.Refused != tc.refused {
				t.Errorf("refused %v, want %v", v.Refused, tc.refused)
			}
		})
	}
}

// The values are those of the kernel's own arithmetic, in which division rounds down.
func TestFragmentationIndex(t *testing.T) {
	for _, tc := range []struct {
		line  string
		order int
		want  float64
	}{
		{buddyHealthy, 4, -1000},
		{buddyFragmented, 4, 1000 - (1000+804360.0*1000/16)/794320},
		{buddyFragmented, 3, -1000},
		{buddyShort, 4, 1000 - (1000+31.0*1000/16)/9},
		{buddyEmpty, 4, 0},
	} {
		zones, err := parseBuddyinfo([]byte(tc.line))
		if err != nil {
			t.Fatal(err)
		}
		if got := zones[0].index(tc.order); math.Abs(got-tc.want) > 0.001 {
			t.Errorf("order %d of %q: %v, want %v", tc.order, tc.line, got, tc.want)
		}
	}
}

func TestFragmentationMeasurements(t *testing.T) {
	zones, err := parseBuddyinfo([]byte(buddyDMA + buddyFragmented + "Node 1, zone Device 1 0 0\n" + buddyOtherNode))
	if err != nil {
		t.Fatal(err)
	}
	r := evaluateFragmentation(zones, compaction{}, NewFragmentation().Thresholds)
	if len(r.Measurements) != 2 {
		t.Fatalf("%+v", r.Measurements)
	}
	for i, subject := range []string{"node 0 zone Normal", "node 1 zone Normal"} {
		if m := r.Measurements[i]; m.Subject != subject || m.Max != 1 || m.Used < 0.9 || m.Used > 1 {
			t.Errorf("%+v, want %s at more than 0.9", m, subject)
		}
	}
}

func TestParseBuddyinfoGarbled(t *testing.T) {
	for _, raw := range []string{
		"", "\n", "Node 0, zone", "Node 0, zone Normal", "Node 0, zone Normal x", "Node 0, zone Normal -1",
		"Node 0, zone Normal 99999999999999", "Node 0, zone Normal" + fmt.Sprint(make([]int, 40)),
	} {
		if got, err := parseBuddyinfo([]byte(raw)); err == nil {
			t.Errorf("%q parsed as %+v", raw, got)
		}
	}
}

func TestParseWatermarks(t *testing.T) {
	zones := []zone{{node: "0", name: "Normal"}, {node: "1", name: "Movable"}}
	if err := parseWatermarks([]byte(zoneinfo("0, zone   Normal", "1, zone  Movable")), zones); err != nil {
		t.Fatal(err)
	}
	if zones[0].low != 2000 || zones[1].low != 2000 {
		t.Errorf("%+v", zones)
	}
	for _, raw := range []string{"", zoneinfo("0, zone Normal"), "Node 0, zone Normal\nlow x\nNode 1, zone Movable\nlow 1\n"} {
		if err := parseWatermarks([]byte(raw), zones); err == nil {
			t.Errorf("%q parsed", raw)
		}
	}
}

func FuzzParseWatermarks(f *testing.F) {
	f.Add([]byte(zoneinfo("0, zone   Normal")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		zones := []zone{{node: "0", name: "Normal"}}
		if err := parseWatermarks(raw, zones); err == nil && !bytes.Contains(raw, []byte("low")) {
			t.Errorf("%q: %+v", raw, zones)
		}
	})
}

func FuzzParseBuddyinfo(f *testing.F) {
	f.Add([]byte(buddyDMA + buddyFragmented))
	f.Add([]byte(buddyShort + buddyEmpty))
	f.Fuzz(func(t *testing.T, raw []byte) {
		zones, err := parseBuddyinfo(raw)
		if err != nil {
			return
		}
		for _, m := range evaluateFragmentation(zones, compaction{failed: 1}, NewFragmentation().Thresholds).Measurements {
			if !(m.Used >= 0 && m.Used <= 1) {
				t.Errorf("%q: %+v", raw, m)
			}
		}
	})
}

func FuzzParseCompaction(f *testing.F) {
	f.Add([]byte("compact_fail 12\nallocstall_normal 7\nallocstall_movable 1\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, ok := parseCompaction(raw)
		if !ok && c != (compaction{}) {
			t.Errorf("%q: %+v, and yet there are none", raw, c)
		}
		if none := c.since(c); none != (compaction{}) {
			t.Errorf("%+v has risen by %+v since itself", c, none)
		}
	})
}
