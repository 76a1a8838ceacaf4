package probes

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/unprivileged"
)

// fakeProcess is a process of a fixture tree.
type fakeProcess struct {
	pid, ppid int
	comm      string
	uid       int
	instances []fakeInstance
}

type fakeInstance struct {
	watches int
	files   string // what it watches: two with the same text may be one instance
}

// inotifyTree makes a host with these processes and limits.
func inotifyTree(t *testing.T, instances, watches int, processes ...fakeProcess) *Node {
	t.Helper()
	files := map[string]string{
		"/proc/sys/fs/inotify/max_user_instances": fmt.Sprintln(instances),
		"/proc/sys/fs/inotify/max_user_watches":   fmt.Sprintln(watches),
	}
	n := tree(t, files)
	for _, p := range processes {
		dir := fmt.Sprintf("/proc/%d", p.pid)
		writeFile(t, n.Host.Root(), dir+"/stat", statLine(p.pid, p.ppid, p.comm))
		writeFile(t, n.Host.Root(), dir+"/status", fmt.Sprintf("Name:\t%s\nPPid:\t%d\nUid:\t7\t%d\t8\t9\n", p.comm, p.ppid, p.uid))
		writeFile(t, n.Host.Root(), dir+"/comm", p.comm+"\n")
		link(t, n, dir+"/fd/0", "/dev/null")
		link(t, n, dir+"/fd/1", "anon_inode:[eventpoll]")
		for i, in := range p.instances {
			link(t, n, fmt.Sprintf("%s/fd/%d", dir, i+3), inotifyLink)
			writeFile(t, n.Host.Root(), fmt.Sprintf("%s/fdinfo/%d", dir, i+3), fdinfo(in))
		}
	}
	return n
}

// statLine is the /proc/PID/stat of a sleeping process.
func statLine(pid, ppid int, comm string) string {
	return fmt.Sprintf("%d (%s) S %d 1 1 0 -1 4194560 %s20 0 1 0 100%s\n",
		pid, comm, ppid, strings.Repeat("0 ", 8), strings.Repeat(" 0", 30))
}

func fdinfo(in fakeInstance) string {
	s := "pos:\t0\nflags:\t02000000\nmnt_id:\t15\nino:\t1057\n"
	for wd := range in.watches {
		s += fmt.Sprintf("inotify wd:%x ino:%s sdev:800001 mask:fc6 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:%s\n", wd+1, in.files, in.files)
	}
	return s
}

func link(t *testing.T, n *Node, path, target string) {
	t.Helper()
	full := n.Host.Path(path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, full); err != nil {
		t.Fatal(err)
	}
}

// many makes n instances, each of files of its own.
func many(n, watches int) []fakeInstance {
	all := make([]fakeInstance, n)
	for i := range all {
		all[i] = fakeInstance{watches, fmt.Sprintf("%04x", i)}
	}
	return all
}

// inotifyProbe is a probe whose canary says what the test wants.
func inotifyProbe(c inotifyCanary) *Inotify {
	p := NewInotify()
	p.canary = func(string) inotifyCanary { return c }
	return p
}

