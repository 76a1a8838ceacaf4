package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseKmsg(t *testing.T) {
	for _, tc := range []struct {
		raw    string
		ok     bool
		seq    uint64
		boot   time.Duration
		kernel bool
		text   string
	}{
		{"6,339,5140900,-;NET: Registered PF_INET6 protocol family\n", true, 339, 5140900 * time.Microsecond, true, "NET: Registered PF_INET6 protocol family"},
		{"4,700,1,c,caller=T12;a; b\n SUBSYSTEM=pci\n", true, 700, time.Microsecond, true, "a; b"},
		{"12,701,2,-;systemd[1]: said by a program\n", true, 701, 2 * time.Microsecond, false, "systemd[1]: said by a program"},
		{"", false, 0, 0, false, ""},
		{"6,339;x", false, 0, 0, false, ""},
		{"x,1,2,-;y", false, 0, 0, false, ""},
		{"6,1,2,-", false, 0, 0, false, ""},
		{"6,x,2,-;y", false, 0, 0, false, ""},
		{"6,1,x,-;y", false, 0, 0, false, ""},
	} {
		seq, r, ok := parseKmsg([]byte(tc.raw))
		if ok != tc.ok || seq != tc.seq || r.Boot != tc.boot || r.Kernel != tc.kernel || string(r.Message) != tc.text {
			t.Errorf("%q: %d %+v %v", tc.raw, seq, r, ok)
		}
	}
}

func FuzzParseKmsg(f *testing.F) {
	f.Add([]byte("6,339,5140900,-;NET: Registered\n SUBSYSTEM=pci\n"))
	f.Fuzz(func(_ *testing.T, raw []byte) { parseKmsg(raw) })
}

// TestKmsgGoesOn after the record that was read last, and counts what was overwritten
// since. A pipe of packets stands for the device: each read gets one record.
func TestKmsgGoesOn(t *testing.T) {
	for _, tc := range []struct {
		after, lost, last uint64
		want              []string
	}{
		{0, 2, 9, []string{"four", "five", "six", "nine"}},
		{5, 2, 9, []string{"six", "nine"}},
		{2, 3, 9, []string{"four", "five", "six", "nine"}},
		{9, 0, 9, nil},
	} {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_DIRECT|unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		r, w := os.NewFile(uintptr(p[0]), "r"), os.NewFile(uintptr(p[1]), "w")
		defer func() { _ = errors.Join(r.Close(), w.Close()) }()
		k, err := OpenKmsg(fmt.Sprintf("/proc/self/fd/%d", p[0]), tc.after)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		if k.Last() != tc.after {
			t.Errorf("after %d: the last was %d before the first read", tc.after, k.Last())
		}
		for _, record := range []string{"6,4,1,-;four", "6,5,1,-;five", "no record", "6,6,1,-;six", "6,9,1,-;nine"} {
			if _, err := w.WriteString(record); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		if err := k.Poll(func(r *Record) { got = append(got, string(r.Message)) }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, tc.want) || k.Lost != tc.lost || k.Last() != tc.last {
			t.Errorf("after %d: %q, %d lost, the last is %d", tc.after, got, k.Lost, k.Last())
		}
	}
	if _, err := OpenKmsg(filepath.Join(t.TempDir(), "none"), 0); err == nil {
		t.Error("a device that is not there was opened")
	}
}

// TestKmsgReal reads this machine's own kernel log, and goes on where it stopped.
func TestKmsgReal(t *testing.T) {
	k, err := OpenKmsg("/dev/kmsg", 0)
	if err != nil {
		t.Skipf("SKIPPED: the kernel log cannot be read here: %v", err)
	}
	defer k.Close()
	var all int
	if err := k.Poll(func(*Record) { all++ }); err != nil {
		t.Fatal(err)
	}
	if all == 0 {
		t.Skip("SKIPPED: the kernel log is empty")
	}
	again, err := OpenKmsg("/dev/kmsg", k.Last())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	w, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("SKIPPED: the kernel log cannot be written here: %v", err)
	}
	// A line without its end is not shown before the next one.
	if _, err := w.WriteString("nodevitals test: a line\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var fresh []string
	if err := again.Poll(func(r *Record) { fresh = append(fresh, string(r.Message)) }); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, m := range fresh {
		found = found || m == "nodevitals test: a line"
	}
	// The kernel lets programs write ten lines in five seconds, and drops the rest
	// without a word (printk_devkmsg=ratelimit).
	if !found && len(fresh) > 0 || len(fresh) >= all {
		t.Errorf("%d of %d records again: %q", len(fresh), all, fresh)
	}
}
