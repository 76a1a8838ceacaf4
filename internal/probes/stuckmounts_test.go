package probes

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

// stuckFiles is a host with a disk and some remote mounts.
type stuckFiles map[string]string

func remoteHost(mountinfo ...string) stuckFiles {
	f := stuckFiles(cgroup2(map[string]string{"kubepods/podaaaa/cgroup.procs": "", "system.slice/kubelet.service/cgroup.procs": ""}))
	for _, line := range append([]string{"20 1 8:1 / / rw - ext4 /dev/sda1 rw"}, mountinfo...) {
		f["/proc/1/mountinfo"] += line + "\n"
	}
	f.waiter(1, "systemd", 'S', "do_epoll_wait", 5, "", "/init.scope")
	return f
}

const (
	fuseA = "40 20 0:60 / /mnt/a rw - fuse.s3fs s3fs rw,user_id=0"
	fuseB = "41 20 0:61 / /mnt/b rw - fuse.sshfs host:/x rw,user_id=0"
	nfsA  = "50 20 0:70 / /mnt/n rw - nfs4 10.9.0.1:/srv rw,addr=10.9.0.1"
	nfsB  = "51 20 0:71 / /mnt/o rw - nfs4 10.9.0.2:/srv rw,addr=10.9.0.2"
	nfsC  = "52 20 0:72 / /mnt/p rw - nfs4 10.9.0.1:/home rw,addr=10.9.0.1"
	cifsA = "53 20 0:73 / /mnt/c rw - cifs //box/share rw"
)

// waiter adds a task that waits; call is its /proc/PID/syscall.
func (f stuckFiles) waiter(pid int, comm string, state byte, wchan string, switches int, call, cg string) {
	proc(f, pid, comm, string(state), 1, 1, 0, noCaps, "unlimited", cg)
	dir := fmt.Sprintf("/proc/%d/", pid)
	f[dir+"status"] += fmt.Sprintf("voluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t0\n", switches)
	f[dir+"wchan"] = wchan
	if call != "" {
		f[dir+"syscall"] = call
	}
}

func (f stuckFiles) fuse(minor, waiting int) {
	f[fmt.Sprintf("/sys/fs/fuse/connections/%d/waiting", minor)] = fmt.Sprintf("%d\n", waiting)
}

// xprt sets the counters of NFS mounts: source, point, sends, receives.
func (f stuckFiles) xprt(mounts ...[4]any) {
	f[mountStatsFile] = "device proc mounted on /proc with fstype proc\n"
	for _, m := range mounts {
		f[mountStatsFile] += fmt.Sprintf("device %s mounted on %s with fstype nfs4 statvers=1.1\n\tage:\t9\n\txprt:\ttcp 0 0 2 0 36 %d %d 0 64 0 4 2 9\n", m[:]...)
	}
}

const statOf = "262 0xffffff9c 0x7ffd00001000 0x0 0x0 0x0 0x0 0x7ffd 0x43a9\n"