func TestInotify(t *testing.T) {
	for _, tc := range []struct {
		name               string
		processes          []fakeProcess
		canary             inotifyCanary
		instances, watches problem.Severity // of uid 0
		refused            problem.Severity
	}{
		{"healthy", []fakeProcess{{pid: 5, comm: "kubelet", instances: many(10, 3)}}, inotifyCanary{}, 0, 0, 0},
		{"instances warning", []fakeProcess{{pid: 5, comm: "kubelet", instances: many(80, 0)}}, inotifyCanary{}, problem.Warning, 0, 0},
		{"instances critical", []fakeProcess{{pid: 5, comm: "a", instances: many(50, 0)}, {pid: 6, comm: "b", instances: many(45, 1)}}, inotifyCanary{}, problem.Critical, 0, 0},
		{"watches critical", []fakeProcess{{pid: 5, comm: "tail", instances: many(5, 200)}}, inotifyCanary{}, 0, problem.Critical, 0},
		{"watches refused", []fakeProcess{{pid: 5, comm: "tail", instances: many(5, 200)}}, inotifyCanary{noWatch: true}, 0, problem.Critical, problem.Critical},
		{"instances refused, but few are in sight", []fakeProcess{{pid: 5, comm: "tail", instances: many(5, 1)}}, inotifyCanary{noInstance: true}, problem.Critical, 0, problem.Critical},
		{"refused, and none is in sight", nil, inotifyCanary{noInstance: true}, problem.Critical, 0, problem.Critical},
		{
			"look-alike: another user has many",
			[]fakeProcess{{pid: 5, comm: "a", uid: 1000, instances: many(60, 1)}, {pid: 6, comm: "b", instances: many(30, 1)}},
			inotifyCanary{},
			0, 0, 0,
		},
		{
			"look-alike: forked workers that inherited their parent's",
			[]fakeProcess{
				{pid: 5, ppid: 1, comm: "main", instances: many(30, 3)},
				{pid: 6, ppid: 5, comm: "worker", instances: many(30, 3)},
				{pid: 7, ppid: 5, comm: "worker", instances: many(30, 3)},
				{pid: 8, ppid: 7, comm: "helper", instances: many(30, 3)},
			},
			inotifyCanary{},
			0, 0, 0,
		},
		{
			"strangers with the same watches have instances of their own",
			[]fakeProcess{
				{pid: 5, ppid: 1, comm: "a", instances: many(30, 3)},
				{pid: 6, ppid: 1, comm: "b", instances: many(30, 3)},
				{pid: 7, ppid: 1, comm: "c", instances: many(30, 3)},
			},
			inotifyCanary{},
			problem.Warning, 0, 0,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := inotifyTree(t, 100, 1000, tc.processes...)
			r, err := inotifyProbe(tc.canary).Run(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			in := checkSeverity(t, r, problem.InotifyInstancesNearLimit, "uid 0", tc.instances)
			wa := checkSeverity(t, r, problem.InotifyWatchesNearLimit, "uid 0", tc.watches)
			re := checkSeverity(t, r, problem.InotifyRefused, "", tc.refused)
			if in.Refused != tc.canary.noInstance || wa.Refused != tc.canary.noWatch || re.Refused != tc.canary.refused() {
				t.Errorf("refused: instances %t, watches %t, calls %t", in.Refused, wa.Refused, re.Refused)
			}
			if tc.refused != 0 && !problem.AnyReaches(append(in.Touches, wa.Touches...), re.Touches) {
				t.Errorf("nothing ties the refusal to the limit: %v, %v, %v", in.Touches, wa.Touches, re.Touches)
			}
		})
	}
}

func TestInotifyHolders(t *testing.T) {
	n := inotifyTree(t, 100, 100000,
		fakeProcess{pid: 5, comm: "kubelet", instances: many(9, 1)},
		fakeProcess{pid: 70, comm: "java app)", instances: many(40, 2)},
		fakeProcess{pid: 71, comm: "java app)", instances: many(41, 2)})
	r, err := inotifyProbe(inotifyCanary{}).Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	v := checkSeverity(t, r, problem.InotifyInstancesNearLimit, "uid 0", problem.Warning)
	if len(v.Holders) != 2 || v.Holders[0].Process != "java app)" || v.Holders[0].Amount != 81 || v.Holders[1].PID != 5 {
		t.Errorf("holders %+v", v.Holders)
	}
	if want := "90 % (90 of 100 instances)"; !strings.Contains(v.Message, want) {
		t.Errorf("message %q does not have %q", v.Message, want)
	}
}

// TestInotifySchedule: a full count is made at first, again when the canary is
// refused, and else only every five minutes; meanwhile the last one stands.
func TestInotifySchedule(t *testing.T) {
	n := inotifyTree(t, 100, 1000, fakeProcess{pid: 5, comm: "a", instances: many(10, 1)})
	clock := &testClock{boot: time.Hour}
	n.Host.Clock = clock
	canary := inotifyCanary{}
	p := NewInotify()
	p.canary = func(string) inotifyCanary { return canary }
	look := func(after time.Duration) problem.Result {
		t.Helper()
		clock.boot += after
		r, err := p.Run(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	counted := func(r problem.Result) float64 { return r.Measurements[0].Used }

	if got := counted(look(0)); got != 10 {
		t.Fatalf("first count: %v", got)
	}
	for fd := 100; fd < 190; fd++ {
		link(t, n, fmt.Sprintf("/proc/5/fd/%d", fd), inotifyLink)
		writeFile(t, n.Host.Root(), fmt.Sprintf("/proc/5/fdinfo/%d", fd), "pos:\t0\n")
	}
	if got := counted(look(4 * time.Minute)); got != 10 {
		t.Errorf("counted again too early: %v", got)
	}
	canary.noInstance = true
	r := look(15 * time.Second)
	checkSeverity(t, r, problem.InotifyInstancesNearLimit, "uid 0", problem.Critical)
	if got := counted(r); got != 100 {
		t.Errorf("not counted when the canary was refused: %v", got)
	}
	canary.noInstance = false
	r = look(15 * time.Second)
	checkSeverity(t, r, problem.InotifyRefused, "", 0)
	checkSeverity(t, r, problem.InotifyInstancesNearLimit, "uid 0", problem.Critical) // by the last count
	if err := os.RemoveAll(n.Host.Path("/proc/5")); err != nil {
		t.Fatal(err)
	}
	checkSeverity(t, look(time.Minute), problem.InotifyInstancesNearLimit, "uid 0", 0)
}

func TestJudgeCanary(t *testing.T) {
	for _, tc := range []struct {
		name   string
		canary inotifyCanary
		want   problem.State // 0: nothing is said
	}{
		{"root, fine", inotifyCanary{}, 0},
		{"another user, fine: says nothing of root", inotifyCanary{uid: 65534}, problem.Unknown},
		{"another user, refused", inotifyCanary{uid: 65534, noWatch: true}, problem.Wrong},
		{"look-alike: RLIMIT_NOFILE", inotifyCanary{err: errors.New("no descriptor left")}, problem.Unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			verdicts := judgeCanary(tc.canary, inotifyLimits{128, 1000})
			if tc.want == 0 {
				if len(verdicts) != 0 {
					t.Errorf("verdicts %+v", verdicts)
				}
				return
			}
			checkState(t, problem.Result{Verdicts: verdicts}, problem.InotifyRefused, "", tc.want)
		})
	}
}

// TestTryInotifyOutOfDescriptors: EMFILE of RLIMIT_NOFILE is not inotify's.
func TestTryInotifyOutOfDescriptors(t *testing.T) {
	dir := t.TempDir()
	if c := tryInotify(dir); c.err != nil || c.refused() {
		t.Skipf("inotify cannot be used here at all: %+v", c)
	}
	var saved unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &saved); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &saved); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: saved.Max}); err != nil {
		t.Fatal(err)
	}
	if c := tryInotify(dir); c.refused() || c.err == nil || !strings.Contains(c.err.Error(), "RLIMIT_NOFILE") {
		t.Errorf("with RLIMIT_NOFILE 0: %+v", c)
	}
}

