package probes

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/host/systemd"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestKubeletDown(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	unit := func(active, sub, file string) watchedUnit {
		return watchedUnit{Unit: systemd.Unit{
			Name: "kubelet.service", LoadState: "loaded", ActiveState: active, SubState: sub, FileState: file, Result: "success",
			Changed: now.Add(-time.Minute),
		}}
	}
	with := func(u watchedUnit, change func(*watchedUnit)) watchedUnit { change(&u); return u }
	kubelet := []process.Process{{PID: 7, Comm: "kubelet"}}
	for _, tc := range []struct {
		name  string
		sight unitSight
		want  problem.State // 0: silence
		says  string
	}{
		{"healthy", unitSight{kubelets: []watchedUnit{unit("active", "running", "enabled")}}, 0, ""},
		{"reloading", unitSight{kubelets: []watchedUnit{unit("reloading", "reload", "enabled")}}, 0, ""},
		{"stopped", unitSight{kubelets: []watchedUnit{unit("inactive", "dead", "enabled")}}, problem.Wrong, "stopped, although it is enabled"},
		{"failed", unitSight{kubelets: []watchedUnit{with(unit("failed", "failed", "disabled"), func(u *watchedUnit) { u.Result, u.ExitCode = "exit-code", 1 })}}, problem.Wrong, "kubelet.service (exit code 1) has failed: exit-code"},
		{"given up", unitSight{kubelets: []watchedUnit{with(unit("failed", "failed", "enabled"), func(u *watchedUnit) { u.Result = "start-limit-hit" })}}, problem.Wrong, "given up"},
		{"between two starts", unitSight{kubelets: []watchedUnit{with(unit("activating", "auto-restart", "enabled"), func(u *watchedUnit) { u.ExitCode, u.Signalled = 9, true })}}, problem.Wrong, "(signal 9) has ended"},
		{"starting", unitSight{kubelets: []watchedUnit{unit("activating", "start", "enabled")}}, 0, ""},
		{"starting for long", unitSight{kubelets: []watchedUnit{with(unit("activating", "start", "enabled"), func(u *watchedUnit) { u.Changed = now.Add(-4 * time.Minute) })}}, problem.Wrong, "more than 3 min"},
		{"ran", unitSight{kubelets: []watchedUnit{with(unit("inactive", "dead", "disabled"), func(u *watchedUnit) { u.ran = true })}}, problem.Wrong, "ran before"},
		{"unit file", unitSight{kubelets: []watchedUnit{with(unit("inactive", "dead", "enabled"), func(u *watchedUnit) { u.LoadState = "bad-setting" })}}, problem.Wrong, "bad-setting"},
		{"masked", unitSight{kubelets: []watchedUnit{with(unit("inactive", "dead", "enabled"), func(u *watchedUnit) { u.LoadState = "masked" })}}, problem.NotApplicable, ""},
		{"only installed", unitSight{kubelets: []watchedUnit{unit("inactive", "dead", "disabled")}}, problem.NotApplicable, ""},
		{"none", unitSight{}, problem.NotApplicable, ""},
		{"another one runs", unitSight{kubelets: []watchedUnit{unit("failed", "failed", "enabled"), with(unit("active", "running", "enabled"), func(u *watchedUnit) { u.Name = "k3s.service" })}}, 0, ""},
		{"started by hand", unitSight{kubelets: []watchedUnit{unit("failed", "failed", "enabled")}, processes: kubelet}, 0, ""},
		{"no unit, a process", unitSight{processes: kubelet}, 0, ""},
		{"processes hidden", unitSight{kubelets: []watchedUnit{unit("inactive", "dead", "enabled")}, processErr: process.ErrHidden}, problem.Unknown, "hidden"},
		{"process gone", unitSight{processRan: true}, problem.Wrong, "gone"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.sight.wall = now
			r := evaluateUnits(tc.sight, NewUnits().Thresholds)
			var got *problem.Verdict
			for i, v := range r.Verdicts {
				if v.Kind == problem.KubeletDown {
					got = &r.Verdicts[i]
				}
			}
			switch {
			case got == nil && tc.want == 0:
			case got == nil || got.State != tc.want || !strings.Contains(got.Message, tc.says):
				t.Errorf("got %+v, want %s with %q", got, tc.want, tc.says)
			case got.State == problem.Wrong && (got.Severity != problem.Critical || len(got.Evidence) == 0 || len(got.Touches) == 0):
				t.Errorf("severity, evidence or references are missing: %+v", got)
			}
		})
	}
}

func TestFrequentRestarts(t *testing.T) {
	unit := func(name string, counted, within int) watchedUnit {
		return watchedUnit{Unit: systemd.Unit{Name: name, LoadState: "loaded", ActiveState: "active", Restarts: counted, ExitCode: 2}, restarts: within}
	}
	th := NewUnits().Thresholds
	r := evaluateUnits(unitSight{
		kubelets: []watchedUnit{unit("kubelet.service", 400, 4)},
		runtimes: []watchedUnit{unit("docker.service", 0, 0), unit("containerd.service", 9, 5)},
	}, th)
	checkSeverity(t, r, problem.FrequentKubeletRestart, "", 0)
	v := checkSeverity(t, r, problem.FrequentRuntimeRestart, "", problem.Critical)
	if v.Message != "systemd had to restart containerd.service 5 times in 20 min" {
		t.Errorf("message %q", v.Message)
	}
	if len(r.Measurements) != 3 || r.Measurements[2].Used != 5 || r.Measurements[2].Max != 5 {
		t.Errorf("measured %+v", r.Measurements)
	}

	// Of those before the first look only the log knows the times.
	undated := unit("kubelet.service", 57, 1)
	undated.before = 56
	v = checkState(t, evaluateUnits(unitSight{kubelets: []watchedUnit{undated}}, th), problem.FrequentKubeletRestart, "", problem.NotApplicable)
	if !strings.Contains(v.Message, "kubelet.service more than 50 times") {
		t.Errorf("message %q", v.Message)
	}

	r = evaluateUnits(unitSight{kubelets: []watchedUnit{unit("kubelet.service", systemd.RestartsUnknown, 0)}}, th)
	checkState(t, r, problem.FrequentKubeletRestart, "", problem.Unknown)
	checkState(t, r, problem.FrequentRuntimeRestart, "", problem.NotApplicable)
}

