package diagnosis

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func diagnose(problems []problem.Tracked) []problem.Problem {
	return Diagnose(Input{
		Catalogue: problem.Builtin(), Problems: problems, Wall: func(d time.Duration) time.Time { return time.Unix(0, int64(d)) },
	})
}

func tracked(k problem.Kind, subject string, touches ...problem.Ref) problem.Tracked {
	return problem.Tracked{Verdict: problem.Verdict{
		Kind: k, Subject: subject, State: problem.Wrong, Severity: problem.Critical, Scope: problem.NodeScope, Refused: true, Touches: touches,
	}}
}

// size is how many causes a tree has.
func size(causes []problem.Cause) int {
	n := len(causes)
	for _, c := range causes {
		n += size(c.Causes)
	}
	return n
}

// TestManyVolumesOfOneServer hang: each task waits for its own mount, and for no other
// of the same server.
func TestManyVolumesOfOneServer(t *testing.T) {
	server := problem.NewRef(problem.RefServer, "nas1")
	all := []problem.Tracked{tracked(problem.NFSServerNotResponding, "nas1", server)}
	for i := range 100 {
		mount, pod := problem.NewRef(problem.RefMount, fmt.Sprint("/mnt/", i)), problem.NewRef(problem.RefPod, fmt.Sprint("a/", i))
		all = append(all,
			tracked(problem.MountNotAnswering, mount.ID(), mount, server),
			tracked(problem.TasksStuckOnMount, mount.ID(), mount, server, pod),
			tracked(problem.TaskHung, pod.ID(), mount, pod))
	}
	for _, p := range diagnose(all) {
		if p.Kind != problem.TasksStuckOnMount {
			continue
		}
		if got := p.Causes; size(got) != 2 || got[0].Kind != problem.MountNotAnswering || got[0].Subject != p.Subject || got[0].Causes[0].Subject != "nas1" {
			t.Fatalf("the tasks of %s wait because of %+v", p.Subject, got)
		}
	}
}

// TestWhereAllIsTiedToAll the diagnosis comes to an end, and shows no more than a person
// can read.
func TestWhereAllIsTiedToAll(t *testing.T) {
	node := problem.NewRef(problem.RefCgroup, "/kubepods")
	var all []problem.Tracked
	for _, k := range []problem.Kind{
		problem.CgroupPIDsNearLimit, problem.ForkRefused, problem.CNIFailure, problem.RuntimeDeadlineExceeded, problem.SandboxRecreated,
	} {
		for i := range 100 {
			all = append(all, tracked(k, fmt.Sprint("pod ", i), node))
		}
	}
	for _, p := range diagnose(all) {
		if p.Kind != problem.CgroupPIDsNearLimit && len(p.Causes) == 0 {
			t.Errorf("%s %s has no cause", p.Kind, p.Subject)
		}
		if n := size(p.Causes); n > maxCauses || n == maxCauses && p.Note == "" {
			t.Fatalf("%s %s: %d causes are shown, and the note is %q", p.Kind, p.Subject, n, p.Note)
		}
	}
}
