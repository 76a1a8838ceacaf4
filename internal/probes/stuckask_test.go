package probes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/mounthelper"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// fakeAsker answers for file systems by their device; those that it does not know
// never answer.
type fakeAsker struct {
	answers map[string]error
	refuse  error
	stuck   []mounthelper.Stuck
	asked   []string
	calls   []mounthelper.Call
}

func (f *fakeAsker) Ask(c mounthelper.Call) (<-chan error, error) {
	if f.refuse != nil {
		return nil, f.refuse
	}
	f.asked = append(f.asked, c.String())
	f.calls = append(f.calls, c)
	done := make(chan error, 1)
	if err, ok := f.answers[c.String()]; ok {
		done <- err
	}
	return done, nil
}

func (f *fakeAsker) Stuck() ([]mounthelper.Stuck, error) { return f.stuck, nil }
func (f *fakeAsker) PID() int                            { return 4711 }

// askRuns runs the probe on moments of a host whose mounts are all visible.
func askRuns(t *testing.T, f *fakeAsker, th StuckMountsThresholds, moments ...stuckFiles) problem.Result {
	t.Helper()
	p := NewStuckMounts()
	p.Thresholds = th
	n := tree(t, moments[0])
	n.Mounts = f
	p.asks.own = func() (mounts.Table, error) {
		b, err := n.Host.ReadFile("/proc/1/mountinfo")
		if err != nil {
			return mounts.Table{}, err
		}
		own, err := mounts.Parse("own", b)
		for i := range own.Mounts {
			own.Mounts[i].Point = strings.TrimSuffix(n.Host.Path(own.Mounts[i].Point), "/")
		}
		root := mounts.Mount{ID: 1, Parent: 1, Point: "/", FSType: "ext4"}
		for i := range own.Mounts {
			if own.Mounts[i].ID == 20 {
				own.Mounts[i].Parent = 1
			}
		}
		own.Mounts = append([]mounts.Mount{root}, own.Mounts...)
		return own, err
	}
	var r problem.Result
	for _, m := range moments {
		for path, content := range m {
			writeFile(t, n.Host.Root(), path, content)
		}
		r = run(t, p, n)
	}
	return r
}

