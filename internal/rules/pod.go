package rules

// This file: which pod a line is about, in the shapes in which kubelet and the
// runtimes write it, so that no rule has to.

import (
	"bytes"
	"regexp"

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

// podShape is one way to write a pod. A line without the literal has none.
type podShape struct {
	literal         string
	pattern         *regexp.Regexp
	namespace, name int // which group; 0 for none
	uid             int
}

// podShapes, the most telling first.
var podShapes = []podShape{
	// Structured klog.
	{`="`, regexp.MustCompile(`\bpods?=\[?\\*"(` + label + `)/(` + label + `)\\*"`), 1, 2, 0},
	{`=\"`, regexp.MustCompile(`\bpods?=\[?\\*"(` + label + `)/(` + label + `)\\*"`), 1, 2, 0},
	// containerd.
	{"Metadata{", regexp.MustCompile(`PodSandboxMetadata\{Name:(` + label + `),Uid:([-\w]+),Namespace:(` + label + `),`), 3, 1, 2},
	// docker's container names and CRI-O's.
	{"k8s_", regexp.MustCompile(`\bk8s_[-\w.]+?_(` + label + `)_(` + label + `)_` + uid + `_\d+`), 2, 1, 3},
	// Names that containerd reserves.
	{"reserve", regexp.MustCompile(`name \\*"(?:` + label + `_)?(` + label + `)_(` + label + `)_` + uid + `_\d+\\*"`), 2, 1, 3},
	// klog before 1.20.
	{`)"`, regexp.MustCompile(`"(` + label + `)_(` + label + `)\(` + uid + `\)`), 2, 1, 3},
	{`)\"`, regexp.MustCompile(`"(` + label + `)_(` + label + `)\(` + uid + `\)`), 2, 1, 3},
	// Only a uid: in quotes, or on a path.
	{`"`, regexp.MustCompile(`(?:UID|podID|for|pod):? ?=? ?\\*"` + uid + `\\*"`), 0, 0, 1},
	{"/pods/", regexp.MustCompile(`/pods/` + uid + `/`), 0, 0, 1},
}

// findPod is the pod that a line is about; empty if it names none.
func findPod(line []byte) podName {
	for _, s := range podShapes {
		if !bytes.Contains(line, []byte(s.literal)) {
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