// stuckRuns runs the probe on several moments of one host; only the last counts.
// Without time to settle, moments may be as near as the test makes them.
func stuckRuns(t *testing.T, p *StuckMounts, moments ...stuckFiles) problem.Result {
	t.Helper()
	p.Thresholds.Unanswered = 0
	n := tree(t, moments[0])
	var r problem.Result
	for i, m := range moments {
		for path := range moments[max(i-1, 0)] {
			if _, still := m[path]; !still {
				if err := os.Remove(n.Host.Path(path)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for path, content := range m {
			writeFile(t, n.Host.Root(), path, content)
		}
		r = run(t, p, n)
		if i == 0 {
			for _, v := range r.Verdicts {
				if v.State == problem.Wrong {
					t.Fatalf("wrong at the first look: %+v", v)
				}
			}
		}
	}
	return r
}

// saying is the verdicts of a state, as "kind subject".
func saying(r problem.Result, s problem.State) []string {
	var out []string
	for _, v := range r.Verdicts {
		if v.State == s {
			out = append(out, strings.TrimSpace(string(v.Kind)+" "+v.Subject))
		}
	}
	slices.Sort(out)
	return out
}

func TestStuckMounts(t *testing.T) {
	const pod, kubelet = "/kubepods/podaaaa", "/system.slice/kubelet.service"
	change := func(f stuckFiles, do func(stuckFiles)) stuckFiles {
		f = maps.Clone(f)
		do(f)
		return f
	}
	type moments []stuckFiles
	twice := func(f stuckFiles) moments { return moments{f, f} }
	for _, tc := range []struct {
		name           string
		moments        func() moments
		wrong, unknown []string
	}{
		{"healthy FUSE", func() moments {
			f := remoteHost(fuseA)
			f.fuse(60, 0)
			f.waiter(10, "server", 'S', "fuse_dev_do_read", 5, "", pod)
			return twice(f)
		}, nil, nil},
		{"hung FUSE", func() moments {
			f := remoteHost(fuseA, fuseB)
			f.fuse(60, 1)
			f.fuse(61, 0)
			f.waiter(10, "app", 'S', "request_wait_answer", 5, statOf, pod)
			return twice(f)
		}, []string{"FUSEServerNotAnswering /mnt/a", "MountNotAnswering /mnt/a", "TasksStuckOnMount /mnt/a"}, nil},
		{"look-alike: FUSE tasks that go on", func() moments {
			f := remoteHost(fuseA)
			f.fuse(60, 1)
			f.waiter(10, "app", 'S', "request_wait_answer", 5, statOf, pod)
			return moments{f, change(f, func(f stuckFiles) { f.waiter(10, "app", 'S', "request_wait_answer", 6, statOf, pod) })}
		}, nil, nil},
		{"look-alike: a lock on FUSE", func() moments {
			f := remoteHost(fuseA)
			f.fuse(60, 1)
			f.waiter(10, "app", 'S', "request_wait_answer", 5, fmt.Sprintf("%d 0x3 0x2 0x0 0x0 0x0 0x0 0x7ffd 0x43a9\n", unix.SYS_FLOCK), pod)
			return twice(f)
		}, nil, nil},
		{"look-alike: FUSE requests in flight and nobody waits", func() moments {
			f := remoteHost(fuseA)
			f.fuse(60, 3)
			return twice(f)
		}, nil, nil},
		{"over again", func() moments {
			f := remoteHost(fuseA)
			f.fuse(60, 1)
			f.waiter(10, "app", 'S', "request_wait_answer", 5, statOf, pod)
			return moments{f, f, change(f, func(f stuckFiles) { f.fuse(60, 0) })}
		}, nil, nil},
		{"all of two FUSE mounts hang", func() moments {
			f := remoteHost(fuseA, fuseB)
			f.fuse(60, 1)
			f.fuse(61, 1)
			f.waiter(10, "app", 'D', "request_wait_answer", 5, statOf, pod)
			f.waiter(11, "app", 'D', "request_wait_answer", 5, statOf, pod)
			return twice(f)
		}, []string{
			"FUSEServerNotAnswering /mnt/a", "FUSEServerNotAnswering /mnt/b",
			"MountNotAnswering /mnt/a", "MountNotAnswering /mnt/b", "TasksStuckOnMount one of /mnt/a, /mnt/b",
		}, nil},
		{"one of two FUSE mounts, nobody knows which", func() moments {
			f := remoteHost(fuseA, fuseB)
			f.fuse(60, 1)
			f.fuse(61, 1)
			f.waiter(10, "app", 'D', "request_wait_answer", 5, statOf, pod)
			return twice(f)
		}, []string{"TasksStuckOnMount one of /mnt/a, /mnt/b"}, []string{
			"FUSEServerNotAnswering /mnt/a", "FUSEServerNotAnswering /mnt/b", "MountNotAnswering /mnt/a", "MountNotAnswering /mnt/b",
		}},
		{"told by the descriptor of the system call", func() moments {
			f := remoteHost(fuseA, fuseB)
			f.fuse(60, 1)
			f.fuse(61, 1)
			f.waiter(10, "app", 'D', "request_wait_answer", 5, "0 0x7 0x7ffd00001000 0x0 0x0 0x0 0x0 0x7ffd 0x43a9\n", pod)
			f["/proc/10/fdinfo/7"] = "pos:\t0\nflags:\t02\nmnt_id:\t41\n"
			return twice(f)
		}, []string{"FUSEServerNotAnswering /mnt/b", "MountNotAnswering /mnt/b", "TasksStuckOnMount /mnt/b"}, nil},
		{"a page of a hung mount", func() moments {
			f := remoteHost(fuseA)
			f.fuse(60, 1)
			f.waiter(10, "app", 'S', "request_wait_answer", 5, statOf, pod)
			f.waiter(11, "dd", 'D', "folio_wait_bit_common", 5, "0 0x7 0x7ffd00001000 0x0 0x0 0x0 0x0 0x7ffd 0x43a9\n", kubelet)
			f["/proc/11/fdinfo/7"] = "mnt_id:\t40\n"
			f.waiter(12, "disk", 'D', "folio_wait_bit_common", 5, "0 0x7 0x7ffd00001000 0x0 0x0 0x0 0x0 0x7ffd 0x43a9\n", kubelet)
			f["/proc/12/fdinfo/7"] = "mnt_id:\t20\n"
			return twice(f)
		}, []string{"FUSEServerNotAnswering /mnt/a", "MountNotAnswering /mnt/a", "TasksStuckOnMount /mnt/a"}, nil},
		{"FUSE that only a container mounts", func() moments {
			f := remoteHost()
			f.fuse(99, 1)
			f.waiter(10, "app", 'S', "request_wait_answer", 5, statOf, pod)
			f["/proc/10/mountinfo"] = "90 80 0:99 / /data rw - fuse.gcsfuse bucket rw\n"
			return twice(f)
		}, []string{"FUSEServerNotAnswering FUSE connection 99", "MountNotAnswering FUSE connection 99", "TasksStuckOnMount FUSE connection 99"}, nil},
		{"no fusectl", func() moments { return twice(remoteHost(fuseA)) }, nil, []string{"FUSEServerNotAnswering /mnt/a", "MountNotAnswering /mnt/a"}},
		{"wait channels hidden", func() moments {
			f := remoteHost(fuseA)
			f.fuse(60, 1)
			f.waiter(1, "systemd", 'S', "0", 5, "", "/init.scope")
			f.waiter(10, "app", 'S', "0", 5, "", pod)
			f.waiter(11, "app", 'S', "0", 5, "", pod)
			return twice(f)
		}, nil, []string{"FUSEServerNotAnswering /mnt/a", "MountNotAnswering /mnt/a", "TasksStuckOnMount"}},
		{"hung NFS", func() moments {
			f := remoteHost(nfsA, nfsB)
			f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 50}, [4]any{"10.9.0.2:/srv", "/mnt/o", 9, 9})
			f.waiter(10, "app", 'D', "rpc_wait_bit_killable", 5, statOf, pod)
			return twice(f)
		}, []string{"MountNotAnswering /mnt/n", "NFSServerNotResponding 10.9.0.1", "TasksStuckOnMount /mnt/n"}, nil},
		{"one server, two exports", func() moments {
			f := remoteHost(nfsA, nfsC)
			f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 50}, [4]any{"10.9.0.1:/home", "/mnt/p", 54, 50})
			f.waiter(10, "app", 'D', "rpc_wait_bit_killable", 5, statOf, pod)
			return twice(f)
		}, []string{
			"MountNotAnswering /mnt/n", "MountNotAnswering /mnt/p", "NFSServerNotResponding 10.9.0.1", "TasksStuckOnMount one of /mnt/n, /mnt/p",
		}, nil},
		{"look-alike: an idle mount whose requests were once sent twice", func() moments {
			f := remoteHost(nfsA)
			f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 50})
			return moments{f, f, f, f}
		}, nil, nil},
		{"look-alike: slow NFS that answers", func() moments {
			f := remoteHost(nfsA)
			f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 50})
			f.waiter(10, "app", 'D', "rpc_wait_bit_killable", 5, statOf, pod)
			return moments{f, change(f, func(f stuckFiles) { f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 55, 51}) })}
		}, nil, nil},
		{"hung NFS, whose tasks wake to connect anew", func() moments {
			f := remoteHost(nfsA)
			f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 54})
			f.waiter(10, "app", 'D', "rpc_wait_bit_killable", 5, statOf, pod)
			return moments{f, change(f, func(f stuckFiles) { f.waiter(10, "app", 'D', "rpc_wait_bit_killable", 9, statOf, pod) })}
		}, []string{"MountNotAnswering /mnt/n", "NFSServerNotResponding 10.9.0.1", "TasksStuckOnMount /mnt/n"}, nil},
		{"the same beside a server that answers", func() moments {
			f := remoteHost(nfsA, nfsB)
			f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 50}, [4]any{"10.9.0.2:/srv", "/mnt/o", 9, 9})
			const readOf = "0 0x7 0x7ffd00001000 0x0 0x0 0x0 0x0 0x7ffd 0x43a9\n"
			f.waiter(10, "app", 'D', "rpc_wait_bit_killable", 5, readOf, pod)
			f["/proc/10/fdinfo/7"] = "mnt_id:\t50\n"
			return moments{f, change(f, func(f stuckFiles) {
				f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 50}, [4]any{"10.9.0.2:/srv", "/mnt/o", 12, 12})
				f.waiter(10, "app", 'D', "rpc_wait_bit_killable", 9, readOf, pod)
			})}
		}, []string{"MountNotAnswering /mnt/n", "NFSServerNotResponding 10.9.0.1", "TasksStuckOnMount /mnt/n"}, nil},
		{"look-alike: a busy task on one server, and one that nobody asks", func() moments {
			f := remoteHost(nfsA, nfsB)
			f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 50}, [4]any{"10.9.0.2:/srv", "/mnt/o", 9, 9})
			f.waiter(10, "app", 'D', "rpc_wait_bit_killable", 5, statOf, pod)
			return moments{f, change(f, func(f stuckFiles) {
				f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 50}, [4]any{"10.9.0.2:/srv", "/mnt/o", 12, 12})
				f.waiter(10, "app", 'D', "rpc_wait_bit_killable", 9, statOf, pod)
			})}
		}, nil, nil},
		{"NFS requests go out, no answer, and nobody waits", func() moments {
			f := remoteHost(nfsA)
			f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 54})
			g := change(f, func(f stuckFiles) { f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 56, 54}) })
			return moments{f, g, g}
		}, []string{"MountNotAnswering /mnt/n", "NFSServerNotResponding 10.9.0.1"}, nil},
		{"the first of these is not enough", func() moments {
			f := remoteHost(nfsA)
			f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 54})
			return moments{f, change(f, func(f stuckFiles) { f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 56, 54}) })}
		}, nil, nil},
		{"mountstats cannot be read", func() moments { return twice(remoteHost(nfsA)) }, nil, []string{"NFSServerNotResponding 10.9.0.1"}},
		{"SMB", func() moments {
			f := remoteHost(cifsA)
			f.waiter(10, "kubelet", 'D', "cifs_call_async", 5, statOf, kubelet)
			return twice(f)
		}, []string{"MountNotAnswering /mnt/c", "TasksStuckOnMount /mnt/c"}, nil},
		{"look-alike: a thread id used again", func() moments {
			f := remoteHost(cifsA)
			f.waiter(10, "app", 'D', "cifs_call_async", 5, statOf, pod)
			return moments{f, change(f, func(f stuckFiles) {
				f["/proc/10/stat"] = strings.Replace(f["/proc/10/stat"], " 0 100 ", " 0 777 ", 1)
			})}
		}, nil, nil},
		{"look-alike: D on a disk", func() moments {
			f := remoteHost(nfsA)
			f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 54})
			f.waiter(10, "dd", 'D', "blk_mq_get_tag", 5, statOf, pod)
			return twice(f)
		}, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := stuckRuns(t, NewStuckMounts(), tc.moments()...)
			if got := saying(r, problem.Wrong); !slices.Equal(got, tc.wrong) {
				t.Errorf("wrong: %q, want %q\n%+v", got, tc.wrong, r.Verdicts)
			}
			if got := saying(r, problem.Unknown); !slices.Equal(got, tc.unknown) {
				t.Errorf("unknown: %q, want %q\n%+v", got, tc.unknown, r.Verdicts)
			}
		})
	}
}