func TestAskMounts(t *testing.T) {
	const pod = "/kubepods/podaaaa"
	always := StuckMountsThresholds{AskEvery: time.Minute, AskFUSE: AskFUSEAlways}
	never := StuckMountsThresholds{AskEvery: time.Minute, AskFUSE: AskFUSENever}
	everyLook := StuckMountsThresholds{AskFUSE: AskFUSEAlways}
	well := map[string]error{"0:60": mounthelper.Answered{}, "0:61": mounthelper.Answered{}, "0:70": mounthelper.Answered{}, "0:73": mounthelper.Answered{}}
	but := func(device string, err error) map[string]error {
		m := maps.Clone(well)
		delete(m, device)
		if err != nil {
			m[device] = err
		}
		return m
	}
	idle := remoteHost(fuseA, nfsA, cifsA)
	idle.fuse(60, 0)
	idle.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 54})
	waited := remoteHost(fuseA)
	waited.fuse(60, 1)
	waited.waiter(10, "app", 'S', "request_wait_answer", 5, statOf, pod)
	under := remoteHost(fuseA, "45 40 0:73 / /mnt/a/c rw - cifs //box/share rw")
	under.fuse(60, 0)
	noFusectl := remoteHost(fuseA)
	hungFUSE := []string{"FUSEServerNotAnswering /mnt/a", "MountNotAnswering /mnt/a"}
	for _, tc := range []struct {
		name                  string
		th                    StuckMountsThresholds
		asker                 fakeAsker
		host                  stuckFiles
		wrong, unknown, asked []string
	}{
		{"all answer, and are asked once a minute", always, fakeAsker{answers: well}, idle, nil, nil, []string{"0:60", "0:73", "0:70"}},
		{
			"all answer, and are asked each time", everyLook,
			fakeAsker{answers: well},
			idle, nil, nil,
			[]string{"0:60", "0:73", "0:70", "0:60", "0:73", "0:70"},
		},
		{"an idle FUSE mount hangs", always, fakeAsker{answers: but("0:60", nil)}, idle, hungFUSE, nil, []string{"0:60", "0:73", "0:70"}},
		{
			"an idle NFS mount hangs", always,
			fakeAsker{answers: but("0:70", nil)},
			idle,
			[]string{"MountNotAnswering /mnt/n", "NFSServerNotResponding 10.9.0.1"},
			nil,
			[]string{"0:60", "0:73", "0:70"},
		},
		{"an idle SMB mount hangs", always, fakeAsker{answers: but("0:73", nil)}, idle, []string{"MountNotAnswering /mnt/c"}, nil, []string{"0:60", "0:73", "0:70"}},
		{"FUSE is not asked in a pod, the others are", never, fakeAsker{answers: well}, idle, nil, nil, []string{"0:73", "0:70"}},
		{"another agent's call is stuck", always, fakeAsker{answers: well, stuck: []mounthelper.Stuck{
			{Device: mounthelper.Device{Minor: 60}, PID: 99, Since: time.Now().Add(-time.Hour)},
		}}, idle, hungFUSE, nil, []string{"0:73", "0:70"}},
		{"look-alike: slow, but it answers", always, fakeAsker{answers: well}, waited, []string{"TasksStuckOnMount /mnt/a"}, nil, []string{"0:60", "0:60"}},
		{
			"the server is gone", always,
			fakeAsker{answers: but("0:60", mounthelper.Answered{Err: unix.ENOTCONN})},
			idle,
			hungFUSE[:1], nil,
			[]string{"0:60", "0:73", "0:70", "0:60"},
		},
		{
			"the export is gone", always,
			fakeAsker{answers: but("0:70", mounthelper.Answered{Err: unix.ESTALE})},
			idle,
			[]string{"MountNotAnswering /mnt/n"},
			nil,
			[]string{"0:60", "0:73", "0:70", "0:70"},
		},
		{
			"look-alike: we may not ask", always,
			fakeAsker{answers: but("0:60", mounthelper.Answered{Err: unix.EACCES})},
			idle, nil, nil,
			[]string{"0:60", "0:73", "0:70"},
		},
		{"no call is left", always, fakeAsker{refuse: mounthelper.ErrBusy}, idle, nil, []string{
			"FUSEServerNotAnswering /mnt/a", "MountNotAnswering /mnt/a", "MountNotAnswering /mnt/c", "MountNotAnswering /mnt/n",
		}, nil},
		{"the helper cannot be started, and nobody waits", always, fakeAsker{refuse: errors.New("EAGAIN")}, idle, nil, nil, nil},
		{
			"the helper cannot be started, and tasks wait", always,
			fakeAsker{refuse: errors.New("EAGAIN")},
			waited,
			append(slices.Clone(hungFUSE), "TasksStuckOnMount /mnt/a"), nil, nil,
		},
		{
			"the helper is still starting, and tasks wait", always,
			fakeAsker{refuse: mounthelper.ErrStarting},
			waited,
			[]string{"TasksStuckOnMount /mnt/a"},
			hungFUSE, nil,
		},
		{"the way leads over a mount that may hang", always, fakeAsker{answers: well}, under, nil, nil, []string{"0:60"}},
		{"no fusectl", always, fakeAsker{answers: well}, noFusectl, nil, hungFUSE, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := askRuns(t, &tc.asker, tc.th, tc.host, tc.host)
			if got := saying(r, problem.Wrong); !slices.Equal(got, tc.wrong) {
				t.Errorf("wrong: %q, want %q\n%+v", got, tc.wrong, r.Verdicts)
			}
			if got := saying(r, problem.Unknown); !slices.Equal(got, tc.unknown) {
				t.Errorf("unknown: %q, want %q\n%+v", got, tc.unknown, r.Verdicts)
			}
			if !slices.Equal(tc.asker.asked, tc.asked) {
				t.Errorf("asked %v, want %v", tc.asker.asked, tc.asked)
			}
			for _, c := range tc.asker.calls {
				if fuse := c.Minor == 60 || c.Minor == 61; fuse != c.Unkillable {
					t.Errorf("%+v", c)
				}
			}
		})
	}
}

