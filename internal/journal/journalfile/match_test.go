package journalfile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/test/export"
)

// accepted are the messages of those records of the oracle that are wanted.
func accepted(all []export.Record, want func(*export.Record) bool) []string {
	var messages []string
	for i := range all {
		if want(&all[i]) {
			messages = append(messages, all[i].Message)
		}
	}
	return messages
}

// TestMatch: the records found through the lists are those that a look at every
// record finds, in every layout.
func TestMatch(t *testing.T) {
	all := oracle(t)
	middle := all[1000].Realtime
	for _, layout := range []string{"dev-LZ4-c0.journal", "dev-ZSTD-c1.journal", "dev-jenkins.journal"} {
		dir := t.TempDir()
		fixture(t, dir, layout)
		for name, tc := range map[string]struct {
			q    Query
			want func(*export.Record) bool
			some bool
		}{
			"all":        {Query{}, func(*export.Record) bool { return true }, true},
			"unit":       {Query{Match: Match{Units: []string{"docker.service"}}}, func(r *export.Record) bool { return r.Unit == "docker.service" }, true},
			"kernel":     {Query{Match: Match{Kernel: true}}, func(r *export.Record) bool { return r.Kernel }, true},
			"identifier": {Query{Match: Match{Identifiers: []string{"dockerd", "no such"}}}, func(r *export.Record) bool { return r.Identifier == "dockerd" }, true},
			"several, one of them twice": {
				Query{Match: Match{Units: []string{"docker.service", "containerd.service"}, Identifiers: []string{"dockerd"}, Kernel: true}},
				func(r *export.Record) bool {
					return r.Unit == "docker.service" || r.Unit == "containerd.service" || r.Kernel
				},
				true,
			},
			"nothing": {Query{Match: Match{Units: []string{"docker"}}}, func(*export.Record) bool { return false }, false},
			"unit since": {
				Query{Match: Match{Units: []string{"kubelet.service"}}, Since: time.UnixMicro(int64(middle))},
				func(r *export.Record) bool { return r.Unit == "kubelet.service" && r.Realtime >= middle },
				true,
			},
			"until":                 {Query{Until: time.UnixMicro(int64(middle))}, func(r *export.Record) bool { return r.Realtime <= middle }, true},
			"since the very moment": {Query{Since: time.UnixMicro(int64(middle)), Until: time.UnixMicro(int64(middle))}, func(r *export.Record) bool { return r.Realtime == middle }, true},
			"since the end":         {Query{Since: time.UnixMicro(int64(all[1999].Realtime + 1))}, func(*export.Record) bool { return false }, false},
			"until before":          {Query{Until: time.UnixMicro(1)}, func(*export.Record) bool { return false }, false},
		} {
			t.Run(layout+" "+name, func(t *testing.T) {
				want := accepted(all, tc.want)
				if (len(want) > 0) != tc.some {
					t.Fatalf("the oracle has %d such records", len(want))
				}
				var got []string
				h, err := Read([]string{dir}, tc.q, func(r *journal.Record) error {
					got = append(got, string(r.Message))
					return nil
				})
				if err != nil || h.Loss != (Loss{}) {
					t.Fatalf("%+v, %v", h, err)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%d records, want %d", len(got), len(want))
				}
			})
		}
	}
}

// TestUnitOfARecord: systemd speaks of other units, nobody else does.
func TestUnitOfARecord(t *testing.T) {
	w := newBuilder(1, true)
	for i, fields := range [][]string{
		{"_PID=1", "_SYSTEMD_UNIT=init.scope", "UNIT=kubelet.service", "MESSAGE=failed"},
		{"_PID=99", "_SYSTEMD_UNIT=evil.service", "UNIT=kubelet.service", "MESSAGE=a mere claim"},
		{"_PID=1", "_SYSTEMD_UNIT=init.scope", "MESSAGE=of nobody"},
		{"_PID=5", "_COMM=sh", "MESSAGE=without an identifier"},
		{"_PID=5", "_COMM=sh", "SYSLOG_IDENTIFIER=tag", "MESSAGE=with one"},
		{"_TRANSPORT=kernel", "_KERNEL_DEVICE=x", "PRIORITY=3"},
		{"_TRANSPORT=kernel2", "MESSAGE=a", "MESSAGE=b"},
	} {
		w.add(1e15+uint64(i), uint64(i), 2, fields...)
	}
	path := filepath.Join(t.TempDir(), "system.journal")
	w.write(t, path)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []string
	if err := f.Each(Match{}, time.Time{}, func(r *journal.Record) error {
		got = append(got, fmt.Sprintf("%q %q %d %v %q", r.Unit, r.Identifier, r.PID, r.Kernel, r.Message))
		if r.BootID != "02000000-0000-0000-0000-000000000000" || r.Source != "journal" {
			t.Errorf("%+v", r)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`"kubelet.service" "" 1 false "failed"`,
		`"evil.service" "" 99 false "a mere claim"`,
		`"init.scope" "" 1 false "of nobody"`,
		`"" "sh" 5 false "without an identifier"`,
		`"" "tag" 5 false "with one"`,
		`"" "" 0 true ""`,
		`"" "" 0 false "a"`,
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got\n%q, want\n%q", got, want)
	}
}

// TestBrokenIndex: where the lists of matching records are damaged, all records
// are looked at.
func TestBrokenIndex(t *testing.T) {
	for name, harm := range map[string]func(w *builder){
		"the table is elsewhere":    func(w *builder) { w.put(120, 1<<40) },
		"a field leads to itself":   func(w *builder) { w.put(w.fields["_SYSTEMD_UNIT"]+24, w.fields["_SYSTEMD_UNIT"]) },
		"a value leads to itself":   func(w *builder) { d := w.data["_SYSTEMD_UNIT=kubelet.service"]; w.put(d+32, d) },
		"the list ends too early":   func(w *builder) { w.put(w.get(w.data["_SYSTEMD_UNIT=kubelet.service"]+48)+16, 0) },
		"the list leads back":       func(w *builder) { a := w.get(w.data["_SYSTEMD_UNIT=kubelet.service"] + 48); w.put(a+16, a) },
		"the list has an empty end": func(w *builder) { put32(w, w.tails[w.data["_SYSTEMD_UNIT=kubelet.service"]]+entryArrayHeader, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newBuilder(1, true)
			for i := range 50 {
				w.say(uint64(i), fmt.Sprintf("m %d", i))
				w.add(1e15+uint64(i), 1, 1, "MESSAGE=not wanted")
			}
			w.state(Archived)
			harm(w)
			dir := t.TempDir()
			w.write(t, filepath.Join(dir, "system.journal"))
			var got []string
			h, err := Read([]string{dir}, Query{Match: Match{Units: []string{"kubelet.service"}}}, func(r *journal.Record) error {
				got = append(got, string(r.Message))
				return nil
			})
			if err != nil || !slices.Equal(got, numbered(0, 50)) || h.Loss.First == "" {
				t.Fatalf("%q, %+v, %v", got, h.Loss, err)
			}
		})
	}
}

func TestReadNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	h, err := Read([]string{dir}, Query{}, func(*journal.Record) error { return nil })
	if err != nil || h.Blind != "no journal files in "+dir {
		t.Fatalf("%+v, %v", h, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Fatal(err)
	}
}