// A refused read of a wait channel is not repeated for ever, and never means that
// nothing is stuck.
func TestStuckMountsRefused(t *testing.T) {
	f := remoteHost(nfsA, fuseA)
	f.fuse(60, 1)
	f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 50})
	for pid := 10; pid < 20; pid++ {
		f.waiter(pid, "app", 'D', "0", 5, "", "/kubepods/podaaaa")
	}
	f.waiter(1, "systemd", 'S', "0", 5, "", "/init.scope")
	p, asked := NewStuckMounts(), 0
	p.walk.readlink = func(string) (string, error) { asked++; return "", fs.ErrPermission }
	r := stuckRuns(t, p, f, f, f)
	checkState(t, r, problem.TasksStuckOnMount, "", problem.Unknown)
	checkState(t, r, problem.FUSEServerNotAnswering, "/mnt/a", problem.Unknown)
	if asked != maxRefusals {
		t.Errorf("asked %d times", asked)
	}
}

// A single task that may not be asked is asked once, and leaves the rest to be judged.
func TestStuckMountsOneRefused(t *testing.T) {
	f := remoteHost(fuseA)
	f.fuse(60, 1)
	f.waiter(1, "systemd", 'S', "0", 5, "", "/init.scope")
	f.waiter(10, "app", 'S', "request_wait_answer", 5, statOf, "/kubepods/podaaaa")
	f.waiter(11, "app", 'S', "do_epoll_wait", 5, statOf, "/kubepods/podaaaa")
	p, asked := NewStuckMounts(), 0
	p.walk.readlink = func(path string) (string, error) {
		if strings.HasSuffix(path, "/proc/1/cwd") {
			asked++
		}
		return "", fs.ErrPermission
	}
	r := stuckRuns(t, p, f, f, f)
	checkSeverity(t, r, problem.TasksStuckOnMount, "/mnt/a", problem.Critical)
	if got := saying(r, problem.Unknown); len(got) > 0 || asked != 1 {
		t.Errorf("unknown: %q; asked %d times", got, asked)
	}
}

