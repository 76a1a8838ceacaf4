package rules

// This file: which pod a line is about, in the shapes in which kubelet and the
// runtimes write it, so that no rule has to.

import (
	"bytes"
	"regexp"
	"slices"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// podName is a pod as far as a line names it.
type podName struct {
	namespace, name, uid string
}

func (p podName) String() string {
	switch {
	case p.name != "" && p.namespace != "":
		return "pod " + p.namespace + "/" + p.name
	case p.uid != "":
		return "pod uid " + p.uid
	case p.name != "":
		return "pod " + p.name
	}
	return ""
}

func (p podName) ref() problem.Ref {
	switch {
	case p.name != "" && p.namespace != "":
		return problem.NewRef(problem.RefPod, p.namespace+"/"+p.name)
	case p.uid != "":
		return problem.NewRef(problem.RefPod, p.uid)
	}
	return ""
}

const (
	label = `[a-z0-9][-a-z0-9.]*` // RFC 1123, as names of pods and namespaces are
	uid   = `([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32})`
)

// podShape is one way to write a pod. A line without any of the marks has none.
type podShape struct {
	marks           []string
	pattern         *regexp.Regexp
	namespace, name int // which group; 0 for none
	uid             int
}

// sandbox is how containerd prints a pod, whose uid may have any form.
const sandbox = "Metadata{"

// podShapes, the most telling first.
var podShapes = []podShape{
	// Structured klog.
	{[]string{"pod=", "pods="}, regexp.MustCompile(`\bpods?=\[?\\*"(` + label + `)/(` + label + `)\\*"`), 1, 2, 0},
	// containerd.
	{[]string{sandbox}, regexp.MustCompile(`PodSandboxMetadata\{Name:(` + label + `),Uid:([-\w]+),Namespace:(` + label + `),`), 3, 1, 2},
	// docker's container names and CRI-O's, whose sandboxes' names have no container.
	{[]string{"k8s_"}, regexp.MustCompile(`\bk8s_(?:[-\w.]+?_)??(` + label + `)_(` + label + `)_` + uid + `_\d+`), 2, 1, 3},
	// Names that containerd reserves.
	{[]string{"reserve"}, regexp.MustCompile(`name \\*"(?:` + label + `_)?(` + label + `)_(` + label + `)_` + uid + `_\d+\\*"`), 2, 1, 3},
	// klog before 1.20.
	{[]string{`)"`, `)\"`}, regexp.MustCompile(`"(` + label + `)_(` + label + `)\(` + uid + `\)`), 2, 1, 3},
	// Only a uid: in quotes, or on a path.
	{[]string{`"`}, regexp.MustCompile(`(?:UID|podID|for|pod):? ?=? ?\\*"` + uid + `\\*"`), 0, 0, 1},
	{[]string{"/pods/"}, regexp.MustCompile(`/pods/` + uid + `/`), 0, 0, 1},
}

// findPod is the pod that a line is about; empty if it names none.
func findPod(line []byte) podName {
	hasUID := mayHoldUID(line)
	for _, s := range podShapes {
		if s.uid != 0 && !hasUID && s.marks[0] != sandbox || !holdsAny(line, s.marks) {
			continue
		}
		m := s.pattern.FindSubmatch(line)
		if m == nil {
			continue
		}
		group := func(i int) string {
			if i == 0 {
				return ""
			}
			return string(m[i])
		}
		return podName{namespace: group(s.namespace), name: group(s.name), uid: group(s.uid)}
	}
	return podName{}
}

// mayHoldUID reports whether there is a word of hexadecimal digits and dashes
// that is as long as a uid is with or without dashes. It is much cheaper than
// the patterns, which most lines would make try at every quote.
func mayHoldUID(line []byte) bool {
	run := 0
	for _, c := range line {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c == '-' {
			run++
			continue
		}
		if run == 32 || run == 36 {
			return true
		}
		run = 0
	}
	return run == 32 || run == 36
}

func holdsAny(line []byte, texts []string) bool {
	return slices.ContainsFunc(texts, func(t string) bool { return bytes.Contains(line, []byte(t)) })
}
