package limits

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file makes real failures of memory cgroups: a leak of dying ones, empty
// ones, and kills at the limit of a pod and of all pods.

// laterClock is the machine's clock, put forward.
type laterClock struct {
	host.SystemClock
	by time.Duration
}

func (c *laterClock) Boot() time.Duration { return c.SystemClock.Boot() + c.by }

// memoryCgroup makes a cgroup of the memory controller below one of the test's
// own, and removes both when the test ends. It returns its path and its folder.
func memoryCgroup(t *testing.T, n *probes.Node, below string) (at, dir string) {
	t.Helper()
	needRoot(t)
	if n.Cgroups == nil || !n.Cgroups.Has(cgroup.ControllerMemory) {
		t.Skip("SKIPPED: this machine has no memory cgroup controller")
	}
	for e := range strings.SplitSeq(fmt.Sprintf("nodevitals-test-%d/%s", os.Getpid(), below), "/") {
		up := n.Cgroups.File(cgroup.ControllerMemory, at, "")
		at += "/" + e
		dir = n.Cgroups.File(cgroup.ControllerMemory, at, "")
		if n.Cgroups.Mode() == cgroup.V2 {
			if err := os.WriteFile(filepath.Join(up, "cgroup.subtree_control"), []byte("+memory"), 0o644); err != nil {
				t.Skipf("SKIPPED: the memory controller cannot be enabled here: %v", err)
			}
		}
		err := os.Mkdir(dir, 0o755)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			t.Skipf("SKIPPED: cannot make a memory cgroup here: %v", err)
		}
		made := dir
		t.Cleanup(func() {
			if err := os.Remove(made); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the cgroup of the test stays behind: %v", err)
			}
		})
	}
	return at, dir
}

// limitMemory sets a cgroup's limit, swap included, in bytes.
func limitMemory(t *testing.T, n *probes.Node, dir string, limit int) {
	t.Helper()
	value := strconv.Itoa(limit)
	if n.Cgroups.Mode() == cgroup.V2 {
		put(t, dir, "memory.max", value)
		// Absent without swap accounting.
		_ = os.WriteFile(filepath.Join(dir, "memory.swap.max"), []byte("0"), 0o644)
		return
	}
	put(t, dir, "memory.limit_in_bytes", value)
	_ = os.WriteFile(filepath.Join(dir, "memory.memsw.limit_in_bytes"), []byte(value), 0o644)
}

// eater is a helper that uses memory up, in a mount namespace of its own.
// Orders: "tmpfs DIR" mounts one there; "page FILE" writes a page; "unmount DIR";
// "eat BYTES" uses memory and does not return it.
func eater() {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fail(err)
	}
	var eaten [][]byte
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		var err error
		switch verb {
		case "tmpfs":
			err = unix.Mount("tmpfs", arg, "tmpfs", 0, "size=16m")
		case "page":
			err = os.WriteFile(arg, make([]byte, os.Getpagesize()), 0o600)
		case "unmount":
			err = unix.Unmount(arg, 0)
		case "eat":
			b := make([]byte, number(arg))
			for i := 0; i < len(b); i += os.Getpagesize() {
				b[i] = 1
			}
			eaten = append(eaten, b)
		}
		if err != nil {
			fail(fmt.Errorf("%s: %w", in.Text(), err))
		}
		fmt.Println("done", len(eaten))
	}
}

func startEater(t *testing.T) *helper {
	t.Helper()
	needRoot(t)
	h := start(t, "eater", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS})
	h.line()
	return h
}

// until runs the probe until it satisfies ok: the kernel frees cgroups in its own time.
func until(t *testing.T, p probes.Probe, n *probes.Node, ok func(problem.Result) bool) problem.Result {
	t.Helper()
	end := time.After(2 * time.Minute)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		r := look(t, p, n)
		if ok(r) {
			return r
		}
		select {
		case <-end:
			t.Fatalf("still after 2 min: %+v", r)
		case <-again.C:
		}
	}
}

