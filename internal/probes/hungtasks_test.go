package probes

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// blockedAt is the /proc of a process in D, with its context switches and wait channel.
func blockedAt(t *testing.T, root string, pid, comm, state, switches, wchan string) {
	t.Helper()
	writeFile(t, root, "/proc/"+pid+"/stat", pid+" ("+comm+") "+state+" 1 1 1 0 -1 4194304 1 0 0 0 10 5 0 0 20 0 1 0 500 1 1 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n")
	writeFile(t, root, "/proc/"+pid+"/status", "Name:\t"+comm+"\nState:\t"+state+"\nPid:\t"+pid+"\nUid:\t0\t0\t0\t0\nvoluntary_ctxt_switches:\t"+switches+"\nnonvoluntary_ctxt_switches:\t0\n")
	writeFile(t, root, "/proc/"+pid+"/wchan", wchan)
}

const (
	detectCount  = "/proc/sys/kernel/hung_task_detect_count"
	warningsLeft = "/proc/sys/kernel/hung_task_warnings"
)

func TestHungTasks(t *testing.T) {
	n := tree(t, map[string]string{
		detectCount: "0\n", warningsLeft: "10\n", "/proc/sys/kernel/hung_task_timeout_secs": "60\n",
		"/proc/1/stat": "1 (init) S 0 1 1 0 -1 4194304 1 0 0 0 10 5 0 0 20 0 1 0 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n",
	})
	root := n.Host.Root()
	clock := &testClock{boot: time.Hour}
	n.Host.Clock = clock
	p := NewHungTasks()
	look := func(want problem.Severity, partial bool) problem.Verdict {
		t.Helper()
		r, err := p.Run(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if (r.Partial != "") != partial {
			t.Fatalf("partial: %q", r.Partial)
		}
		clock.boot += 30 * time.Second
		return checkSeverity(t, r, problem.TaskHung, "", want)
	}
	blockedAt(t, root, "4242", "java", "D", "7", "folio_wait_bit_common")
	look(0, false) // the kernel has reported none: nothing is looked at
	writeFile(t, root, detectCount, "1\n")
	look(0, true) // since when it waits is not known, so nothing is taken back
	look(0, true)
	if v := look(problem.Critical, false); !strings.Contains(v.Message, "a task has been blocked for more than 1m0s") ||
		len(v.Holders) != 1 || v.Holders[0].Process != "java" || !strings.Contains(v.Evidence[0], "folio_wait_bit_common") {
		t.Errorf("%+v", v)
	}
	blockedAt(t, root, "4242", "java", "D", "8", "folio_wait_bit_common")
	look(0, false) // it has run: a busy disk
	look(0, false)
	look(problem.Critical, false)
	removeAll(t, root, "/proc/4242")
	look(0, false)
	for pid, wchan := range map[string]string{"51": "rpc_wait_bit_killable", "52": "__refrigerator", "53": "wait_for_response"} {
		blockedAt(t, root, pid, "ordinary", "D", "1", wchan)
	}
	blockedAt(t, root, "54", "idle", "I", "1", "worker_thread")
	for range 4 {
		look(0, false)
	}
	blockedAt(t, root, "55", "two-to", "D", "1", "0") // who may not see what it waits for
	look(0, false)
	look(0, false)
	look(problem.Critical, false)

	n.Once = true
	r, err := NewHungTasks().Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, r, problem.TaskHung, "", problem.NotApplicable)
}

// Before Linux 6.13 the kernel counts down what it has left to report.
func TestHungTasksReported(t *testing.T) {
	for _, tc := range []struct {
		name  string
		looks []string // hung_task_warnings
		want  bool     // after the last look
	}{
		{"never", []string{"10", "10"}, false},
		{"before the first look", []string{"9"}, true},
		{"ten times, and silent since", []string{"0"}, true},
		{"more were allowed", []string{"100", "100"}, false},
		{"of more one was given", []string{"100", "99"}, true},
		{"set back to the default", []string{"3", "10"}, false},
		{"without an end", []string{"-1"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := tree(t, map[string]string{warningsLeft: "10"})
			p := NewHungTasks()
			var got bool
			for _, left := range tc.looks {
				writeFile(t, n.Host.Root(), warningsLeft, left+"\n")
				var err error
				if got, err = p.reported(n.Host); err != nil {
					t.Fatal(err)
				}
			}
			if got != tc.want {
				t.Errorf("reported: %t", got)
			}
		})
	}
	var na *problem.NotApplicableError
	if _, err := NewHungTasks().Run(context.Background(), tree(t, nil)); !errors.As(err, &na) || na.LogsTell {
		t.Errorf("a kernel without the detector: %v", err)
	}
	if _, err := NewHungTasks().Run(context.Background(), tree(t, map[string]string{warningsLeft: "many"})); err == nil {
		t.Error("nonsense is taken for a number")
	}
}

func TestHardware(t *testing.T) {
	n := tree(t, nil)
	clock := &testClock{boot: time.Hour}
	n.Host.Clock = clock
	p := NewHardware()
	var na *problem.NotApplicableError
	if _, err := p.Run(t.Context(), n); !errors.As(err, &na) || !na.LogsTell {
		t.Fatalf("without a driver: %v", err)
	}
	const mc0 = "memory controller mc0"
	count := func(c string) { writeFile(t, n.Host.Root(), edacFolder+"/mc0/ue_count", c+"\n") }
	look := func(want problem.Severity) {
		t.Helper()
		r, err := p.Run(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		checkSeverity(t, r, problem.HardwareError, mc0, want)
	}
	writeFile(t, n.Host.Root(), edacFolder+"/mc0/ce_count", "12\n") // corrected ones
	writeFile(t, n.Host.Root(), edacFolder+"/power/control", "auto\n")
	count("0")
	look(0)
	count("1")
	look(problem.Critical)
	look(problem.Critical)
	clock.boot += 2 * time.Hour
	look(problem.Warning) // it was long ago, and the memory is the same
	count("0")            // somebody has reset it
	look(0)
	p, clock.boot = NewHardware(), clock.boot+time.Minute
	count("3")
	look(problem.Warning) // when they came is not known
	count("4")
	look(problem.Critical)
	count("?")
	if _, err := p.Run(t.Context(), n); err == nil {
		t.Error("nonsense is taken for a number")
	}
}
