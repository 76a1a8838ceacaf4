package diagnosis

// This file: the condition types of node-problem-detector's own configurations,
// told from the kinds that mean the same, for consumers that know those names.

import (
	"slices"
	"strings"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// npdType is one of node-problem-detector's types (config/*.json of its sources).
type npdType struct {
	name  string
	kinds []problem.Kind
	about string // what its problems speak of, in lower case; empty for any
}

func npdTypes() []npdType {
	return []npdType{
		{name: "KernelDeadlock", kinds: []problem.Kind{problem.TaskHung, problem.SoftLockup}},
		{name: "ReadonlyFilesystem", kinds: []problem.Kind{problem.ReadonlyFilesystem}},
		{name: "FrequentKubeletRestart", kinds: []problem.Kind{problem.FrequentKubeletRestart}},
		{name: "FrequentContainerdRestart", kinds: []problem.Kind{problem.FrequentRuntimeRestart}, about: "containerd"},
		{name: "FrequentDockerRestart", kinds: []problem.Kind{problem.FrequentRuntimeRestart}, about: "docker"},
		{name: "FrequentUnregisterNetDevice", kinds: []problem.Kind{problem.NetdeviceStuck}},
		{name: "CorruptDockerOverlay2", kinds: []problem.Kind{problem.FilesystemCorruption}, about: "overlay2"},
	}
}

// NPDTypes are the names of the conditions that NPDConditions derives.
func NPDTypes() []string {
	var names []string
	for _, t := range npdTypes() {
		names = append(names, t.name)
	}
	return names
}

// NPDConditions derives node-problem-detector's conditions. As there, any problem
// of node scope turns its condition True, also one that is only a warning.
func NPDConditions(problems []problem.Problem, kinds []problem.KindStatus) []problem.Condition {
	var out []problem.Condition
	for _, t := range npdTypes() {
		about := slices.DeleteFunc(slices.Clone(problems), func(p problem.Problem) bool { return !t.isAbout(p) })
		of := func(k problem.Kind) bool { return slices.Contains(t.kinds, k) }
		out = append(out, condition(t.name, of, about, kinds, problem.Info))
	}
	return out
}

func (t npdType) isAbout(p problem.Problem) bool {
	said := strings.Join(append([]string{p.Subject, p.Message}, p.Evidence...), "\n")
	return strings.Contains(strings.ToLower(said), t.about)
}
