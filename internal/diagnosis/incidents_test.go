package diagnosis_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/diagnosis"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/tracker"
)

// The incidents play reports and log lines into the tracker and its problems
// into the diagnosis. Each has a counter-example: the same symptom with
// another cause, or with none.

const (
	podA = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podaaaa.slice"
	podB = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podbbbb.slice"
)

// step is something that happens at a time (in seconds since boot).
type step struct {
	at      int
	report  *problem.Report
	claim   *problem.Claim
	measure []problem.Measurement
}

func level(at int, kinds []problem.Kind, vs ...problem.Verdict) step {
	for i := range vs {
		vs[i].State = problem.Wrong
	}
	t := time.Duration(at) * time.Second
	return step{at: at, report: &problem.Report{
		Probe: string(kinds[0]), Kinds: kinds, Period: 10 * time.Second, Begun: t, Ended: t,
		Result: problem.Result{Verdicts: vs},
	}}
}

func failed(at int, kinds ...problem.Kind) step {
	s := level(at, kinds)
	s.report.Err = errors.New("permission denied")
	return s
}

func line(at int, kind problem.Kind, touches ...problem.Ref) step {
	return step{at: at, claim: &problem.Claim{Kind: kind, Message: "claimed by a line", Line: "…", Source: "syslog", Touches: touches}}
}

// refused is a line about a call that failed with an error.
func refused(at int, kind problem.Kind, err problem.Errno) step {
	s := line(at, kind)
	s.claim.Error = err
	return s
}

func critical(kind problem.Kind, subject string, refused bool, touches ...problem.Ref) problem.Verdict {
	return problem.Verdict{Kind: kind, Subject: subject, Severity: problem.Critical, Message: "wrong", Refused: refused, Touches: touches}
}

func kinds(k ...problem.Kind) []problem.Kind { return k }

func cg(path string) problem.Ref     { return problem.NewRef(problem.RefCgroup, path) }
func mount(point string) problem.Ref { return problem.NewRef(problem.RefMount, point) }

var threadKinds = kinds(problem.ForkRefused, problem.CgroupPIDsNearLimit, problem.NodeThreadsNearLimit)

type incident struct {
	name  string
	steps []step
	until int // seconds; the tracker ticks then
	// want is each active problem with its chain, "effect <- cause <- cause".
	want []string
	// examined must each be among what the first problem says was looked at.
	examined []string
}