// An answer that takes longer than a look may wait is no problem yet.
func TestAskedJustNow(t *testing.T) {
	f := remoteHost(fuseA)
	f.fuse(60, 0)
	th := StuckMountsThresholds{Unanswered: time.Hour, AskEvery: time.Minute, AskFUSE: AskFUSEAlways}
	r := askRuns(t, &fakeAsker{}, th, f)
	checkState(t, r, problem.MountNotAnswering, "/mnt/a", problem.Unknown)
}

// A mount that was condemned without having been asked is left alone.
func TestCondemnedIsNotAsked(t *testing.T) {
	f := remoteHost(fuseA)
	f.fuse(60, 1)
	f.waiter(10, "app", 'S', "request_wait_answer", 5, statOf, "/kubepods/podaaaa")
	asker := &fakeAsker{refuse: errors.New("no room")}
	p := NewStuckMounts()
	p.Thresholds = StuckMountsThresholds{AskFUSE: AskFUSEAlways}
	n := tree(t, f)
	n.Mounts = asker
	p.asks.own = func() (mounts.Table, error) { return mounts.Read(n.Host) }
	for range 2 {
		run(t, p, n)
	}
	asker.refuse = nil
	checkSeverity(t, run(t, p, n), problem.MountNotAnswering, "/mnt/a", problem.Critical)
	if len(asker.asked) > 0 {
		t.Errorf("asked %v", asker.asked)
	}
}

// Mounts of one volume for many pods are one subject, with its users.
func TestHungVolume(t *testing.T) {
	const at = "/var/lib/kubelet/pods/"
	f := remoteHost(
		"50 20 0:70 / /var/lib/kubelet/plugins/kubernetes.io/csi/nfs.csi.k8s.io/abc/globalmount rw - nfs4 10.9.0.1:/srv rw",
		"51 20 0:70 / "+at+"aaaa/volumes/kubernetes.io~csi/data/mount rw - nfs4 10.9.0.1:/srv rw",
		"52 20 0:70 / "+at+"bbbb/volumes/kubernetes.io~csi/data/mount rw - nfs4 10.9.0.1:/srv rw")
	f.xprt([4]any{"10.9.0.1:/srv", "/var/lib/kubelet/plugins/kubernetes.io/csi/nfs.csi.k8s.io/abc/globalmount", 54, 54})
	r := askRuns(t, &fakeAsker{}, StuckMountsThresholds{}, f, f)
	if got := saying(r, problem.Wrong); len(got) != 2 {
		t.Fatalf("wrong: %q", got)
	}
	i := slices.IndexFunc(r.Verdicts, func(v problem.Verdict) bool { return v.Kind == problem.MountNotAnswering })
	v := r.Verdicts[i]
	if want := "; it is mounted for pod uid aaaa, pod uid bbbb"; !strings.HasSuffix(v.Message, want) {
		t.Errorf("%q lacks %q", v.Message, want)
	}
	for _, want := range []string{"pod:aaaa", "pod:bbbb", "server:10.9.0.1", "mount:" + at + "bbbb/volumes/kubernetes.io~csi/data/mount"} {
		if !slices.Contains(v.Touches, problem.Ref(want)) {
			t.Errorf("lacks %s: %v", want, v.Touches)
		}
	}
}

func TestStuckMountsThresholds(t *testing.T) {
	if err := NewStuckMounts().Thresholds.Validate(); err != nil {
		t.Error(err)
	}
	for i, th := range []StuckMountsThresholds{
		{Unanswered: time.Second, AskEvery: time.Second, AskFUSE: "sometimes"},
		{Unanswered: time.Millisecond, AskEvery: time.Second, AskFUSE: AskFUSENever},
		{Unanswered: time.Second, AskFUSE: AskFUSEAuto},
	} {
		if th.Validate() == nil {
			t.Error(fmt.Sprint(i, " is taken"))
		}
	}
}