// TestDyingCgroups: a service makes cgroups and removes them, and each leaves a
// page of a tmpfs behind, which keeps it in memory until the tmpfs is gone.
func TestDyingCgroups(t *testing.T) {
	const leaked = 200
	n := node(t)
	top, dir := memoryCgroup(t, n, "leaky.service")
	h := startEater(t)
	tmp := t.TempDir()
	h.say("tmpfs " + tmp)
	pid := strconv.Itoa(h.cmd.Process.Pid)
	home, err := os.ReadFile(fmt.Sprintf("/proc/%s/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the helper begins in %q", home)
	root := n.Cgroups.File(cgroup.ControllerMemory, "/", "")

	p := probes.NewCgroupLeak()
	before := int(measured(t, look(t, p, n), "cgroups_dying", "").Used)
	p.Thresholds.Dying = before + leaked*9/10 // others die meanwhile
	isWrong := func(r problem.Result) bool {
		for _, v := range r.Verdicts {
			if v.Kind == problem.CgroupLeak && v.State == problem.Wrong {
				return true
			}
		}
		return false
	}
	if r := look(t, p, n); isWrong(r) {
		t.Fatalf("before: %+v", r.Verdicts)
	}

	if n.Cgroups.Mode() == cgroup.V2 {
		put(t, dir, "cgroup.subtree_control", "+memory")
	}
	for i := range leaked {
		leaf := filepath.Join(dir, fmt.Sprint("job", i))
		if err := os.Mkdir(leaf, 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, leaf, "cgroup.procs", pid)
		h.say(fmt.Sprintf("page %s/%d", tmp, i))
		put(t, root, "cgroup.procs", pid)
		if err := os.Remove(leaf); err != nil {
			t.Fatal(err)
		}
	}
	r := look(t, p, n)
	if m := measured(t, r, "cgroups_dying", ""); m.Used < float64(before+leaked*9/10) {
		t.Errorf("%v are dying, want %d and the %d of before", m.Used, leaked, before)
	}
	subject := "dying cgroups" // v1 does not count them by cgroup
	if n.Cgroups.Mode() == cgroup.V2 {
		subject = n.Owners.OfCgroup(top).String()
	}
	if v := wrong(r, problem.CgroupLeak, subject); v == nil || v.Severity != problem.Warning || len(v.Evidence) == 0 {
		t.Errorf("no leak of %q: %+v", subject, r.Verdicts)
	}

	h.say("unmount " + tmp)
	// What the helper itself touched for the first time in a cgroup, most of all
	// under the race detector, is charged to it, too.
	h.end()
	until(t, p, n, func(r problem.Result) bool { return !isWrong(r) })
}

// TestEmptyCgroups: cgroups of a pod and its containers that nobody removed.
func TestEmptyCgroups(t *testing.T) {
	n := node(t)
	clock := &laterClock{}
	n.Host.Clock = clock
	p := probes.NewCgroupLeak()
	needRoot(t)
	const subject = "empty cgroups"
	before := measured(t, look(t, p, n), "cgroups_empty", "").Used
	pod := "kubepods/burstable/pod" + podUID + "/"
	memoryCgroup(t, n, pod+strings.Repeat("c0de", 16))
	_, dir := memoryCgroup(t, n, pod+strings.Repeat("beef", 16))
	p.Thresholds.Empty = int(before) + 3
	r := look(t, p, n)
	if m := measured(t, r, "cgroups_empty", ""); m.Used != before+3 {
		t.Fatalf("%v cgroups are empty, want 3 and the %v of before", m.Used, before)
	}
	silent(t, r, problem.CgroupLeak, subject)
	clock.by = time.Hour
	if v := wrong(look(t, p, n), problem.CgroupLeak, subject); v == nil || !strings.Contains(v.Message, "for 1h") {
		t.Fatalf("no leak after an hour: %+v", v)
	}
	h := startEater(t)
	put(t, dir, "cgroup.procs", strconv.Itoa(h.cmd.Process.Pid))
	r = look(t, p, n)
	silent(t, r, problem.CgroupLeak, subject)
	if m := measured(t, r, "cgroups_empty", ""); m.Used != before+1 {
		t.Errorf("%v cgroups are empty, want the other container's and the %v of before", m.Used, before)
	}
	h.end()
}

// TestOOMKills: a process that uses up the limit of its pod, or of all pods, is
// killed by the kernel: whose limit it was is told, for a while, and nobody else's.
func TestOOMKills(t *testing.T) {
	const limit = 48 << 20
	pod := "kubepods/burstable/pod" + podUID
	for _, tc := range []struct {
		name    string
		limited string // the cgroup with the limit
		kind    problem.Kind
		scope   problem.Scope
		gone    bool // the runtime removes the container before we look
	}{
		{"limit of the pod", pod, problem.ContainerOOM, problem.PodScope, false},
		{"limit of the container", pod + "/" + strings.Repeat("c0de", 16), problem.ContainerOOM, problem.PodScope, false},
		{"limit of the pod, whose container is gone at once", pod, problem.ContainerOOM, problem.PodScope, true},
		{"limit of a QoS class", "kubepods/burstable", problem.NodeAllocatableOOM, problem.NodeScope, false},
		{"limit of all pods", "kubepods", problem.NodeAllocatableOOM, problem.NodeScope, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := node(t)
			clock := &laterClock{}
			n.Host.Clock = clock
			_, container := memoryCgroup(t, n, pod+"/"+strings.Repeat("c0de", 16))
			at, dir := memoryCgroup(t, n, tc.limited)
			limitMemory(t, n, dir, limit)
			subject := n.Owners.OfCgroup(at).String()
			if tc.kind == problem.ContainerOOM {
				subject = "pod uid " + podUID
			}

			p := probes.NewOOM()
			before := measured(t, look(t, p, n), "oom_kills", "").Used
			h := startEater(t)
			put(t, container, "cgroup.procs", strconv.Itoa(h.cmd.Process.Pid))
			h.say("eat 1048576")
			allSilent(t, look(t, p, n))

			if _, err := fmt.Fprintf(h.Stdin, "eat %d\n", 4*limit); err != nil {
				t.Fatal(err)
			}
			if h.Out.Scan() {
				t.Fatalf("the helper was not killed: %s", h.Out.Text())
			}
			h.end()
			if status, ok := h.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != unix.SIGKILL {
				t.Fatalf("the helper ended otherwise: %v", h.cmd.ProcessState)
			}
			if tc.gone {
				if err := os.Remove(container); err != nil {
					t.Fatal(err)
				}
			}

			r := look(t, p, n)
			if m := measured(t, r, "oom_kills", ""); m.Used <= before {
				t.Errorf("%v kills, %v before", m.Used, before)
			}
			v := wrong(r, tc.kind, subject)
			if v == nil {
				t.Fatalf("no %s of %q: %+v", tc.kind, subject, r.Verdicts)
			}
			if v.Scope != tc.scope || !v.Refused || !strings.Contains(v.Message, "once") || len(v.Evidence) == 0 {
				t.Errorf("%+v", *v)
			}
			if strings.HasPrefix(tc.name, "limit of the pod") && !strings.Contains(v.Message, "48.0 MiB") {
				t.Errorf("%q does not name the limit", v.Message)
			}
			for _, other := range r.Verdicts {
				if other.State != problem.NotApplicable && (other.Kind != tc.kind || other.Subject != subject) {
					t.Errorf("besides: %+v", other)
				}
			}
			if again := wrong(look(t, p, n), tc.kind, subject); again == nil || again.Message != v.Message {
				t.Errorf("a moment later: %+v", again)
			}
			clock.by = 5 * time.Minute
			allSilent(t, look(t, p, n))
		})
	}
}

// TestMemoryProbesOnThisMachine: on a machine that is well, they find nothing
// wrong and measure something.
func TestMemoryProbesOnThisMachine(t *testing.T) {
	n := node(t)
	for _, p := range []probes.Probe{
		probes.NewCgroupLeak(), probes.NewFragmentation(), probes.NewOOM(), probes.NewKernelMemory(), probes.NewPressure(),
	} {
		for range 2 {
			r, err := p.Run(t.Context(), n)
			var missing *problem.NotApplicableError
			if errors.As(err, &missing) {
				t.Logf("%s: %v", p.Name(), err)
				break
			}
			if err != nil || r.Partial != "" {
				t.Errorf("%s: %v %s", p.Name(), err, r.Partial)
				continue
			}
			for _, v := range r.Verdicts {
				// How busy the machine is that runs the tests is not up to us.
				if v.State == problem.Wrong && p.Name() != "pressure" {
					t.Errorf("%s: %+v", p.Name(), v)
				}
			}
			if len(r.Measurements) == 0 {
				t.Errorf("%s measured nothing", p.Name())
			}
		}
	}
}