func TestIncidents(t *testing.T) {
	at := func(resource string, used, limit float64, touches ...problem.Ref) problem.Measurement {
		return problem.Measurement{Resource: resource, Used: used, Max: limit, Unit: problem.Threads, Touches: touches}
	}
	pidsOfNode := []problem.Measurement{at("pid_max", 6882, 32768), at("threads_max", 6882, 76466)}
	for _, tc := range []incident{
		{
			name: "pid-limit-in-one-pod",
			steps: []step{
				{at: 99, measure: append(pidsOfNode, at("cgroup_pids", 64, 64, cg(podA)))},
				level(100, threadKinds,
					critical(problem.ForkRefused, "pod a", true, cg(podA), cg(podA+"/x.scope")),
					critical(problem.CgroupPIDsNearLimit, "pod a", true, cg(podA))),
			},
			want:     []string{"CgroupPIDsNearLimit pod a", "ForkRefused pod a <- CgroupPIDsNearLimit pod a"},
			examined: []string{"not pid_max: 21 % (6882 of 32768 threads)", "not threads_max: 9 % (6882 of 76466 threads)"},
		},
		{
			name: "counter-example: another pod at its own limit is never blamed",
			steps: []step{
				level(100, threadKinds,
					critical(problem.ForkRefused, "pod a", true, cg(podA)),
					critical(problem.CgroupPIDsNearLimit, "pod b", true, cg(podB))),
			},
			want: []string{"CgroupPIDsNearLimit pod b", "ForkRefused pod a"},
		},
		{
			name: "pid-max-reached-and-pods-fail-to-fork",
			steps: []step{
				level(100, threadKinds, critical(problem.NodeThreadsNearLimit, "", true, problem.RefNode)),
				line(101, problem.ForkRefused, problem.NewRef(problem.RefUnit, "docker.service")),
			},
			want: []string{"ForkRefused <- NodeThreadsNearLimit", "NodeThreadsNearLimit"},
		},
		{
			name: "counter-example: threads merely high have refused nothing",
			steps: []step{
				level(100, threadKinds, critical(problem.NodeThreadsNearLimit, "", false, problem.RefNode)),
				line(101, problem.ForkRefused),
			},
			want: []string{"ForkRefused", "NodeThreadsNearLimit"},
		},
		{
			name: "kubepods-at-its-limit-binds-every-pod",
			steps: []step{
				level(100, threadKinds,
					critical(problem.ForkRefused, "cgroup /kubepods.slice", true, cg("/kubepods.slice"), cg(podA+"/x.scope")),
					critical(problem.CgroupPIDsNearLimit, "cgroup /kubepods.slice", true, cg("/kubepods.slice"))),
			},
			want: []string{"CgroupPIDsNearLimit cgroup /kubepods.slice", "ForkRefused cgroup /kubepods.slice <- CgroupPIDsNearLimit cgroup /kubepods.slice"},
		},
		{
			name: "counter-example: the limit of a descendant does not bind what is above it",
			steps: []step{
				level(100, threadKinds,
					critical(problem.ForkRefused, "unit kubelet.service", true, cg("/system.slice/kubelet.service")),
					critical(problem.CgroupPIDsNearLimit, "x", true, cg("/system.slice/kubelet.service/child"))),
			},
			want: []string{"CgroupPIDsNearLimit x", "ForkRefused unit kubelet.service"},
		},
		{
			name: "disk-full-refuses-writes",
			steps: []step{
				level(100, kinds(problem.FilesystemSpaceLow), critical(problem.FilesystemSpaceLow, "/", true, mount("/"))),
				level(110, kinds(problem.FilesystemSpaceLow), critical(problem.FilesystemSpaceLow, "/", true, mount("/"))),
				level(120, kinds(problem.FilesystemSpaceLow), critical(problem.FilesystemSpaceLow, "/", true, mount("/"))),
				line(121, problem.NoSpaceLeft, mount("/")),
			},
			want: []string{"FilesystemSpaceLow /", "NoSpaceLeft <- FilesystemSpaceLow /"},
		},
		{
			name: "counter-example: no space left on a disk that has room is not blamed on another disk",
			steps: []step{
				level(100, kinds(problem.FilesystemSpaceLow), critical(problem.FilesystemSpaceLow, "/data", true, mount("/data"))),
				level(110, kinds(problem.FilesystemSpaceLow), critical(problem.FilesystemSpaceLow, "/data", true, mount("/data"))),
				level(120, kinds(problem.FilesystemSpaceLow), critical(problem.FilesystemSpaceLow, "/data", true, mount("/data"))),
				line(121, problem.NoSpaceLeft, mount("/")),
			},
			want: []string{"FilesystemSpaceLow /data", "NoSpaceLeft"},
		},
		{
			name: "disk filled for one sample is no problem yet",
			steps: []step{
				level(100, kinds(problem.FilesystemSpaceLow), critical(problem.FilesystemSpaceLow, "/", true, mount("/"))),
			},
			want: nil,
		},
		{
			name: "inotify-looks-like-disk-full",
			steps: []step{
				level(100, kinds(problem.InotifyRefused, problem.InotifyWatchesNearLimit),
					critical(problem.InotifyRefused, "", true, problem.RefNode),
					critical(problem.InotifyWatchesNearLimit, "uid 0", true, problem.RefNode)),
				level(100, kinds(problem.FilesystemSpaceLow)),
			},
			want: []string{"InotifyRefused <- InotifyWatchesNearLimit uid 0", "InotifyWatchesNearLimit uid 0"},
		},
		{
			name: "counter-example: watches of another user are used up",
			steps: []step{
				level(100, kinds(problem.InotifyRefused, problem.InotifyWatchesNearLimit),
					critical(problem.InotifyRefused, "", true, problem.NewRef(problem.RefUID, "0")),
					critical(problem.InotifyWatchesNearLimit, "uid 1000", false, problem.NewRef(problem.RefUID, "1000"))),
			},
			want: []string{"InotifyRefused", "InotifyWatchesNearLimit uid 1000"},
		},
		{
			name: "conntrack-full-drops",
			steps: []step{
				level(100, kinds(problem.ConntrackDropping, problem.ConntrackNearLimit),
					critical(problem.ConntrackDropping, "", true, problem.RefNode),
					critical(problem.ConntrackNearLimit, "", true, problem.RefNode)),
			},
			want: []string{"ConntrackDropping <- ConntrackNearLimit", "ConntrackNearLimit"},
		},
		{
			name: "conntrack-full-breaks-dns: a chain of two",
			steps: []step{
				level(100, kinds(problem.ConntrackDropping, problem.ConntrackNearLimit),
					critical(problem.ConntrackDropping, "", true, problem.RefNode),
					critical(problem.ConntrackNearLimit, "", true, problem.RefNode)),
				line(101, problem.DNSFailure), line(102, problem.DNSFailure), line(103, problem.DNSFailure),
				line(104, problem.DNSFailure), line(105, problem.DNSFailure),
			},
			want: []string{
				"ConntrackDropping <- ConntrackNearLimit", "ConntrackNearLimit",
				"DNSFailure <- ConntrackDropping <- ConntrackNearLimit",
			},
		},
		{
			name: "counter-example: the cause that came long after its effect",
			steps: []step{
				level(90, kinds(problem.ConntrackDropping)),
				line(100, problem.DNSFailure), line(101, problem.DNSFailure), line(102, problem.DNSFailure),
				line(103, problem.DNSFailure), line(104, problem.DNSFailure),
				level(300, kinds(problem.ConntrackDropping), critical(problem.ConntrackDropping, "", true, problem.RefNode)),
			},
			want: []string{"ConntrackDropping", "DNSFailure"},
		},
		{
			name:  "too few lines within the window claim nothing",
			steps: []step{line(100, problem.DNSFailure), line(101, problem.DNSFailure), line(102, problem.DNSFailure), line(500, problem.DNSFailure), line(900, problem.DNSFailure)},
			want:  nil,
		},
		{
			name: "cgroup-ids-exhausted",
			steps: []step{
				level(100, kinds(problem.CgroupLeak), critical(problem.CgroupLeak, "", true, problem.RefNode)),
				line(101, problem.CgroupCreationRefused),
			},
			want: []string{"CgroupCreationRefused <- CgroupLeak", "CgroupLeak"},
		},
		{
			name: "counter-example: a leak that has not run out of ids",
			steps: []step{
				level(100, kinds(problem.CgroupLeak), critical(problem.CgroupLeak, "", false, problem.RefNode)),
				line(101, problem.CgroupCreationRefused),
			},
			want: []string{"CgroupCreationRefused", "CgroupLeak"},
		},
		{
			name: "no cgroup for lack of memory: fragmentation is blamed",
			steps: []step{
				level(100, kinds(problem.MemoryFragmented), critical(problem.MemoryFragmented, "", false, problem.RefNode)),
				level(500, kinds(problem.MemoryFragmented), critical(problem.MemoryFragmented, "", false, problem.RefNode)),
				refused(501, problem.CgroupCreationRefused, problem.ENOMEM),
			},
			want: []string{"CgroupCreationRefused <- MemoryFragmented", "MemoryFragmented"},
		},
		{
			name: "counter-example: no cgroup for lack of ids, beside fragmented memory",
			steps: []step{
				level(100, kinds(problem.MemoryFragmented), critical(problem.MemoryFragmented, "", false, problem.RefNode)),
				level(500, kinds(problem.MemoryFragmented), critical(problem.MemoryFragmented, "", false, problem.RefNode)),
				refused(501, problem.CgroupCreationRefused, problem.ENOSPC),
			},
			want: []string{"CgroupCreationRefused", "MemoryFragmented"},
		},
		{
			name: "eviction-by-its-own-signal",
			steps: []step{
				level(100, kinds(problem.EvictionImminent, problem.FilesystemInodesLow),
					critical(problem.EvictionImminent, "nodefs.inodesFree", false, problem.RefNode, mount("/")),
					critical(problem.FilesystemInodesLow, "/", false, mount("/"))),
				level(110, kinds(problem.EvictionImminent, problem.FilesystemInodesLow),
					critical(problem.EvictionImminent, "nodefs.inodesFree", false, problem.RefNode, mount("/")),
					critical(problem.FilesystemInodesLow, "/", false, mount("/"))),
				level(120, kinds(problem.EvictionImminent, problem.FilesystemInodesLow),
					critical(problem.EvictionImminent, "nodefs.inodesFree", false, problem.RefNode, mount("/")),
					critical(problem.FilesystemInodesLow, "/", false, mount("/"))),
			},
			want: []string{"EvictionImminent nodefs.inodesFree <- FilesystemInodesLow /", "FilesystemInodesLow /"},
		},
		{
			name: "counter-example: eviction by memory is not explained by inodes",
			steps: []step{
				level(100, kinds(problem.EvictionImminent, problem.FilesystemInodesLow),
					critical(problem.EvictionImminent, "memory.available", false, problem.RefNode, mount("/")),
					critical(problem.FilesystemInodesLow, "/", false, mount("/"))),
				level(120, kinds(problem.EvictionImminent, problem.FilesystemInodesLow),
					critical(problem.EvictionImminent, "memory.available", false, problem.RefNode, mount("/")),
					critical(problem.FilesystemInodesLow, "/", false, mount("/"))),
				level(140, kinds(problem.EvictionImminent, problem.FilesystemInodesLow),
					critical(problem.EvictionImminent, "memory.available", false, problem.RefNode, mount("/")),
					critical(problem.FilesystemInodesLow, "/", false, mount("/"))),
			},
			want: []string{"EvictionImminent memory.available", "FilesystemInodesLow /"},
		},
		{
			name: "one pod's trouble is not felt by another of which the same daemon logs",
			steps: []step{
				line(100, problem.SandboxRecreated, "pod:shop/a", "unit:kubelet.service"),
				{at: 101, claim: &problem.Claim{
					Kind: problem.SandboxLimitTooSmall, Subject: "pod shop/b", Line: "…", Source: "syslog", Touches: []problem.Ref{"pod:shop/b", "unit:kubelet.service"},
				}},
			},
			want: []string{"SandboxLimitTooSmall pod shop/b", "SandboxRecreated"},
		},
		{
			name: "fork refused by log clears when two runs find the level fine",
			steps: []step{
				line(100, problem.ForkRefused), level(110, threadKinds), level(120, threadKinds),
			},
			want: nil,
		},
		{
			name:  "one fine run does not clear",
			steps: []step{line(100, problem.ForkRefused), level(110, threadKinds)},
			want:  []string{"ForkRefused"},
		},
		{
			name: "a probe that fails is no recovery",
			steps: []step{
				level(100, threadKinds, critical(problem.ForkRefused, "pod a", true, cg(podA))),
				failed(110, threadKinds...), failed(120, threadKinds...), failed(130, threadKinds...),
			},
			until: 4000,
			want:  []string{"ForkRefused pod a"},
		},
		{
			name:  "a claim without level evidence clears after its quiet time",
			steps: []step{line(100, problem.PageAllocationFailure)},
			until: 100 + 15*60 + 1,
			want:  nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, tc) })
	}
}

