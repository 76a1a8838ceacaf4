package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

func open(t *testing.T, root string) *host.Host {
	t.Helper()
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// after is fields 3 to 52 of a stat line with 7 threads, started at tick 2345.
const after = " S 1 707 707 0 -1 4194560 4210 0 3 0 11 22 0 0 20 0 7 0 2345 1268776960 4096 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 99 0 0 0 0 0 0 0 0 0 0\n"

func TestParseStat(t *testing.T) {
	for comm, shown := range map[string]string{
		"worker": "worker", "a b": "a b", "x) R 2 (y": "x) R 2 (y", "": "", "a\nb": "a?b", "\xff(": "?(", "ü": "?",
	} {
		p, err := ParseStat([]byte("707 (" + comm + ")" + after))
		want := Process{PID: 707, PPID: 1, State: 'S', Comm: shown, Threads: 7, StartTime: 2345}
		if err != nil || p != want {
			t.Errorf("%q: %+v, %v; want %+v", comm, p, err, want)
		}
	}
	if p, err := ParseStat([]byte("2 (kthreadd)" + strings.Replace(after, "4194560", "2129984", 1))); err != nil || !p.Kthread {
		t.Errorf("a kernel thread: %+v, %v", p, err)
	}
	for _, bad := range []string{"", "1", "1 (x", "1 )x(" + after, "x (x)" + after, "-1 (x)" + after, "1 (x) S 1 2\n", "1 (x)" + strings.Replace(after, " 7 ", " seven ", 1), "1 (x)" + strings.Replace(after, "S", "SS", 1)} {
		if p, err := ParseStat([]byte(bad)); err == nil || p != (Process{}) {
			t.Errorf("%q: %+v, %v; want an error", bad, p, err)
		}
	}
}

func TestWalk(t *testing.T) {
	root := fixtures.Node(t, "pids-limit-k6.12")
	h := open(t, root)
	// A process that ended between the listing and the reading.
	if err := os.Mkdir(filepath.Join(root, "proc", "99999"), 0o755); err != nil {
		t.Fatal(err)
	}
	n, last, forkers := 0, 0, 0
	err := Walk(t.Context(), h, func(p Process) error {
		if n++; p.PID <= last || p.Threads == 0 {
			t.Errorf("%+v after pid %d", p, last)
		}
		last = p.PID
		if p.Comm == "forker" {
			forkers++
		}
		return nil
	})
	if err != nil || n < 80 {
		t.Errorf("%d processes, %v", n, err)
	}
	kubelets, err := Find(t.Context(), h, "kubelet", "containerd")
	if err != nil || len(kubelets) != 2 || kubelets[0].Comm != "containerd" || kubelets[1].PID != 435 {
		t.Errorf("Find = %+v, %v", kubelets, err)
	}
	// The kernel keeps 15 bytes of a name.
	if shims, err := Find(t.Context(), h, "containerd-shim-runc-v2"); err != nil || len(shims) == 0 {
		t.Errorf("Find = %+v, %v", shims, err)
	}

	// One malformed file is named and the rest is still visited.
	if err := os.WriteFile(filepath.Join(root, "proc", "1", "stat"), []byte("1 (systemd"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := 0
	err = Walk(t.Context(), h, func(Process) error { again++; return nil })
	if err == nil || !strings.Contains(err.Error(), "/proc/1/stat") || again != n-1 {
		t.Errorf("%d of %d processes and %v", again, n, err)
	}

	// Without process 1, others are hidden as well (hidepid).
	if err := os.RemoveAll(filepath.Join(root, "proc", "1")); err != nil {
		t.Fatal(err)
	}
	again = 0
	err = Walk(t.Context(), h, func(Process) error { again++; return nil })
	if !errors.Is(err, ErrHidden) || again != n-1 {
		t.Errorf("%d of %d processes and %v", again, n, err)
	}

	stop := errors.New("stop")
	if err := Walk(t.Context(), h, func(Process) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("visit's error became %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Walk(ctx, h, func(Process) error { t.Error("visited"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestReadStatus(t *testing.T) {
	h := open(t, fixtures.Node(t, "hung-fuse-D-k6.12"))
	for pid, want := range map[int]struct {
		state byte
		kill  bool
	}{3510: {'S', false}, 3526: {'D', true}} {
		p, err := Stat(h, pid)
		s, serr := ReadStatus(h, pid)
		if err != nil || serr != nil || p.State != want.state || s.SigKill != want.kill || s.Threads != p.Threads {
			t.Errorf("pid %d: %+v %v, %+v %v", pid, p, err, s, serr)
		}
	}
	s, err := ReadStatus(h, 1)
	if err != nil || s.UID != 0 || s.CapEff>>21&1 != 1 || s.RSSAnon == 0 || s.RSSFile%1024 != 0 || s.Voluntary == 0 {
		t.Errorf("status of pid 1: %+v, %v", s, err)
	}
	if _, err := ReadStatus(h, 4000000); !errors.Is(err, ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
	if s, err := ParseStatus([]byte("Threads:\t1\n")); err == nil {
		t.Errorf("taken for root's: %+v", s)
	}
	l, err := ReadLimits(h, 1)
	if want := (Limit{Soft: 1048576, Hard: 1048576}); err != nil || l.OpenFiles.Soft == 0 || l.OpenFiles.Hard > want.Hard || l.Processes.Soft == 0 {
		t.Errorf("limits of pid 1: %+v, %v", l, err)
	}
}

func TestParseLimits(t *testing.T) {
	table := "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max processes             7837                 unlimited            processes \n" +
		"Max open files            0                    524288               files     \n"
	want := Limits{Processes: Limit{7837, Unlimited}, OpenFiles: Limit{0, 524288}}
	if l, err := ParseLimits([]byte(table)); err != nil || l != want {
		t.Errorf("%+v, %v; want %+v", l, err, want)
	}
	for _, bad := range []string{"", table[:200], strings.Replace(table, "7837", "many", 1), "Max processes 1\nMax open files 1\n"} {
		if l, err := ParseLimits([]byte(bad)); err == nil {
			t.Errorf("%q: %+v, want an error", bad, l)
		}
	}
}

// A folder of files stands in for the descriptors on kernels before 6.2.
func TestFDCountByListing(t *testing.T) {
	root := t.TempDir()
	for _, f := range []string{"loadavg", "7/fd/0", "7/fd/1", "7/fd/30"} {
		p := filepath.Join(root, "proc", f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := open(t, root)
	if n, err := FDCount(h, 7); err != nil || n != 3 {
		t.Errorf("FDCount = %d, %v", n, err)
	}
	if _, err := FDCount(h, 8); !errors.Is(err, ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
}

// What the kernel says of ourselves.
func TestReal(t *testing.T) {
	h := open(t, "/")
	self := os.Getpid()
	p, err := Stat(h, self)
	if err != nil || p.PID != self || p.PPID != os.Getppid() || p.Threads < 1 || p.Kthread || p.StartTime == 0 {
		t.Errorf("%+v, %v", p, err)
	}
	comm, err := h.ReadString("/proc/self/comm")
	if err != nil || p.Comm != comm {
		t.Errorf("comm %q, want %q (%v)", p.Comm, comm, err)
	}
	s, err := ReadStatus(h, self)
	if err != nil || int(s.UID) != os.Getuid() || s.RSSAnon == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		t.Fatal(err)
	}
	if l, err := ReadLimits(h, self); err != nil || l.OpenFiles.Hard != r.Max {
		t.Errorf("%+v, %v; want a hard limit of %d", l, err, r.Max)
	}
	seen := false
	err = Walk(t.Context(), h, func(p Process) error { seen = seen || p.PID == self; return nil })
	if err != nil || !seen {
		t.Errorf("the walk saw us: %v, %v", seen, err)
	}
}

func TestRealFDCount(t *testing.T) {
	h := open(t, "/")
	before, err := FDCount(h, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	names, err := h.ReadDirNames(path(os.Getpid(), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	// The listing has its own descriptor in it.
	if before != len(names)-1 && before != len(names) {
		t.Errorf("FDCount = %d, the listing has %d", before, len(names))
	}
	for range 10 {
		f, err := os.Open("/proc/self/stat")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
	}
	if after, err := FDCount(h, os.Getpid()); err != nil || after < before+10 {
		t.Errorf("FDCount = %d after 10 more than %d, %v", after, before, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("707 (worker)" + after))
	f.Add([]byte("1 (a) S 1 (\n)" + after))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseStat(b)
		if err != nil {
			if p != (Process{}) {
				t.Fatalf("%+v with %v", p, err)
			}
			return
		}
		if p.PID < 0 || p.PPID < 0 || p.Threads < 0 || strings.ContainsAny(p.Comm, "\n\x00\x1b") {
			t.Fatalf("%+v from %q", p, b)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("Name:\tx\nUid:\t0\t0\t0\t0\nThreads:\t3\nNSpid:\t10\t1\nCapEff:\t00000000a80425fb\nRssAnon:\t 12 kB\nSigPnd:\t0000000000000100\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseStatus(b); err == nil && s.Threads < 0 {
			t.Fatalf("%+v from %q", s, b)
		}
	})
}

func FuzzParseLimits(f *testing.F) {
	f.Add([]byte("Max processes             7837                 unlimited            processes \nMax open files            0                    524288               files     \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := ParseLimits(b); err != nil && l != (Limits{}) {
			t.Fatalf("%+v with %v", l, err)
		}
	})
}

func BenchmarkWalk(b *testing.B) {
	h, err := host.New("/")
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n = 0
		if err := Walk(b.Context(), h, func(Process) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/process")
	b.Log(strconv.Itoa(n) + " processes")
}
