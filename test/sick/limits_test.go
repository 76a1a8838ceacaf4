package sick

// This file: limits that are used up around the agent itself.

import (
	"fmt"
	"net"
	"net/http"
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
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/helper"
)

// newCgroup makes a cgroup of a controller, and removes it when the test ends.
func newCgroup(t *testing.T, c cgroup.Controller, name string) (at, dir string) {
	t.Helper()
	helper.NeedRoot(t)
	h, err := host.New("/")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := cgroup.Detect(h)
	if err != nil || !tree.Has(c) {
		t.Skipf("SKIPPED: this machine has no cgroup controller %s: %v", c, err)
	}
	for e := range strings.SplitSeq(fmt.Sprintf("nodevitals-sick-%d/%s", os.Getpid(), name), "/") {
		at += "/" + e
		dir = tree.File(c, at, "")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("SKIPPED: cannot make a cgroup here: %v", err)
		}
		made := dir
		t.Cleanup(func() { removeCgroup(t, made) })
	}
	return at, dir
}

// removeCgroup: the kernel lets go of the dead in its own time.
func removeCgroup(t *testing.T, dir string) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	err := os.Remove(dir)
	for ; err != nil && time.Now().Before(end); err = os.Remove(dir) {
		<-time.After(10 * time.Millisecond)
	}
	if err != nil {
		t.Errorf("the cgroup of the test stays behind: %v", err)
	}
}

// full sets a pids cgroup's limit to what it has.
func full(t *testing.T, dir string) {
	t.Helper()
	write(t, filepath.Join(dir, "pids.max"), readTrimmed(t, filepath.Join(dir, "pids.current")))
}

// TestFullPIDsCgroup: the agent's own cgroup has no room for one more thread.
func TestFullPIDsCgroup(t *testing.T) {
	at, dir := newCgroup(t, cgroup.ControllerPIDs, "pids")
	forker := helper.Start(t, "forker", nil)
	forker.Line()
	p := start(t, options{setup: "join=" + dir})
	write(t, filepath.Join(dir, "cgroup.procs"), strconv.Itoa(forker.Cmd.Process.Pid))
	full(t, dir)
	p.endure(func() {
		if said := forker.Say("fork"); !strings.Contains(said, syscall.EAGAIN.Error()) {
			t.Fatalf("a fork at the limit: %s", said)
		}
		refused := p.await(problem.ForkRefused, "cgroup "+at)
		if !strings.Contains(refused.Message, "pids.max reached in cgroup "+at) {
			t.Errorf("message %q", refused.Message)
		}
	})
	p.stops()
}

// TestFullPIDsCgroupAndStuckProbes: the same, with every probe of the agent stuck
// in a system call: that many threads it needs at most.
func TestFullPIDsCgroupAndStuckProbes(t *testing.T) {
	_, dir := newCgroup(t, cgroup.ControllerPIDs, "stuck")
	h := helper.Start(t, "stuck", nil, "JOIN="+dir)
	if said := h.Line(); said != "stuck" {
		t.Fatal(said)
	}
	full(t, dir)
	for range 20 {
		if said := h.Say("ask"); said != "200 200" {
			t.Fatalf("/metrics and /healthz: %s", said)
		}
	}
	if said := h.Say("end"); said != "ended" {
		t.Error(said)
	}
}

// TestFullMemoryCgroup: the agent's own cgroup is at its memory limit all the time,
// full of what a process in it reads; and in another pod somebody is killed.
func TestFullMemoryCgroup(t *testing.T) {
	// In pods, as the DaemonSet's are.
	const uid, other = "5382cf41-0000-4000-8000-00000000c0de", "5382cf41-0000-4000-8000-00000000beef"
	_, own := newCgroup(t, cgroup.ControllerMemory, "kubepods/burstable/pod"+uid)
	theirs := filepath.Join(filepath.Dir(own), "pod"+other)
	if err := os.Mkdir(theirs, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeCgroup(t, theirs) })
	const limit = 48 << 20
	for _, dir := range []string{own, theirs} {
		file := filepath.Join(dir, "memory.limit_in_bytes")
		if _, err := os.Stat(file); err != nil {
			file = filepath.Join(dir, "memory.max")
		}
		write(t, file, strconv.Itoa(limit))
	}
	p := start(t, options{setup: "join=" + own})
	if !strings.Contains(p.Log(), "memory is limited") || !strings.Contains(p.Log(), "limit="+strconv.Itoa(limit)) {
		t.Errorf("it does not say that its memory is limited: %s", p.Log())
	}
	file := filepath.Join(t.TempDir(), "sparse")
	write(t, file, "")
	if err := os.Truncate(file, 4*limit); err != nil {
		t.Fatal(err)
	}
	reader := helper.Start(t, "reader", nil, "JOIN="+own, "FILE="+file)
	reader.Line() // it has read all of it once
	refused := chargesRefused(t, own)
	p.endure(func() {
		g := helper.Start(t, "glutton", nil, "JOIN="+theirs)
		g.Line()
		for range 2 * limit >> 20 {
			if _, err := fmt.Fprintln(g.Stdin, 1<<20); err != nil || !g.Out.Scan() {
				break // killed, as it should be
			}
		}
		g.End()
		p.await(problem.ContainerOOM, "pod uid "+other)
	})
	if chargesRefused(t, own) == refused {
		t.Error("its cgroup was not at its limit")
	}
	p.stops()
}

// chargesRefused is how often a cgroup was at its memory limit.
func chargesRefused(t *testing.T, dir string) string {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(dir, "memory.failcnt")); err == nil {
		return string(b)
	}
	return readTrimmed(t, filepath.Join(dir, "memory.events"))
}

// TestNoDescriptors: the agent may open nothing more. What it holds open it goes
// on with, what it cannot open it cannot tell; and all is well when it may again.
func TestNoDescriptors(t *testing.T) {
	helper.NeedRoot(t)
	p := start(t, options{})
	// One connection, and that is kept, as Prometheus keeps it.
	p.Client.Transport = &http.Transport{MaxConnsPerHost: 1}
	if _, _, err := p.Ask("/metrics"); err != nil {
		t.Fatal(err)
	}
	pid := p.Cmd.Process.Pid
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}, nil); err != nil {
		t.Fatal(err)
	}
	p.endure(func() {
		if why := p.awaitUnknown(problem.ForkRefused); !strings.Contains(why, "too many open files") {
			t.Errorf("reason %q", why)
		}
	})
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil); err != nil {
		t.Fatal(err)
	}
	p.Await("all is well again", func(s problem.Snapshot) bool {
		for _, k := range s.Kinds {
			if k.Kind == problem.ForkRefused {
				return k.State == problem.Fine
			}
		}
		return false
	})
	p.stops()
}

// TestFewDescriptors: of the few descriptors that the agent may have, a client
// that opens connections and says nothing leaves enough for everybody else.
func TestFewDescriptors(t *testing.T) {
	p := start(t, options{setup: "nofile=48"})
	for range 200 {
		c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	p.endure(nil)
	for _, s := range p.Snapshot().Probes {
		if strings.Contains(s.Reason, "too many open files") {
			t.Errorf("probe %s: %s", s.Probe, s.Reason)
		}
	}
	p.stops()
}

// TestNoInotify: whoever runs the agent may have no inotify instance any more.
func TestNoInotify(t *testing.T) {
	helper.NeedRoot(t)
	p := start(t, options{
		setup: "private proc= put=/proc/sys/user/max_inotify_instances=0",
		flags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS,
	})
	p.endure(func() { p.await(problem.InotifyRefused, "") })
	p.stops()
}