func play(t *testing.T, tc incident) {
	t.Helper()
	c := problem.Builtin()
	tr := tracker.New(c, false)
	var measured []problem.Measurement
	now := 0
	for _, s := range tc.steps {
		now = s.at
		switch {
		case s.report != nil:
			tr.Observe(*s.report)
		case s.claim != nil:
			tr.Match(time.Duration(s.at)*time.Second, *s.claim)
		}
		measured = append(measured, s.measure...)
	}
	end := time.Duration(max(now, tc.until)) * time.Second
	tr.Tick(end)
	problems := diagnosis.Diagnose(diagnosis.Input{
		Catalogue: c, Problems: tr.Active(), Measurements: measured, Kinds: tr.Kinds(end),
		Wall: func(d time.Duration) time.Time { return time.Unix(0, int64(d)) },
	})
	var got []string
	for _, p := range problems {
		got = append(got, chain(string(p.Kind), p.Subject, p.Causes))
	}
	slices.Sort(got)
	if !slices.Equal(got, tc.want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(tc.want, "\n  "))
	}
	for _, e := range tc.examined {
		if !slices.ContainsFunc(problems, func(p problem.Problem) bool { return slices.Contains(p.Examined, e) }) {
			t.Errorf("no problem says %q: %+v", e, problems)
		}
	}
}

