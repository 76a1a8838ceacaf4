package limits

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// The limits of the user namespace in which inotify is used up; they are lower
// than any machine's, so that nobody else is refused.
const (
	fewInstances = 10
	fewWatches   = 50
)

// inotifyEater is a helper that uses inotify up in a user namespace of its own.
// Orders: "instances N" opens N more, "dup" duplicates each, "watches N" adds N
// to a new instance, "close" closes all. Those that open print how many calls
// were refused.
func inotifyEater() {
	for name, limit := range map[string]int{"instances": fewInstances, "watches": fewWatches} {
		if err := os.WriteFile("/proc/sys/user/max_inotify_"+name, fmt.Append(nil, limit), 0o644); err != nil {
			fail(err)
		}
	}
	dir, err := os.MkdirTemp("", "inotify")
	if err != nil {
		fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p := probes.NewInotify()
	p.Thresholds.CountEvery = 0 // at each run
	var fds []int
	inside(p, map[string]func(string) (string, error){
		"instances": func(arg string) (string, error) {
			refused := 0
			for range number(arg) {
				fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
				switch {
				case errors.Is(err, unix.EMFILE):
					refused++
				case err != nil:
					return "", err
				default:
					fds = append(fds, fd)
				}
			}
			return fmt.Sprint(refused), nil
		},
		"dup": func(string) (string, error) {
			for _, fd := range fds {
				twice, err := unix.Dup(fd)
				if err != nil {
					return "", err
				}
				fds = append(fds, twice)
			}
			return "", nil
		},
		"watches": func(arg string) (string, error) {
			fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
			if err != nil {
				return "", err
			}
			fds = append(fds, fd)
			refused := 0
			for i := range number(arg) {
				file := filepath.Join(dir, fmt.Sprint(i))
				if err := os.WriteFile(file, nil, 0o600); err != nil {
					return "", err
				}
				_, err := unix.InotifyAddWatch(fd, file, unix.IN_MODIFY)
				if errors.Is(err, unix.ENOSPC) {
					refused++
				} else if err != nil {
					return "", err
				}
			}
			return fmt.Sprint(refused), nil
		},
		"close": func(string) (string, error) {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			fds = nil
			return "", nil
		},
	})
}

// TestInotifyUsedUp: a process takes all instances of its user, later all watches.
func TestInotifyUsedUp(t *testing.T) {
	h := startInside(t, "inotify-eater", unix.CLONE_NEWUSER)
	r := lookInside(t, h)
	allSilent(t, r)
	for _, v := range r.Verdicts {
		t.Errorf("the probe cannot tell: %+v", v)
	}

	// The look-alike: descriptors above the warning line, of few instances.
	h.say(fmt.Sprintf("instances %d", fewInstances/2))
	h.say("dup")
	r = lookInside(t, h)
	allSilent(t, r)
	if m := measured(t, r, "inotify_instances", "uid 0"); m.Used != fewInstances/2 || m.Max != fewInstances {
		t.Errorf("measured %+v, want %d of %d", m, fewInstances/2, fewInstances)
	}

	if refused := h.say(fmt.Sprintf("instances %d", fewInstances)); refused != fmt.Sprint(fewInstances/2) {
		t.Fatalf("%s instances were refused", refused)
	}
	r = lookInside(t, h)
	checkInotify(t, r, problem.InotifyInstancesNearLimit, "inotify_instances", fewInstances)
	if v := wrong(r, problem.InotifyRefused, ""); v == nil || v.Severity != problem.Critical || !strings.Contains(v.Message, "instance") {
		t.Errorf("no instance is to be had: %+v", r.Verdicts)
	}
	silent(t, r, problem.InotifyWatchesNearLimit, "uid 0")

	h.say("close")
	allSilent(t, lookInside(t, h))

	if refused := h.say(fmt.Sprintf("watches %d", fewWatches+7)); refused != "7" {
		t.Fatalf("%s watches were refused", refused)
	}
	r = lookInside(t, h)
	checkInotify(t, r, problem.InotifyWatchesNearLimit, "inotify_watches", fewWatches)
	if v := wrong(r, problem.InotifyRefused, ""); v == nil || v.Severity != problem.Critical || !strings.Contains(v.Message, "watch") {
		t.Errorf("no watch is to be had: %+v", r.Verdicts)
	}
	silent(t, r, problem.InotifyInstancesNearLimit, "uid 0")

	h.say("close")
	allSilent(t, lookInside(t, h))
}

// checkInotify checks that the limit is reported as reached, and by whom.
func checkInotify(t *testing.T, r problem.Result, kind problem.Kind, resource string, limit float64) {
	t.Helper()
	v := wrong(r, kind, "uid 0")
	if v == nil {
		t.Fatalf("no %s: %+v", kind, r.Verdicts)
	}
	if v.Severity != problem.Critical || !v.Refused {
		t.Errorf("%s: severity %s, refused %t", kind, v.Severity, v.Refused)
	}
	if m := measured(t, r, resource, "uid 0"); m.Used != limit || m.Max != limit {
		t.Errorf("%s: measured %+v, want %v of %v", kind, m, limit, limit)
	}
	if len(v.Holders) == 0 || v.Holders[0].PID != 1 || v.Holders[0].Amount != limit {
		t.Errorf("%s: holders %+v, want process 1 with %v", kind, v.Holders, limit)
	}
}

// TestInotifyOfUserNamespace: what a process in a user namespace of its own has
// open is charged to whoever made the namespace, too: here to root.
func TestInotifyOfUserNamespace(t *testing.T) {
	h := startInside(t, "inotify-eater", unix.CLONE_NEWUSER)
	h.say(fmt.Sprintf("instances %d", fewInstances-1))
	p := probes.NewInotify()
	p.Thresholds.Instances = probes.Levels{Warning: 1, Critical: 100} // to be told the holders
	r := look(t, p, node(t))
	v := wrong(r, problem.InotifyInstancesNearLimit, "uid 0")
	if v == nil {
		t.Fatalf("no holders: %+v", r)
	}
	for _, holder := range v.Holders {
		if holder.PID == h.cmd.Process.Pid {
			if holder.Amount != fewInstances-1 {
				t.Errorf("holder %+v, want %d instances", holder, fewInstances-1)
			}
			return
		}
	}
	t.Errorf("process %d with %d instances is not among the holders %+v", h.cmd.Process.Pid, fewInstances-1, v.Holders)
}
