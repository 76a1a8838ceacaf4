package probes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func sockstat(orphans, pages int) string {
	return fmt.Sprintf("sockets: used 87\nTCP: inuse 2 orphan %d tw 7 alloc 3 mem %d\nUDP: inuse 0 mem 99999\n", orphans, pages)
}

func TestTCPMemory(t *testing.T) {
	for _, tc := range []struct {
		name            string
		orphans, pages  int
		memory, orphan  problem.Severity
		refusedByMemory bool
	}{
		{"healthy", 3, 100, 0, 0, false},
		{"look-alike: the kernel moderates itself from tcp_mem's second number on", 3, 70000, 0, 0, false},
		{"memory warning", 3, 80000, problem.Warning, 0, false},
		{"memory critical", 3, 95000, problem.Critical, 0, false},
		{"out of memory", 3, 100001, problem.Critical, 0, true},
		{"orphans warning", 6554, 5, 0, problem.Warning, false},
		{"both", 8192, 100000, problem.Critical, problem.Critical, true},
		{"sums just below zero", -1, -3, 0, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := NewTCPMemory().Run(t.Context(), tree(t, map[string]string{
				sockstatFile: sockstat(tc.orphans, tc.pages), tcpMemFile: "50000\t66666\t100000\n", tcpOrphansFile: "8192\n",
			}))
			if err != nil {
				t.Fatal(err)
			}
			v := checkSeverity(t, r, problem.TCPMemoryNearLimit, "memory", tc.memory)
			checkSeverity(t, r, problem.TCPMemoryNearLimit, "orphans", tc.orphan)
			if v.Refused != tc.refusedByMemory {
				t.Errorf("refused %t, want %t", v.Refused, tc.refusedByMemory)
			}
		})
	}
}

func TestEvaluateTCPMemoryInBytes(t *testing.T) {
	r := evaluateTCPMemory(tcpState{pages: 10, maxPages: 100, orphans: 1, maxOrphans: 2}, 65536, NewTCPMemory().Thresholds)
	if m := r.Measurements[0]; m.Used != 655360 || m.Max != 6553600 || m.Unit != problem.Bytes {
		t.Errorf("measured %+v", m)
	}
}

func TestTCPMemoryGarbled(t *testing.T) {
	good := map[string]string{sockstatFile: sockstat(1, 1), tcpMemFile: "1 2 3", tcpOrphansFile: "4"}
	for file, bad := range map[string][]string{
		sockstatFile:   {"", "TCP: inuse 1", "TCP: orphan 1 mem", "TCP: orphan x mem 1"},
		tcpMemFile:     {"", "1 2", "1 2 x"},
		tcpOrphansFile: {"", "many"},
	} {
		for _, content := range bad {
			n := tree(t, good)
			writeFile(t, n.Host.Root(), file, content)
			if r, err := NewTCPMemory().Run(t.Context(), n); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("%s with %q: %+v, error %v", file, content, r, err)
			}
		}
	}
}

func FuzzParseSockstat(f *testing.F) {
	f.Add([]byte(sockstat(1, 2)))
	f.Add([]byte("TCP: orphan 1 orphan 2"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if orphans, pages, err := parseSockstat(raw); err == nil {
			evaluateTCPMemory(tcpState{pages: pages, orphans: orphans}, 4096, NewTCPMemory().Thresholds)
		}
	})
}

func FuzzParseTCPMem(f *testing.F) {
	f.Add([]byte("188946\t251930\t377892\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if most, err := parseTCPMem(raw); err != nil && most != 0 {
			t.Errorf("%q: %d and %v", raw, most, err)
		}
	})
}
