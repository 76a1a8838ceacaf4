package probes

// This file judges what Units saw.

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/host/systemd"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// watchedUnit is a unit with what is remembered of it.
type watchedUnit struct {
	systemd.Unit
	ran      bool // before this look
	restarts int  // within the window
	before   int  // that may have been within it, or long ago
}

func (u watchedUnit) running() bool { return u.Running() }

// unitSight is one look at a host with systemd.
type unitSight struct {
	wall               time.Time
	kubelets, runtimes []watchedUnit
	// processes are looked for if no unit of kubelet's runs; processRan says that
	// there was one at an earlier look.
	processes  []process.Process
	processErr error
	processRan bool
}

func evaluateUnits(s unitSight, th UnitsThresholds) problem.Result {
	var r problem.Result
	if v := kubeletDown(s, th); v != nil {
		r.Verdicts = append(r.Verdicts, *v)
	}
	frequentRestarts(&r, problem.FrequentKubeletRestart, "kubelet_restarts", "no unit of systemd's is kubelet", s.kubelets, th)
	frequentRestarts(&r, problem.FrequentRuntimeRestart, "runtime_restarts", "no unit of systemd's is a container runtime", s.runtimes, th)
	return r
}

// kubeletDown is the verdict on kubelet if it is not fine.
func kubeletDown(s unitSight, th UnitsThresholds) *problem.Verdict {
	missed := ""
	var worst watchedUnit
	for _, u := range s.kubelets {
		if u.Running() {
			return nil
		}
		// Several may be installed; of those the first that is meant to run counts.
		if what := whyDown(u, s.wall, th.Starting); what != "" && (missed == "" || u.ActiveState == "failed") {
			missed, worst = what, u
		}
	}
	switch {
	case len(s.processes) > 0:
		return nil // somebody runs it in another way
	case s.processErr != nil:
		return &problem.Verdict{
			Kind: problem.KubeletDown, State: problem.Unknown,
			Message: "no unit of kubelet's runs, and whether its process does is not known: " + s.processErr.Error(),
		}
	case missed != "":
		return &problem.Verdict{
			Kind: problem.KubeletDown, State: problem.Wrong, Severity: problem.Critical,
			Message:  missed,
			Evidence: []string{unitEvidence(worst.Unit)},
			Touches:  unitRefs(worst.Unit),
		}
	case s.processRan:
		return kubeletGone()
	}
	for _, u := range s.kubelets {
		if u.ActiveState == "activating" {
			return nil // its time to start is not over
		}
	}
	return &problem.Verdict{
		Kind: problem.KubeletDown, State: problem.NotApplicable, Message: "no kubelet runs here, and none is enabled",
	}
}

// whyDown says what is wrong with a unit that does not run; it is empty for one that
// is not meant to run, or that is on its way.
func whyDown(u watchedUnit, now time.Time, starting time.Duration) string {
	ended := u.Name
	if end := u.End(); end != "" {
		ended += " (" + end + ")"
	}
	wanted := u.Enabled() || u.ran
	switch {
	case u.LoadState == "masked":
		return ""
	case u.LoadState != "loaded" && wanted:
		return fmt.Sprintf("%s cannot be started: its unit file is wrong (%s)", u.Name, u.LoadState)
	case u.ActiveState == "failed" && u.Result == "start-limit-hit":
		return ended + " has failed so often that systemd has given up starting it"
	case u.ActiveState == "failed":
		return fmt.Sprintf("%s has failed: %s", ended, u.Result)
	case u.SubState == "auto-restart":
		return ended + " has ended and waits for systemd to start it again"
	case u.ActiveState == "activating":
		if u.Changed.IsZero() || now.Sub(u.Changed) <= starting {
			return ""
		}
		return fmt.Sprintf("%s has been starting for more than %g min", u.Name, starting.Minutes())
	case u.Enabled():
		return u.Name + " is stopped, although it is enabled"
	case u.ran:
		return u.Name + " is stopped; it ran before"
	}
	return ""
}

func unitEvidence(u systemd.Unit) string {
	text := fmt.Sprintf("systemctl show %s: LoadState=%s ActiveState=%s SubState=%s UnitFileState=%s Result=%s ExecMainStatus=%d",
		u.Name, u.LoadState, u.ActiveState, u.SubState, u.FileState, u.Result, u.ExitCode)
	if u.Restarts != systemd.RestartsUnknown {
		text += fmt.Sprintf(" NRestarts=%d", u.Restarts)
	}
	if !u.Changed.IsZero() {
		text += " since " + u.Changed.UTC().Format(time.RFC3339)
	}
	return text
}

// unitRefs tie a unit to the process in it, which is called as the unit is, and to
// its cgroup, where it has one now.
func unitRefs(u systemd.Unit) []problem.Ref {
	refs := []problem.Ref{
		problem.NewRef(problem.RefUnit, u.Name),
		problem.NewRef(problem.RefProcess, strings.TrimSuffix(u.Name, ".service")),
	}
	if u.Cgroup != "" {
		refs = append(refs, problem.NewRef(problem.RefCgroup, u.Cgroup))
	}
	return refs
}

