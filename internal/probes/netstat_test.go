package probes

import (
	"fmt"
	"strings"
	"testing"
)

// netStat writes a table of /proc/net/stat: rows has a line a CPU.
func netStat(columns string, rows ...[]uint32) string {
	s := columns + "\n"
	for _, row := range rows {
		words := make([]string, len(row))
		for i, n := range row {
			words[i] = fmt.Sprintf("%08x", n)
		}
		s += strings.Join(words, " ") + "\n"
	}
	return s
}

func TestParseNetStat(t *testing.T) {
	raw := "entries  searched drop early_drop\n0000000f 00000000 ffffffff 00000001\n0000000f 00000000 00000002 0000000a\n"
	table, err := parseNetStat("stat", []byte(raw), "drop", "entries")
	if err != nil {
		t.Fatal(err)
	}
	if got := table["drop"].total(); got != 0xffffffff+2 {
		t.Errorf("drops of both CPUs: %d", got)
	}
	if got := table["entries"][0]; got != 15 {
		t.Errorf("entries: %d, want 15 (they are hexadecimal)", got)
	}
	for name, bad := range map[string]string{
		"empty":       "",
		"no rows":     "entries drop\n",
		"no column":   "entries\n00000001\n",
		"short row":   "entries drop\n00000001\n",
		"not hex":     "entries drop\n00000001 zz\n",
		"more than u": "entries drop\n00000001 123456789\n",
	} {
		if got, err := parseNetStat("/proc/net/stat/x", []byte(bad), "drop"); err == nil {
			t.Errorf("%s: parsed as %v", name, got)
		} else if !strings.Contains(err.Error(), "/proc/net/stat/x") {
			t.Errorf("%s: error %q does not name the file", name, err)
		}
	}
}

func TestPerCPUSince(t *testing.T) {
	for _, tc := range []struct {
		name      string
		prev, cur perCPU
		rose      uint64
		ok        bool
	}{
		{"the first look", nil, perCPU{7, 8}, 0, false},
		{"unchanged", perCPU{7, 8}, perCPU{7, 8}, 0, true},
		{"risen on both", perCPU{7, 8}, perCPU{9, 18}, 12, true},
		{"wrapped around", perCPU{0xfffffffe, 0}, perCPU{3, 0}, 5, true},
		{"went back: the module was loaded anew", perCPU{1000, 5}, perCPU{0, 5}, 0, false},
		{"other CPUs", perCPU{1}, perCPU{1, 2}, 0, false},
	} {
		if rose, ok := tc.cur.since(tc.prev); rose != tc.rose || ok != tc.ok {
			t.Errorf("%s: %d, %t, want %d, %t", tc.name, rose, ok, tc.rose, tc.ok)
		}
	}
}

func FuzzParseNetStat(f *testing.F) {
	f.Add([]byte("entries drop\n0000000f 00000001\n"))
	f.Add([]byte("entries drop\n\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		table, err := parseNetStat("stat", raw, "entries", "drop")
		if err == nil && (len(table["entries"]) == 0 || len(table["entries"]) != len(table["drop"])) {
			t.Fatalf("%q: columns of unequal length: %v", raw, table)
		}
	})
}

// TestForeignNetworkOwn: this process is in the network namespace of its own
// /proc/1, or says that it is not; either way the answer is one of the two.
func TestForeignNetworkOwn(t *testing.T) {
	if why := foreignNetwork(nodeAt(t, "/").Host); why != "" && !strings.Contains(why, "network namespace") {
		t.Errorf("no reason: %q", why)
	}
	if why := foreignNetwork(tree(t, nil).Host); why != "" {
		t.Errorf("a recorded tree has one view, but: %q", why)
	}
}