// TestStuckMountsTooYoung: the first looks of a new agent do not take back what an
// earlier one saw; without anybody who waits they can tell, and later ones can.
func TestStuckMountsTooYoung(t *testing.T) {
	hung, idle := remoteHost(fuseA), remoteHost(fuseA)
	hung.fuse(60, 1)
	hung.waiter(10, "app", 'S', "request_wait_answer", 5, statOf, "/kubepods/podaaaa")
	idle.fuse(60, 0)
	for _, tc := range []struct {
		name    string
		files   stuckFiles
		needs   time.Duration
		partial bool
	}{
		{"hung, watched for too short a time", hung, time.Hour, true},
		{"hung, watched for long enough", hung, 0, false},
		{"nobody waits", idle, time.Hour, false},
	} {
		p := NewStuckMounts()
		p.Thresholds.Unanswered = tc.needs
		if r := run(t, p, tree(t, tc.files)); (r.Partial != "") != tc.partial {
			t.Errorf("%s: partial %q", tc.name, r.Partial)
		}
	}
}

func TestStuckMountsNotApplicable(t *testing.T) {
	_, err := NewStuckMounts().Run(t.Context(), tree(t, remoteHost()))
	if err == nil || !strings.Contains(err.Error(), "not applicable") {
		t.Errorf("error %v", err)
	}
	f := remoteHost(fuseA)
	f.fuse(60, 0)
	checkState(t, stuckRuns(t, NewStuckMounts(), f), problem.NFSServerNotResponding, "", problem.NotApplicable)
}