func TestInotifyNotRoot(t *testing.T) {
	unprivileged.Test(t)
	n := inotifyTree(t, 100, 1000,
		fakeProcess{pid: 5, comm: "a", instances: many(1, 1)}, fakeProcess{pid: 6, comm: "b"}, fakeProcess{pid: 7, comm: "c"})
	for _, pid := range []string{"5", "6", "7"} {
		if err := os.Chmod(n.Host.Path("/proc/"+pid+"/fd"), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(n.Host.Path("/proc/"+pid+"/fd"), 0o700) }) // else it cannot be removed
	}
	r, err := inotifyProbe(inotifyCanary{}).Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, r, problem.InotifyInstancesNearLimit, "", problem.Unknown)
	if len(r.Measurements) != 0 {
		t.Errorf("measured what it could not see: %+v", r.Measurements)
	}
}

// TestEvaluateInotifyUnseen: a count that gave up tells nothing of the kinds,
// but the canary does.
func TestEvaluateInotifyUnseen(t *testing.T) {
	th, limits := NewInotify().Thresholds, inotifyLimits{100, 1000}
	blind := inotifyCount{unseen: mostUnseen, stopped: true, why: "no CAP_SYS_PTRACE"}
	r := evaluateInotify(blind, inotifyCanary{}, limits, th)
	checkState(t, r, problem.InotifyInstancesNearLimit, "", problem.Unknown)
	checkState(t, r, problem.InotifyWatchesNearLimit, "", problem.Unknown)
	if len(r.Measurements) != 0 {
		t.Errorf("measured what it could not see: %+v", r.Measurements)
	}
	r = evaluateInotify(blind, inotifyCanary{noInstance: true}, limits, th)
	if v := checkSeverity(t, r, problem.InotifyInstancesNearLimit, "uid 0", problem.Critical); !v.Refused {
		t.Error("the canary was refused, but not the limit")
	}

	nearly := inotifyCount{unseen: 1, users: map[uint32]*inotifyUse{0: {instances: 50}}}
	if r = evaluateInotify(nearly, inotifyCanary{}, limits, th); len(r.Verdicts) != 0 || r.Measurements[0].Used != 50 {
		t.Errorf("one process that guards itself spoils the count: %+v", r)
	}
	// The canary is charged to root, and says nothing of others.
	guarded := inotifyCount{unseen: 2, users: nearly.users, guarded: map[uint32]string{0: "refused", 1000: "refused"}}
	r = evaluateInotify(guarded, inotifyCanary{}, limits, th)
	checkState(t, r, problem.InotifyInstancesNearLimit, "uid 1000", problem.Unknown)
	checkState(t, r, problem.InotifyWatchesNearLimit, "uid 1000", problem.Unknown)
	if len(r.Verdicts) != 2 {
		t.Errorf("verdicts %+v", r.Verdicts)
	}
}

