package limits

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/mounthelper"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	proberRunDir = "NODEVITALS_TEST_RUN_DIR"
	proberPolicy = "NODEVITALS_TEST_FUSE_POLICY"
)

// mountProber is a helper that looks at a cell as the daemon does, but impatiently.
func mountProber() {
	h, err := host.New("/")
	if err != nil {
		fail(err)
	}
	asker := mounthelper.New(os.Getenv(proberRunDir))
	n, p := probes.NewNode(h), probes.NewStuckMounts()
	n.Mounts = asker
	p.Thresholds = probes.StuckMountsThresholds{Unanswered: time.Second, AskEvery: time.Second, AskFUSE: probes.FUSEPolicy(os.Getenv(proberPolicy))}
	obey(p, n, map[string]func(string) (string, error){
		"helper": func(string) (string, error) { return fmt.Sprint(asker.PID()), nil },
	})
}

// prober starts one in a cell.
func (c cell) prober(t *testing.T, runDir string, policy probes.FUSEPolicy) *helper {
	t.Helper()
	h := c.start("mount-prober", proberRunDir+"="+runDir, proberPolicy+"="+string(policy))
	h.line()
	return h
}

// lookUntil has a prober look until its result is as it should be.
func (c cell) lookUntil(t *testing.T, h *helper, what string, is func(problem.Result) bool) problem.Result {
	t.Helper()
	var r problem.Result
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if r = lookInside(t, h); is(r) {
			return r
		}
	}
	hung, untold := c.said(r)
	t.Fatalf("within a minute it is not seen that %s: %d verdicts; hung: %q; untold: %q", what, len(r.Verdicts),
		slices.Sorted(maps.Keys(hung)), slices.Sorted(maps.Keys(untold)))
	return r
}

// said sorts what a result says of the mounts of a cell. Other tests may hang mounts
// of the machine meanwhile.
func (c cell) said(r problem.Result) (hung, untold map[string]problem.Verdict) {
	hung, untold = map[string]problem.Verdict{}, map[string]problem.Verdict{}
	for _, v := range r.Verdicts {
		switch {
		case v.Kind != problem.MountNotAnswering || !strings.HasPrefix(v.Subject, c.dir):
		case v.State == problem.Wrong:
			hung[v.Subject] = v
		case v.State == problem.Unknown:
			untold[v.Subject] = v
		}
	}
	return hung, untold
}

// well tells whether a result has nothing to say of the mounts of a cell.
func (c cell) well(r problem.Result) bool {
	return !slices.ContainsFunc(r.Verdicts, func(v problem.Verdict) bool { return strings.Contains(v.Subject, c.dir) })
}