// Whom the stuck tasks belong to, and what ties them to other problems.
func TestStuckMountsRefs(t *testing.T) {
	f := remoteHost(nfsA, "60 20 0:70 / /var/lib/kubelet/pods/x/volumes/nfs rw - nfs4 10.9.0.1:/srv rw")
	f.xprt([4]any{"10.9.0.1:/srv", "/mnt/n", 54, 50})
	f.waiter(10, "kubelet", 'D', "rpc_wait_bit_killable", 5, statOf, "/system.slice/kubelet.service")
	f.waiter(11, "containerd", 'D', "nfs4_handle_exception", 5, statOf, "/kubepods/podaaaa") // only calls itself so
	r := stuckRuns(t, NewStuckMounts(), f, f)
	v := checkSeverity(t, r, problem.TasksStuckOnMount, "/mnt/n", problem.Critical)
	for _, want := range []string{
		"mount:/mnt/n", "mount:/var/lib/kubelet/pods/x/volumes/nfs", "server:10.9.0.1", "process:kubelet", "unit:kubelet.service", "pod:aaaa",
	} {
		if !slices.Contains(v.Touches, problem.Ref(want)) {
			t.Errorf("lacks %s: %v", want, v.Touches)
		}
	}
	if slices.Contains(v.Touches, "process:containerd") {
		t.Errorf("a pod's process passes for the runtime: %v", v.Touches)
	}
	if len(v.Holders) != 2 || v.Holders[0].Owner != "pod uid aaaa" || v.Holders[1].Process != "kubelet" {
		t.Errorf("held by %+v", v.Holders)
	}
	mount := checkSeverity(t, r, problem.MountNotAnswering, "/mnt/n", problem.Critical)
	server := checkSeverity(t, r, problem.NFSServerNotResponding, "10.9.0.1", problem.Critical)
	if !problem.AnyReaches(server.Touches, mount.Touches) || !problem.AnyReaches(mount.Touches, v.Touches) {
		t.Error("server, mount and tasks are not tied")
	}
	if want := "the NFS server 10.9.0.1 does not respond: 4 requests without an answer on /mnt/n"; server.Message != want {
		t.Errorf("%q, want %q", server.Message, want)
	}
}

