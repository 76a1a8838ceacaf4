package main

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/journald"
)

// needRoot skips what only root can make.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not tested: only root can make this")
	}
}

// mountsBelow counts the mounts below a folder.
func mountsBelow(t *testing.T, dir string) int {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(table), " "+dir+"/")
}

// The volumes are mounted, and afterwards are not.
func TestVolumesAreUnmounted(t *testing.T) {
	needRoot(t)
	const name = "nodevitals-bench-test"
	t.Cleanup(func() { _ = unmountVolumes(name) })
	err := mountVolumes(within(t, time.Minute), name, 3)
	if errors.Is(err, unix.EPERM) {
		t.Skipf("not tested: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := mountsBelow(t, mountDir(name)); n != 3*volumesOfPod {
		t.Errorf("%d mounts, want %d", n, 3*volumesOfPod)
	}
	for range 2 { // the second time there is nothing
		if err := unmountVolumes(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(mountDir(name)); !errors.Is(err, os.ErrNotExist) || mountsBelow(t, mountDir(name)) != 0 {
		t.Errorf("%s is still there (%v)", mountDir(name), err)
	}
}

// What is logged on the busy node comes at its pace, whatever the machine does.
func TestChatter(t *testing.T) {
	runtime.LockOSThread() // journald dies with the thread that started it
	defer runtime.UnlockOSThread()
	c, err := startChatter(within(t, 2*time.Minute))
	if errors.Is(err, journald.ErrUnavailable) {
		t.Skipf("not tested: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	<-time.After(3 * portionEvery)
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	most := int((time.Since(begun) + time.Second).Seconds() * recordsPerSecond)
	if c.written == 0 || c.written > most {
		t.Errorf("%d records in %v", c.written, time.Since(begun))
	}
	if _, err := os.Stat(c.config); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its configuration is still there (%v)", err)
	}
}

// A peer is watched as the agent is, and its figures stand in the same order.
func TestPeerIsWatched(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var out bytes.Buffer
	o := options{agent: as(t, fakeAgent), peer: as(t, fakeAgent), seconds: 1}
	figures, err := benchDaemon(within(t, time.Minute), &out, ownHost(t), o, "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		if f.beside != peerName || f.other <= 0 || f.other > 1000*f.value {
			t.Errorf("%s is not compared: %+v", f.what, f)
		}
	}
	if !strings.Contains(out.String(), "\n"+peerName) {
		t.Errorf("its figures are not told in\n%s", out.String())
	}
}

// A refused fork is seen by the real agent.
func TestFaultIsTimed(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	agent := build.Agent(t)
	var out bytes.Buffer
	figures, err := benchFault(within(t, 5*time.Minute), &out, ownHost(t), agent, 1)
	if err != nil {
		t.Fatal(err)
	}
	if figures == nil {
		t.Skip("not tested: no cgroups can be made here")
	}
	if len(figures) != 2 || figures[0].value <= 0 || figures[1].value < figures[0].value || !strings.Contains(out.String(), "refused fork") {
		t.Errorf("%v\n%s", figures, out.String())
	}
}