func chain(kind, subject string, causes []problem.Cause) string {
	s := strings.TrimSpace(kind + " " + subject)
	for _, c := range causes {
		s += " <- " + chain(string(c.Kind), c.Subject, c.Causes)
	}
	return s
}

func TestConditions(t *testing.T) {
	c := problem.Builtin()
	now := 100 * time.Second
	for _, tc := range []struct {
		name  string
		steps []step
		until int
		want  string // of PIDExhaustion
	}{
		{"before the first verdict", nil, 0, "Unknown Starting"},
		{"fine", []step{level(100, threadKinds)}, 0, "False Healthy"},
		{"critical of node scope", []step{level(100, threadKinds, critical(problem.NodeThreadsNearLimit, "", true, problem.RefNode))}, 0, "True NodeThreadsNearLimit"},
		{"a warning leaves it False and is named", []step{level(100, threadKinds, problem.Verdict{Kind: problem.NodeThreadsNearLimit, Severity: problem.Warning})}, 0, "False NodeThreadsNearLimit"},
		{"one pod's problem is not the node's", []step{level(100, threadKinds, problem.Verdict{Kind: problem.CgroupPIDsNearLimit, Subject: "pod a", Severity: problem.Critical, Scope: problem.PodScope})}, 0, "False Healthy"},
		{"one failed run is no cause to cry", []step{level(100, threadKinds), failed(110, threadKinds...)}, 0, "False Healthy"},
		{"blind for more than three periods", []step{level(100, threadKinds), failed(110, threadKinds...)}, 141, "Unknown CannotTell"},
		{"blind from the start", []step{failed(100, threadKinds...)}, 0, "Unknown CannotTell"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := tracker.New(c, false)
			tr.Expect(string(threadKinds[0]), threadKinds, 10*time.Second, now)
			end := now
			for _, s := range tc.steps {
				tr.Observe(*s.report)
				end = max(end, s.report.Ended)
			}
			end = max(end, time.Duration(tc.until)*time.Second)
			ks := tr.Kinds(end)
			problems := diagnosis.Diagnose(diagnosis.Input{
				Catalogue: c, Problems: tr.Active(), Kinds: ks, Wall: func(d time.Duration) time.Time { return time.Unix(0, int64(d)) },
			})
			for _, cond := range diagnosis.Conditions(c, problems, ks, problem.Critical) {
				if cond.Type == problem.PIDExhaustion {
					if got := fmt.Sprintf("%s %s", cond.Status, cond.Reason); got != tc.want {
						t.Errorf("got %s (%s), want %s", got, cond.Message, tc.want)
					}
				}
			}
		})
	}
}