// frequentRestarts measures the restarts of some units and judges the one with most.
func frequentRestarts(r *problem.Result, kind problem.Kind, resource, none string, units []watchedUnit, th UnitsThresholds) {
	unknown := none
	var most, undated watchedUnit
	for _, u := range units {
		if u.Restarts == systemd.RestartsUnknown {
			unknown = "systemd counts no restarts here: it is older than 235"
			continue
		}
		if most.Name == "" || u.restarts > most.restarts {
			most = u
		}
		if u.restarts+u.before >= th.Restarts {
			undated = u
		}
		r.Measurements = append(r.Measurements, problem.Measurement{
			Resource: resource, Subject: u.Name, Used: float64(u.restarts), Max: float64(th.Restarts), Unit: problem.Restarts,
			Touches: unitRefs(u.Unit),
		})
	}
	switch {
	case most.Name == "" && unknown == none:
		r.Verdicts = append(r.Verdicts, problem.Verdict{Kind: kind, State: problem.NotApplicable, Message: none})
	case most.Name == "":
		r.Verdicts = append(r.Verdicts, problem.Verdict{Kind: kind, State: problem.Unknown, Message: unknown})
	case most.restarts >= th.Restarts:
		r.Verdicts = append(r.Verdicts, problem.Verdict{
			Kind: kind, State: problem.Wrong, Severity: problem.Critical,
			Message:  fmt.Sprintf("systemd had to restart %s %s in %g min", most.Name, timesOrMore(most.restarts), th.Within.Minutes()),
			Evidence: []string{unitEvidence(most.Unit)},
			Touches:  unitRefs(most.Unit),
		})
	case undated.Name != "":
		// Not fine: the log decides, which has the times.
		r.Verdicts = append(r.Verdicts, problem.Verdict{Kind: kind, State: problem.NotApplicable, Message: fmt.Sprintf(
			"systemd has restarted %s %s, it does not say when", undated.Name, timesOrMore(undated.restarts+undated.before))})
	}
}

// timesOrMore renders a count that rises while one looks on.
func timesOrMore(n int) string {
	if n < 10 {
		return fmt.Sprintf("%d times", n)
	}
	return fmt.Sprintf("more than %d times", (n-1)/10*10)
}

// watchedProcess is a kubelet that is no unit.
type watchedProcess struct {
	process.Process
	restarts int // within the window
}

// processSight is one look at a host whose systemd, if it has one, tells nothing.
type processSight struct {
	why   error // of that
	found []watchedProcess
	ran   bool // one, or a unit of kubelet's, was seen at an earlier look
}

func evaluateKubeletProcesses(s processSight, th UnitsThresholds) problem.Result {
	var r problem.Result
	none := problem.Verdict{State: problem.NotApplicable, Message: s.why.Error()}
	if !errors.Is(s.why, systemd.ErrAbsent) {
		none.State = problem.Unknown
	}
	none.Kind = problem.FrequentRuntimeRestart
	r.Verdicts = append(r.Verdicts, none)
	if len(s.found) == 0 {
		if s.ran {
			r.Verdicts = append(r.Verdicts, *kubeletGone())
			return r
		}
		none.Message = "no kubelet runs here, nor did one at an earlier look"
		if none.State == problem.Unknown {
			none.Message = "no kubelet runs here, and whether one should is not known: " + s.why.Error()
		}
		r.Verdicts = append(r.Verdicts, undecided(none.State, none.Message, problem.KubeletDown, problem.FrequentKubeletRestart)...)
		return r
	}
	for _, k := range s.found {
		refs := []problem.Ref{problem.NewRef(problem.RefProcess, k.Comm)}
		r.Measurements = append(r.Measurements, problem.Measurement{
			Resource: "kubelet_restarts", Subject: k.Comm, Used: float64(k.restarts), Max: float64(th.Restarts), Unit: problem.Restarts, Touches: refs,
		})
		if k.restarts >= th.Restarts {
			r.Verdicts = append(r.Verdicts, problem.Verdict{
				Kind: problem.FrequentKubeletRestart, State: problem.Wrong, Severity: problem.Critical,
				Message:  fmt.Sprintf("%s was restarted %s in %g min", k.Comm, timesOrMore(k.restarts), th.Within.Minutes()),
				Evidence: []string{fmt.Sprintf("/proc: process %d is the last of %d", k.PID, k.restarts+1)},
				Touches:  refs,
			})
		}
	}
	return r
}

// kubeletGone is the verdict on a kubelet that no unit is known for.
func kubeletGone() *problem.Verdict {
	return &problem.Verdict{
		Kind: problem.KubeletDown, State: problem.Wrong, Severity: problem.Critical,
		Message:  "kubelet's process is gone; it ran before",
		Evidence: []string{"/proc: no process is called " + strings.Join(kubeletNames(), ", ")},
		Touches:  []problem.Ref{problem.NewRef(problem.RefProcess, "kubelet")},
	}
}