func TestStuckMountsOnRecordedNodes(t *testing.T) {
	fuse := []string{"FUSEServerNotAnswering /mnt/fuse/m0", "MountNotAnswering /mnt/fuse/m0", "TasksStuckOnMount /mnt/fuse/m0"}
	nfs := []string{"MountNotAnswering /mnt/nfs", "NFSServerNotResponding 10.9.0.1", "TasksStuckOnMount /mnt/nfs"}
	want := map[string][]string{
		"hung-fuse-D-k6.1": fuse, "hung-fuse-D-k6.12": fuse, "hung-fuse-S-k6.12": fuse,
		"hung-nfs-k6.1": nfs, "hung-nfs-k6.12": nfs,
	}
	victims := map[string]float64{"stuck-read": 1, "stuck-stat": 1, "stuck-statfs": 1, "stuck-open": 1}
	for _, state := range fixtures.States(t) {
		if strings.HasPrefix(state, "container-view") {
			continue // no host's root
		}
		t.Run(state, func(t *testing.T) {
			p, n := NewStuckMounts(), nodeAt(t, fixtures.Node(t, state))
			p.Thresholds.Unanswered = 0
			var r problem.Result
			for range 2 {
				var err error
				if r, err = p.Run(t.Context(), n); err != nil && want[state] != nil {
					t.Fatal(err)
				}
			}
			if got := saying(r, problem.Wrong); !slices.Equal(got, want[state]) {
				t.Fatalf("wrong: %q, want %q", got, want[state])
			}
			if got := saying(r, problem.Unknown); len(got) > 0 || r.Partial != "" {
				t.Errorf("unknown: %q, partial: %s", got, r.Partial)
			}
			for _, v := range r.Verdicts {
				if v.Kind != problem.TasksStuckOnMount || v.State != problem.Wrong {
					continue
				}
				holders := len(victims)
				if strings.Contains(state, "fuse") {
					holders++ // a program of the host itself
				}
				if len(v.Holders) != holders {
					t.Errorf("held by %+v", v.Holders)
				}
				inPod := map[string]float64{}
				for _, h := range v.Holders {
					if strings.HasPrefix(h.Owner, "pod ") {
						inPod[h.Process] = h.Amount
					} else if h.Owner != "unit capctl.service" || h.Process != "probe" {
						t.Errorf("held by %+v", h)
					}
				}
				if !maps.Equal(inPod, victims) {
					t.Errorf("victims %v, want %v", inPod, victims)
				}
			}
		})
	}
}

