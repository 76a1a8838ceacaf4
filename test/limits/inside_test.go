package limits

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file runs a probe in namespaces of its own, for limits that would else
// be the machine's: the helper that fills them up is "the node" there.

// inside is the loop of a helper in pid and mount namespaces of its own. The
// order "look" runs the probe and prints its result; the others are the helper's.
func inside(p probes.Probe, orders map[string]func(arg string) (string, error)) {
	insideRoot("/", func(string) probes.Probe { return p }, orders)
}

// insideRoot is inside for a host whose files are below root, with the new
// namespaces' /proc and /sys; "look NAME" runs the probe of that name.
func insideRoot(root string, probe func(name string) probes.Probe, orders map[string]func(arg string) (string, error)) {
	// The new /proc shows the new namespaces only.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fail(fmt.Errorf("private mounts: %w", err))
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		fail(fmt.Errorf("mount /proc: %w", err))
	}
	for _, kind := range []string{"proc", "sysfs"} {
		at := filepath.Join(root, strings.TrimSuffix(kind, "fs"))
		if root == "/" {
			break
		}
		if err := os.MkdirAll(at, 0o755); err != nil {
			fail(err)
		}
		if err := unix.Mount(kind, at, kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			fail(fmt.Errorf("mount %s: %w", at, err))
		}
	}
	h, err := host.New(root)
	if err != nil {
		fail(err)
	}
	obeyAll(probe, probes.NewNode(h), orders)
}

// obey is the loop of a helper that looks at the node it is on.
func obey(p probes.Probe, n *probes.Node, orders map[string]func(arg string) (string, error)) {
	obeyAll(func(string) probes.Probe { return p }, n, orders)
}

// obeyAll is obey with a choice of probes, "look NAME".
func obeyAll(probe func(name string) probes.Probe, n *probes.Node, orders map[string]func(arg string) (string, error)) {
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		answer, err := "", error(nil)
		if verb == "look" {
			answer, err = lookJSON(probe(arg), n)
		} else {
			answer, err = orders[verb](arg)
		}
		if err != nil {
			fail(fmt.Errorf("%s: %w", in.Text(), err))
		}
		fmt.Println(answer)
	}
}

func lookJSON(p probes.Probe, n *probes.Node) (string, error) {
	r, err := p.Run(context.Background(), n)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(r)
	return string(text), err
}

// startInside starts a helper that calls inside, in these namespaces, too.
func startInside(t *testing.T, name string, flags uintptr, env ...string) *helper {
	t.Helper()
	needRoot(t)
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	}
	h := start(t, name, attr, env...)
	h.line()
	return h
}

// lookInside has the helper run its probe, or the one of that name.
func lookInside(t *testing.T, h *helper, name ...string) problem.Result {
	t.Helper()
	var r problem.Result
	if answer := h.say(strings.Join(append([]string{"look"}, name...), " ")); json.Unmarshal([]byte(answer), &r) != nil {
		t.Fatalf("the helper's result: %q", answer)
	}
	return r
}

// allSilent fails the test if the probe says that anything is wrong.
func allSilent(t *testing.T, r problem.Result) {
	t.Helper()
	for _, v := range r.Verdicts {
		if v.State == problem.Wrong {
			t.Fatalf("%s %q is reported though nothing is wrong: %+v", v.Kind, v.Subject, v)
		}
	}
}

// measured is one vital sign of a result.
func measured(t *testing.T, r problem.Result, resource, subject string) problem.Measurement {
	t.Helper()
	for _, m := range r.Measurements {
		if m.Resource == resource && m.Subject == subject {
			return m
		}
	}
	t.Fatalf("%s %q is not measured: %+v", resource, subject, r.Measurements)
	return problem.Measurement{}
}

// number is the argument of a helper's order.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		fail(err)
	}
	return n
}
