package rules

import (
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
)

func TestParse(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name, line string
		want       journal.Record
		message    string
	}{
		{"RFC 3164", "Nov 22 10:00:00 n1 kubelet[1234]: E1122 x", journal.Record{Time: at, Identifier: "kubelet", PID: 1234}, "E1122 x"},
		{"one-digit day", "Nov  2 10:00:00 n1 sshd[1]: x", journal.Record{Time: at.AddDate(0, 0, -20), Identifier: "sshd", PID: 1}, "x"},
		{"no pid", "Nov 22 10:00:00 n1 myapp: x y", journal.Record{Time: at, Identifier: "myapp"}, "x y"},
		{"with priority", "<13>Nov 22 10:00:00 n1 a[2]: x", journal.Record{Time: at, Identifier: "a", PID: 2}, "x"},
		{"kernel with stamp", "Nov 22 10:00:00 n1 kernel: [ 1234.567890] nfs: x", journal.Record{Time: at, Identifier: "kernel", Kernel: true}, "nfs: x"},
		{"kernel without", "Nov 22 10:00:00 n1 kernel: nfs: x", journal.Record{Time: at, Identifier: "kernel", Kernel: true}, "nfs: x"},
		{"ISO", "2026-11-22T11:00:00.000000+01:00 n1 systemd[1]: Started x.", journal.Record{Time: at, Identifier: "systemd", PID: 1}, "Started x."},
		{"ISO as journalctl writes it", "2026-11-22T10:00:00+0000 n1 systemd[1]: Started x.", journal.Record{Time: at, Identifier: "systemd", PID: 1}, "Started x."},
		{"ISO with a space", "2026-11-22 10:00:00 n1 systemd[1]: Started x.", journal.Record{Time: at, Identifier: "systemd", PID: 1}, "Started x."},
		{"with a fraction", "Nov 22 10:00:00.123456 n1 systemd[1]: Started x.", journal.Record{Time: at, Identifier: "systemd", PID: 1}, "Started x."},
		{"no host, kernel", "Nov 22 10:00:00 kernel: INFO: x", journal.Record{Time: at, Identifier: "kernel", Kernel: true}, "INFO: x"},
		{"no host, a program", "Nov 22 10:00:00 kubelet[1234]: E1122 x", journal.Record{Time: at, Identifier: "kubelet", PID: 1234}, "E1122 x"},
		{"a program's own time", "2026-11-22 10:00:00 INFO: x y", journal.Record{}, "2026-11-22 10:00:00 INFO: x y"},
		{"dmesg -r", "<4>[    0.000001] x", journal.Record{Identifier: "kernel", Kernel: true}, "x"},
		{"RFC 5424", "<13>1 2026-11-22T10:00:00Z n1 app 77 - - x y", journal.Record{Time: at, Identifier: "app", PID: 77}, "x y"},
		{"dmesg", "[    0.000001] Linux version 6", journal.Record{Identifier: "kernel", Kernel: true}, "Linux version 6"},
		{"dmesg -T", "[Sun Nov 22 10:00:00 2026] x", journal.Record{Identifier: "kernel", Kernel: true}, "x"},
		{"caller", "[ 1234.567890][T12345] x", journal.Record{Identifier: "kernel", Kernel: true}, "x"},
		{"cut-off prefix", "systemd[1]: kubelet.service: Failed", journal.Record{Identifier: "systemd", PID: 1}, "kubelet.service: Failed"},
		{"CRI", "2026-11-22T10:00:00Z stderr F E1122 x", journal.Record{Time: at}, "E1122 x"},
		{"CRI, a container that plays the kernel", "2026-11-22T10:00:00Z stdout F Nov 22 10:00:00 n1 kernel: x", journal.Record{Time: at}, "Nov 22 10:00:00 n1 kernel: x"},
		{"CRI, empty", "2026-11-22T10:00:00Z stdout P ", journal.Record{Time: at}, ""},
		{"docker", `{"log":"a \"b\" \u003e\n","stream":"stderr","time":"2026-11-22T10:00:00Z"}`, journal.Record{Time: at}, `a "b" >`},
		{"klog", "E1122 10:00:00.000000    1234 x.go:1] y", journal.Record{Time: at}, "E1122 10:00:00.000000    1234 x.go:1] y"},
		{"logrus", `time="2026-11-22T10:00:00Z" level=info msg="x"`, journal.Record{Time: at}, `time="2026-11-22T10:00:00Z" level=info msg="x"`},
		{"JSON", `{"time":"2026-11-22T10:00:00Z","msg":"x"}`, journal.Record{Time: at}, `{"time":"2026-11-22T10:00:00Z","msg":"x"}`},
		{"CR LF", "Nov 22 10:00:00 n1 a[2]: x\r\n", journal.Record{Time: at, Identifier: "a", PID: 2}, "x"},
		{"nothing known", "just words: and more", journal.Record{}, "just words: and more"},
		{"last year", "Dec 31 23:59:59 n1 a[2]: x", journal.Record{Time: time.Date(2025, 12, 31, 23, 59, 59, 0, time.UTC), Identifier: "a", PID: 2}, "x"},
		{"empty", "", journal.Record{}, ""},
	} {
		r := journal.Record{Message: []byte(tc.line)}
		Parse(&r, now)
		if string(r.Message) != tc.message || !r.Time.Equal(tc.want.Time) || r.Identifier != tc.want.Identifier ||
			r.PID != tc.want.PID || r.Kernel != tc.want.Kernel {
			t.Errorf("%s: %v %q %d kernel %v %q", tc.name, r.Time, r.Identifier, r.PID, r.Kernel, r.Message)
		}
	}
}

func TestFlatten(t *testing.T) {
	for _, tc := range []struct {
		line, want string
		ok         bool
	}{
		{`{"error":"e \"q\"","level":"error","msg":"m","n":{"a":[1,"}"]}}`, `m err="e "q"" level="error" n="{"a":[1,"}"]}"`, true},
		{`{"ts":1.5,"msg":"m","v":0,"err":"e"}`, `m err="e" ts="1.5" v="0"`, true},
		{`{"msg":"cut off in the mid`, ``, false},
		{`{"msg":"m","err":"cut off in the mid`, `m`, true},
		{`{"level":"info"}`, ``, false},
		{`{}`, ``, false},
		{`{`, ``, false},
		{`no JSON`, ``, false},
	} {
		got, ok := flatten([]byte(tc.line))
		if string(got) != tc.want || ok != tc.ok {
			t.Errorf("%s: %q %v", tc.line, got, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, l := range corpus(f) {
		f.Add([]byte(l))
	}
	f.Add([]byte(`{"log":"x\n","stream":"stderr","time":"2026-11-22T10:00:00Z"}`))
	f.Add([]byte("<13>1 2026-11-22T10:00:00Z n1 app 77 - - x y"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r := journal.Record{Message: append([]byte(nil), line...)}
		Parse(&r, now)
		if len(r.Message) > len(line) {
			t.Errorf("%q became %q", line, r.Message)
		}
		if len(r.Identifier) > 0 && !strings.Contains(string(line), r.Identifier) && r.Identifier != "kernel" && line[0] != '{' {
			t.Errorf("%q: identifier %q", line, r.Identifier)
		}
		flatten(line)
		findPod(line)
	})
}