// Fifty FUSE mounts hang at once, one of them with tasks that wait. As many as may be
// asked are named, the others are not called well; a hundred looks later no thread
// and no memory have been added; a second agent adds no thread either; all is well
// when the server goes on.
func TestManyHungMounts(t *testing.T) {
	const many = 50
	c := newCell(t, many)
	runDir := t.TempDir()
	h := c.prober(t, runDir, probes.AskFUSEAlways)
	for range 2 {
		if r := lookInside(t, h); !c.well(r) {
			t.Fatalf("while all answer: %+v", r.Verdicts)
		}
	}
	waited := c.mount(7)
	user := c.start("fuse-user", fuseDir+"="+waited, fuseComm+"=stuck-in-cell")
	c.say("hang")
	user.say("ask")
	c.say("held 1")
	r := c.lookUntil(t, h, "the mounts hang", func(r problem.Result) bool {
		hung, untold := c.said(r)
		return len(hung) >= mounthelper.MaxStuck && len(hung)+len(untold) == many
	})
	hung, untold := c.said(r)
	if len(hung) != mounthelper.MaxStuck {
		t.Errorf("%d mounts are named, %d are asked", len(hung), mounthelper.MaxStuck)
	}
	for subject, v := range untold {
		if v.Message != subject+" ("+fuseType+", "+fuseSource+"): "+mounthelper.ErrBusy.Error() {
			t.Errorf("%q", v.Message)
		}
	}
	v, ok := hung[waited]
	if !ok || !strings.Contains(v.Message, fmt.Sprintf("%s (%s, %s)", waited, fuseType, fuseSource)) {
		t.Errorf("the one that is waited for: %+v", v)
	}
	if len(v.Holders) != 1 || v.Holders[0].Process != "stuck-in-cell" {
		t.Errorf("it is held by %+v", v.Holders)
	}
	if !slices.ContainsFunc(v.Evidence, func(e string) bool { return strings.Contains(e, "has not returned") }) {
		t.Errorf("evidence %q", v.Evidence)
	}

	for range 10 {
		lookInside(t, h)
	}
	before := measureProber(t, c, h)
	for range 100 {
		if hung, untold := c.said(lookInside(t, h)); len(hung)+len(untold) != many {
			t.Fatalf("%d are named, and %d cannot be told", len(hung), len(untold))
		}
	}
	after := measureProber(t, c, h)
	t.Logf("after 10 looks %+v, after 110 %+v", before, after)
	if want := mounthelper.MaxStuck + 1; after.held != want || before.held != want {
		t.Errorf("%d requests wait, want %d", after.held, want)
	}
	if after.helper != before.helper || after.helperThreads != before.helperThreads || after.helperThreads > mounthelper.Threads {
		t.Errorf("the helper was %+v, and is %+v", before, after)
	}
	// The prober makes threads as it needs them; one a look would be a hundred.
	// (The race detector keeps memory of its own.)
	const few, mega = 3, 4096 // kB
	if after.threads > before.threads+few || after.memory > before.memory+mega || after.helperMemory > before.helperMemory+mega {
		t.Errorf("it grows: %+v, then %+v", before, after)
	}

	second := c.prober(t, runDir, probes.AskFUSEAlways)
	c.lookUntil(t, second, "another agent knows", func(r problem.Result) bool { hung, _ := c.said(r); return len(hung) == mounthelper.MaxStuck })
	if n := c.held(); n != after.held {
		t.Errorf("a second agent made it %d requests, from %d", n, after.held)
	}

	c.say("answer")
	user.line()
	c.lookUntil(t, h, "all answer again", c.well)
	c.lookUntil(t, second, "all answer again", c.well)
	if notes, err := filepath.Glob(runDir + "/asked/*"); err != nil || len(notes) > 0 {
		t.Errorf("%v, notes are left: %v", err, notes)
	}

	c.say("leave")
	r = c.lookUntil(t, h, "the server is gone", func(r problem.Result) bool {
		return wrong(r, problem.FUSEServerNotAnswering, waited) != nil
	})
	if v := wrong(r, problem.FUSEServerNotAnswering, waited); v.Severity != problem.Warning || !strings.Contains(v.Message, "is gone") {
		t.Errorf("%+v", v)
	}
	if hung, _ := c.said(r); len(hung) > 0 {
		t.Errorf("a mount without a server does answer, with errors: %+v", hung)
	}
}

// proberUse is what a prober and its helper need; memory is anonymous, in kB.
type proberUse struct {
	held, threads, memory               int
	helper, helperThreads, helperMemory int
}

func measureProber(t *testing.T, c cell, h *helper) proberUse {
	t.Helper()
	u := proberUse{held: c.held(), helper: number(h.say("helper"))}
	u.threads, u.memory = statusOf(t, h.cmd.Process.Pid, "Threads"), statusOf(t, h.cmd.Process.Pid, "RssAnon")
	u.helperThreads, u.helperMemory = statusOf(t, u.helper, "Threads"), statusOf(t, u.helper, "RssAnon")
	return u
}

// Look-alike: a server that lets one request wait for long, and answers the others.
func TestSlowFUSEMount(t *testing.T) {
	c := newCell(t, 2)
	h := c.prober(t, t.TempDir(), probes.AskFUSEAlways)
	user := c.start("fuse-user", fuseDir+"="+c.mount(0), fuseComm+"=slow-in-cell")
	c.say("slow")
	user.say("stat")
	c.say("held 1")
	r := c.lookUntil(t, h, "a task waits", func(r problem.Result) bool { return wrong(r, problem.TasksStuckOnMount, c.mount(0)) != nil })
	if v := wrong(r, problem.TasksStuckOnMount, c.mount(0)); v.Severity != problem.Warning || !strings.Contains(v.Message, "answers others") {
		t.Errorf("%+v", v)
	}
	for range 5 {
		r := lookInside(t, h)
		silent(t, r, problem.MountNotAnswering, c.mount(0))
		silent(t, r, problem.FUSEServerNotAnswering, c.mount(0))
	}
	c.say("answer")
	user.line()
	c.lookUntil(t, h, "it went on", c.well)
}