func TestWaitsFor(t *testing.T) {
	for _, tc := range []struct {
		state byte
		wchan string
		want  client
	}{
		{'S', "request_wait_answer", fuseClient},
		{'D', "request_wait_answer.isra.0", fuseClient},
		{'S', "fuse_dev_do_read.constprop.0", ""},
		{'D', "fuse_lock_inode", fuseClient},
		{'S', "do_epoll_wait", ""},
		{'S', "rpc_wait_bit_killable", ""},
		{'D', "rpc_wait_bit_killable", nfsClient},
		{'D', "__nfs_lookup_revalidate", nfsClient},
		{'D', "ceph_mdsc_do_request", cephClient},
		{'D', "p9_client_rpc", p9Client},
		{'D', "SMB2_open", cifsClient},
		{'D', "folio_wait_bit_common", behind},
	} {
		if got := waitsFor(tc.state, tc.wchan); got != tc.want {
			t.Errorf("%c %s: %q, want %q", tc.state, tc.wchan, got, tc.want)
		}
	}
}

func TestParseMountStats(t *testing.T) {
	raw := "no device mounted on /x with fstype nfs4\n" +
		"device h:/a mounted on /a\\040b with fstype nfs statvers=1.1\n\txprt:\ttcp 0 0 2 0 36 54 50 0\n\txprt:\ttcp 0 0 2 0 36 6 5 0\n" +
		"device h:/u mounted on /u with fstype nfs statvers=1.1\n\txprt:\tudp 700 1 9 8 0\n" +
		"device tmpfs mounted on /t with fstype tmpfs\n\txprt:\ttcp 0 0 2 0 36 54 50 0\n" +
		"device h:/l mounted on /l with fstype nfs4 statvers=1.1\n\txprt:\tlocal 1 2 3 4 7 6 0\n" +
		"device h:/bad mounted on /bad with fstype nfs4 statvers=1.1\n\txprt:\ttcp 0 0 2 0 36 x 50 0\n"
	got, err := parseMountStats([]byte(raw))
	want := map[string]nfsCounters{"/a b": {60, 55}, "/u": {9, 8}, "/l": {7, 6}}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if err == nil || !strings.Contains(err.Error(), mountStatsFile) || !strings.Contains(err.Error(), "/bad") {
		t.Errorf("error %v", err)
	}
}

func FuzzParseMountStats(f *testing.F) {
	f.Add([]byte("device h:/a mounted on /a with fstype nfs4 statvers=1.1\n\txprt:\ttcp 0 0 2 0 36 54 50 0\n"))
	f.Add([]byte("device h:/a mounted on /a with fstype nfs\nxprt: udp 1 2 3 4\nxprt:\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parseMountStats(raw)
		if err != nil && !strings.Contains(err.Error(), mountStatsFile) {
			t.Errorf("the error does not name the file: %v", err)
		}
		if len(got) > strings.Count(string(raw), "xprt:") {
			t.Errorf("%d mounts of %q", len(got), raw)
		}
	})
}

func FuzzParseSyscall(f *testing.F) {
	f.Add([]byte(statOf))
	f.Add([]byte("running\n"))
	f.Add([]byte("-1 0x7ffd 0x43a9\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if nr, arg, ok := parseSyscall(raw); ok && (nr < 0 || len(strings.Fields(string(raw))) != 9) {
			t.Errorf("%q: %d %d %v", raw, nr, arg, ok)
		}
	})
}
