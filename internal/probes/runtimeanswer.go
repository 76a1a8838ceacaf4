package probes

// This file: does the container runtime answer, and if not, in which way.

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/cri"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/host/systemd"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// runtimeFacts is what the node shows of a runtime that does not answer.
type runtimeFacts struct {
	daemons []process.Process // of its name, outside of pods
	units   []systemd.Unit    // asked for only where nobody answers
	touches []problem.Ref
}

// evaluateAnswer judges the answer. Facts are gathered only where it is wanting.
func evaluateAnswer(l runtimeLook, th RuntimeThresholds, gather func() runtimeFacts) problem.Result {
	r := problem.Result{Measurements: []problem.Measurement{{
		Resource: "runtime_answer", Used: l.took.Round(time.Millisecond).Seconds(), Max: th.Answer.Seconds(), Unit: problem.Seconds,
	}}}
	v := problem.Verdict{State: problem.Wrong, Severity: problem.Critical}
	v.Kind, v.Message = judgeAnswer(l)
	if v.Kind == "" {
		return r
	}
	facts := gather()
	v.Touches = facts.touches
	v.Evidence = []string{fmt.Sprintf("%s: %s", l.endpoint.Socket, reason(l))}
	if v.Kind == problem.RuntimeDown && len(facts.daemons) == 0 {
		v.Evidence = append(v.Evidence, "/proc: no process of the name "+strings.Join(runtimeNames(l.endpoint.Socket), " or "))
	}
	for _, d := range facts.daemons {
		v.Evidence = append(v.Evidence, fmt.Sprintf("/proc/%d/stat: %s, state %c", d.PID, d.Comm, d.State))
		if d.State == 'T' || d.State == 't' {
			v.Message += fmt.Sprintf("; its process %d is stopped (state %c), as by SIGSTOP or a debugger", d.PID, d.State)
		}
	}
	for _, u := range facts.units {
		v.Evidence = append(v.Evidence, fmt.Sprintf("systemd: %s is %s (%s), result %s", u.Name, u.ActiveState, u.SubState, u.Result))
		if how := u.End(); how != "" && !u.Running() {
			v.Message += fmt.Sprintf("; %s ended with %s", u.Name, how)
		}
	}
	if v.Kind == problem.RuntimeDown {
		// Nothing was measured where nobody answers.
		r.Measurements = nil
	}
	r.Verdicts = []problem.Verdict{v}
	return r
}

// judgeAnswer is the kind of what is wrong, and what it is; empty if nothing is.
// One that is down is not also silent.
func judgeAnswer(l runtimeLook) (problem.Kind, string) {
	name, socket := runtimeNames(l.endpoint.Socket)[0], l.endpoint.Socket
	if l.version.Runtime != "" {
		name = l.version.Runtime
	}
	switch cri.FailureOf(l.err) {
	case cri.Absent:
		return problem.RuntimeDown, fmt.Sprintf("the container runtime does not run: there is no socket %s", socket)
	case cri.Refused:
		return problem.RuntimeDown, fmt.Sprintf("the container runtime does not run: nobody listens on %s", socket)
	case cri.Silent:
		return problem.RuntimeNotAnswering, fmt.Sprintf("%s did not answer within %s: %s", name, round(l.waited), silentIn(l.err))
	case cri.Foreign:
		return problem.RuntimeNotAnswering, fmt.Sprintf("what listens on %s does not speak the protocol of a container runtime", socket)
	case cri.Unsupported:
		return problem.RuntimeNotAnswering, fmt.Sprintf("%s answers on %s, but has no service for kubelet (CRI v1): "+
			"its plugin is switched off (disabled_plugins), or it is too old", name, socket)
	case cri.Broken:
		return problem.RuntimeNotAnswering, fmt.Sprintf("%s fails to answer on %s", name, socket)
	}
	if s := l.status.Runtime; s.Known && !s.True {
		return problem.RuntimeNotAnswering, fmt.Sprintf("%s says that it is not ready: %s", name, orElse(s.Message, s.Reason))
	}
	return "", ""
}

// reason is what was heard instead of an answer.
func reason(l runtimeLook) string {
	if l.err == nil {
		return "Status: RuntimeReady=false " + l.status.Runtime.Reason
	}
	return l.err.Error()
}