// TestRestartCount: restarts within 20 minutes, of totals at given times.
func TestRestartCount(t *testing.T) {
	type look struct {
		minute, total, want int
	}
	for name, looks := range map[string][]look{
		"quiet":                         {{60, 0, 0}, {61, 0, 0}, {62, 0, 0}},
		"five in time":                  {{60, 0, 0}, {62, 1, 1}, {64, 3, 3}, {70, 5, 5}},
		"five in two hours":             {{60, 0, 0}, {80, 1, 1}, {101, 2, 1}, {122, 3, 1}},
		"over after the window":         {{60, 0, 0}, {61, 5, 5}, {80, 5, 5}, {82, 5, 0}},
		"old restarts":                  {{60, 57, 0}, {61, 57, 0}, {62, 58, 1}},
		"the host was started just now": {{3, 5, 5}, {4, 5, 5}},
		"planned restarts":              {{60, 2, 0}, {61, 0, 0}, {62, 0, 0}},
		"planned, and then failing":     {{60, 2, 0}, {61, 1, 1}, {62, 6, 6}},
	} {
		r, planned := restarts{}, false
		for _, l := range looks {
			now := time.Duration(l.minute) * time.Minute
			r.of("u").total(now, 20*time.Minute, l.total)
			if got := r.within("u", now, 20*time.Minute); got != l.want {
				t.Errorf("%s: at minute %d of total %d: %d, want %d", name, l.minute, l.total, got, l.want)
			}
			planned = planned || l.total < looks[0].total // systemd counts from 0 again
			before := looks[0].total
			if planned || looks[0].minute <= 20 || l.minute-looks[0].minute > 20 {
				before = 0 // else all are counted, or they are too long ago by now
			}
			if got := r.before("u", now, 20*time.Minute); got != before {
				t.Errorf("%s: at minute %d %d restarts before the first look, want %d", name, l.minute, got, before)
			}
			if n := len(r["u"].seen); n > 5 {
				t.Errorf("%s: keeps %d events", name, n)
			}
		}
	}
}

// TestRestartedProcesses: restarts within 20 minutes, of the processes that a look each
// minute finds.
func TestRestartedProcesses(t *testing.T) {
	for name, x := range map[string]struct {
		looks string // a process a letter, a look a word; "-" finds none
		want  int
	}{
		"one goes on":                {"a a a", 0},
		"comes":                      {"- a a", 0},
		"is replaced":                {"a b c", 2},
		"ends, and comes later":      {"a - - b", 1},
		"two go on":                  {"ab ba ab", 0},
		"one comes beside it":        {"a ab abc", 0},
		"one of two is replaced":     {"ab ac", 1},
		"both are":                   {"ab cd", 2},
		"one ends beside it":         {"ab a", 0},
		"its place is taken once":    {"ab a ac acd", 1},
		"after the window it is new": {"a" + strings.Repeat(" -", 22) + " b", 0},
	} {
		r := restarts{}
		var now time.Duration
		for look := range strings.FieldsSeq(x.looks) {
			now += time.Minute
			r.of("u").processes(now, 20*time.Minute, strings.Split(strings.Trim(look, "-"), ""))
		}
		if got := r.within("u", now, 20*time.Minute); got != x.want {
			t.Errorf("%s: %d restarts, want %d", name, got, x.want)
		}
	}
}

// TestKubeletProcess: a host without systemd.
func TestKubeletProcess(t *testing.T) {
	files := map[string]string{"/proc/1/stat": statLine(1, 0, "init")}
	n := tree(t, files)
	p := NewUnits()
	run := func() problem.Result {
		r, err := p.Run(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := run()
	checkState(t, r, problem.KubeletDown, "", problem.NotApplicable)
	checkState(t, r, problem.FrequentRuntimeRestart, "", problem.NotApplicable)

	for i := range 6 {
		root := n.Host.Root()
		pid := 10 + i
		writeFile(t, root, fmt.Sprintf("/proc/%d/stat", pid), statLine(pid, 1, "kubelet"))
		r = run()
		checkSeverity(t, r, problem.KubeletDown, "", 0)
		want := problem.Severity(0)
		if i == 5 {
			want = problem.Critical
		}
		checkSeverity(t, r, problem.FrequentKubeletRestart, "", want)
		removeAll(t, root, fmt.Sprintf("/proc/%d", pid))
		checkSeverity(t, run(), problem.KubeletDown, "", problem.Critical)
	}
}

func TestUnitsUnknown(t *testing.T) {
	r := evaluateKubeletProcesses(processSight{why: errors.New("no answer")}, NewUnits().Thresholds)
	for _, k := range NewUnits().Kinds() {
		checkState(t, r, k, "", problem.Unknown)
	}
	// A kubelet that runs is one, whatever systemd says.
	r = evaluateKubeletProcesses(processSight{why: errors.New("no answer"), found: []watchedProcess{{process.Process{PID: 7, Comm: "k3s-server"}, 0}}}, NewUnits().Thresholds)
	checkSeverity(t, r, problem.KubeletDown, "", 0)
	checkState(t, r, problem.FrequentRuntimeRestart, "", problem.Unknown)
}