func TestDedupeByKernel(t *testing.T) {
	// Instances without watches, told apart by the kernel alone: three open files.
	file := map[int]int{10: 1, 11: 1, 12: 2, 13: 3, 14: 1}
	var handles []inotifyHandle
	for pid := range file {
		handles = append(handles, inotifyHandle{pid: pid, fd: 3})
	}
	got := dedupe(handles, func(a, b inotifyHandle) int { return file[a.pid] - file[b.pid] })
	var pids []int
	for _, h := range got {
		pids = append(pids, h.pid)
	}
	if !slices.Equal(pids, []int{10, 12, 13}) {
		t.Errorf("left of five descriptors: those of %v", pids)
	}
}

// TestCountInotifyOfThisProcess opens real instances, duplicates included.
func TestCountInotifyOfThisProcess(t *testing.T) {
	dir := t.TempDir()
	scan := func() []inotifyHandle {
		t.Helper()
		h := nodeAt(t, "/").Host
		s := inotifyScan{host: h, users: newUserNamespaces(h), seed: maphash.MakeSeed()}
		handles, err := s.process(t.Context(), os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		return handles
	}
	before := scan()
	open := func(watches int) int {
		t.Helper()
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			t.Skipf("no inotify instance to be had: %v", err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		for i := range watches {
			file := filepath.Join(dir, fmt.Sprint(i))
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.InotifyAddWatch(fd, file, unix.IN_MODIFY); err != nil {
				t.Skipf("no inotify watch to be had: %v", err)
			}
		}
		return fd
	}
	open(0)
	open(700) // more than one piece of fdinfo
	twice, err := unix.Dup(open(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(twice) })

	after := scan()
	if len(after) != len(before)+4 {
		t.Fatalf("%d descriptors, want 4 more than %d", len(after), len(before))
	}
	order, precision := fileOrder(nodeAt(t, "/").Host, after)
	if order == nil {
		t.Logf("kcmp is not to be had here: %s", precision)
	}
	was := tallyInotify(dedupe(before, order))[uint32(os.Geteuid())]
	is := tallyInotify(dedupe(after, order))[uint32(os.Geteuid())]
	if was == nil {
		was = &inotifyUse{}
	}
	if is.instances != was.instances+3 || is.watches != was.watches+702 {
		t.Errorf("%d instances with %d watches, want 3 and 702 more than %d and %d", is.instances, is.watches, was.instances, was.watches)
	}
}

func TestCountInotifyHonoursContext(t *testing.T) {
	n := inotifyTree(t, 100, 1000, fakeProcess{pid: 5, comm: "a"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := inotifyProbe(inotifyCanary{}).Run(ctx, n); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestInotifyGarbled(t *testing.T) {
	n := inotifyTree(t, 100, 1000, fakeProcess{pid: 5, comm: "a", instances: many(1, 1)})
	writeFile(t, n.Host.Root(), "/proc/5/status", "Uid:\t0\n")
	if _, err := inotifyProbe(inotifyCanary{}).Run(t.Context(), n); err == nil || !strings.Contains(err.Error(), "/proc/5/status") {
		t.Errorf("error %v does not name the file", err)
	}
	writeFile(t, n.Host.Root(), "/proc/sys/fs/inotify/max_user_watches", "lots")
	if _, err := inotifyProbe(inotifyCanary{}).Run(t.Context(), n); err == nil || !strings.Contains(err.Error(), "max_user_watches") {
		t.Errorf("error %v does not name the file", err)
	}
}

func TestInotifyLimitOfUserNamespace(t *testing.T) {
	n := inotifyTree(t, 100, 1000)
	writeFile(t, n.Host.Root(), "/proc/sys/user/max_inotify_instances", "7\n")
	writeFile(t, n.Host.Root(), "/proc/sys/user/max_inotify_watches", "2147483647\n")
	l, err := readInotifyLimits(n.Host)
	if want := (inotifyLimits{7, 1000}); err != nil || l != want {
		t.Errorf("%+v, %v, want %+v", l, err, want)
	}
}

func FuzzWatchCounter(f *testing.F) {
	f.Add([]byte(fdinfo(fakeInstance{3, "ab"})), 7)
	f.Add([]byte("inotify wd:1\ninotify "), 1)
	seed := maphash.MakeSeed()
	f.Fuzz(func(t *testing.T, raw []byte, piece int) {
		whole, parts := newWatchCounter(seed), newWatchCounter(seed)
		whole.add(raw)
		for rest := raw; len(rest) > 0; {
			n := min(max(piece, 1), len(rest))
			parts.add(rest[:n])
			rest = rest[n:]
		}
		if len(raw) < 4096 && (whole.count != parts.count || whole.hash.Sum64() != parts.hash.Sum64()) {
			t.Fatalf("%q: %d watches, in pieces of %d bytes %d", raw, whole.count, piece, parts.count)
		}
	})
}