// silentIn says in which call it was silent.
func silentIn(err error) string {
	if e := (*cri.Error)(nil); errors.As(err, &e) && e.Call != "" {
		return "the call " + e.Call
	}
	return "nobody takes connections from the queue of its socket, which is full"
}

func round(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }

// runtimeNames are the command names of the daemons behind a socket, the nearest first.
func runtimeNames(socket string) []string {
	switch {
	case socket == cri.DockerSocket:
		return []string{"dockerd"}
	case strings.Contains(socket, "cri-dockerd"):
		return []string{"cri-dockerd", "dockerd", "k3s", "k3s-server", "k3s-agent"}
	case strings.Contains(socket, "crio"):
		return []string{"crio"}
	}
	return []string{"containerd"}
}

// runtimeUnits are the units that a runtime may be, by its socket.
func runtimeUnits(socket string) []string {
	switch {
	case strings.Contains(socket, "docker"):
		return []string{"docker.service", "cri-docker.service", "snap.docker.dockerd.service"}
	case strings.Contains(socket, "crio"):
		return []string{"crio.service"}
	case strings.Contains(socket, "/k3s/"):
		return []string{"k3s.service", "k3s-agent.service", "rke2-server.service", "rke2-agent.service"}
	case strings.Contains(socket, "/k0s/"):
		return []string{"k0sworker.service", "k0scontroller.service"}
	case strings.Contains(socket, "microk8s"):
		return []string{"snap.microk8s.daemon-containerd.service"}
	}
	return []string{"containerd.service"}
}

// gatherRuntimeFacts looks for the daemon, and for what a failure of its is tied to
// by: its name, unit and cgroup, and the disk that it works on.
func gatherRuntimeFacts(ctx context.Context, n *Node, l runtimeLook) runtimeFacts {
	names := runtimeNames(l.endpoint.Socket)
	f := runtimeFacts{touches: []problem.Ref{problem.RefNode}}
	for _, name := range names {
		f.touches = append(f.touches, problem.NewRef(problem.RefProcess, name))
	}
	found, _ := process.Find(ctx, n.Host, names...) // what cannot be seen is no evidence
	for _, d := range found {
		o := n.Owners.OfPID(d.PID)
		if o.Scope() == problem.PodScope {
			continue
		}
		f.daemons = append(f.daemons, d)
		f.touches = append(f.touches, o.Refs()...)
	}
	if failure := cri.FailureOf(l.err); failure == cri.Absent || failure == cri.Refused {
		f.units, _ = systemd.Look(ctx, n.Host, runtimeUnits(l.endpoint.Socket)...) // without systemd, there is none
		for _, u := range f.units {
			f.touches = append(f.touches, problem.NewRef(problem.RefUnit, u.Name))
		}
	}
	f.touches = append(f.touches, diskRefs(n, orElse(l.setup.Root, runtimeRoot(l.endpoint.Socket)))...)
	slices.Sort(f.touches)
	f.touches = slices.Compact(f.touches)
	return f
}

// runtimeRoot is where the runtime behind a socket usually works.
func runtimeRoot(socket string) string {
	switch {
	case strings.Contains(socket, "docker"):
		return "/var/lib/docker"
	case strings.Contains(socket, "crio"):
		return "/var/lib/containers"
	case strings.Contains(socket, "/k3s/"):
		return "/var/lib/rancher"
	case strings.Contains(socket, "/k0s/"):
		return "/var/lib/k0s"
	case strings.Contains(socket, "microk8s"):
		return "/var/snap/microk8s"
	}
	return "/var/lib/containerd"
}

// diskRefs are the mount and the devices below a folder, or below the nearest one
// above it that is there.
func diskRefs(n *Node, dir string) []problem.Ref {
	v, err := viewMounts(n.Host, nil)
	if err != nil {
		return nil
	}
	for {
		m, err := v.place(dir)
		if err == nil {
			return append(v.deviceRefs(m), problem.NewRef(problem.RefMount, m.Point))
		}
		if dir == "/" || dir == "." {
			return nil
		}
		dir = path.Dir(dir)
	}
}