// As in a pod: FUSE is judged, and never asked.
func TestHungFUSEMountUntouched(t *testing.T) {
	c := newCell(t, 3)
	h := c.prober(t, t.TempDir(), probes.AskFUSENever)
	user := c.start("fuse-user", fuseDir+"="+c.mount(1), fuseComm+"=stuck-in-cell")
	c.say("hang")
	user.say("ask")
	c.say("held 1")
	c.lookUntil(t, h, "it hangs", func(r problem.Result) bool {
		hung, _ := c.said(r)
		return len(hung) == 1 && hung[c.mount(1)].Subject != ""
	})
	if n, helper := c.held(), h.say("helper"); n != 1 || helper != "0" {
		t.Errorf("%d requests wait, that of the test and ours; the helper is process %s", n, helper)
	}
}

// Where the agent cannot note what it asks, it does not ask, and says what it
// cannot tell.
func TestHungMountsWithoutNotes(t *testing.T) {
	c := newCell(t, 2)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := c.prober(t, file, probes.AskFUSEAlways)
	user := c.start("fuse-user", fuseDir+"="+c.mount(0), fuseComm+"=stuck-in-cell")
	c.say("hang")
	user.say("ask")
	c.say("held 1")
	c.lookUntil(t, h, "it hangs", func(r problem.Result) bool { hung, _ := c.said(r); return len(hung) == 1 })
	if n := c.held(); n != 1 {
		t.Errorf("%d requests wait", n)
	}
}

// cellConfig is a configuration for an agent in a cell, which keeps its notes in runDir.
func cellConfig(t *testing.T, runDir, more string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := "runDir: " + runDir + "\nstateFile: \"\"\nlogs: {files: [], journal: [], kmsg: false}\n" + more
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// askFUSE is what has the agent ask FUSE mounts: nothing but the default on a node; in
// a container, where these tests may run, too, it would not.
func askFUSE(t *testing.T) string {
	t.Helper()
	h, err := host.New("/")
	if err != nil {
		t.Fatal(err)
	}
	if h.InContainer() {
		return string(probes.AskFUSEAlways)
	}
	return string(probes.AskFUSEAuto)
}

// once runs agent --once in a cell.
func (c cell) once(t *testing.T, bin, runDir string) problem.Snapshot {
	t.Helper()
	file := cellConfig(t, runDir, "probes: {hungmounts: {thresholds: {askFUSE: "+askFUSE(t)+"}}}\n")
	begun := time.Now()
	s, _ := once(t, c.command(bin, "--once", "-o", "json", "--config", file))
	t.Logf("agent --once took %v", time.Since(begun))
	return s
}

// agent --once ends, names the mounts that hang though nobody waits for them, still
// measures the others, and a second time adds no stuck thread.
func TestOnceWithHungMounts(t *testing.T) {
	const many = 50
	c := newCell(t, many)
	bin, runDir := buildAgent(t), t.TempDir()
	if s := c.once(t, bin, runDir); slices.ContainsFunc(s.Problems, func(p problem.Problem) bool { return p.Kind == problem.MountNotAnswering }) {
		t.Fatalf("while all answer: %+v", s.Problems)
	}
	c.say("hang")
	for range 3 {
		s := c.once(t, bin, runDir)
		named := 0
		for _, p := range s.Problems {
			if p.Kind != problem.MountNotAnswering {
				continue
			}
			named++
			if !slices.ContainsFunc(p.Causes, func(c problem.Cause) bool { return c.Kind == problem.FUSEServerNotAnswering && c.Subject == p.Subject }) {
				t.Errorf("%s has the causes %+v", p.Subject, p.Causes)
			}
		}
		if named != mounthelper.MaxStuck {
			t.Errorf("%d are named, want %d", named, mounthelper.MaxStuck)
		}
		if n := c.held(); n != mounthelper.MaxStuck {
			t.Errorf("%d requests wait", n)
		}
		if !slices.ContainsFunc(s.Measurements, func(m problem.Measurement) bool { return m.Resource == "filesystem_bytes" && m.Subject == "/" }) {
			t.Error("/ is not measured any more")
		}
		for _, p := range s.Probes {
			if p.Outcome == problem.OutcomeFailed {
				t.Errorf("probe %s: %s", p.Probe, p.Reason)
			}
		}
	}
	c.say("answer")
	if s := c.once(t, bin, runDir); slices.ContainsFunc(s.Problems, func(p problem.Problem) bool { return p.Kind == problem.MountNotAnswering }) {
		t.Errorf("after the server went on: %+v", s.Problems)
	}
}
