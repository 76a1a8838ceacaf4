package kube

// This file: an Event as the API wants it.

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	// controller is Events' reportingController: a qualified name.
	controller = "nodevitals.io/agent"
	// overSuffix ends the reason of an Event that says that a problem is over, so
	// that who counts a reason counts problems only.
	overSuffix = "Over"
	// maxField bounds reason, action and reportingInstance (limits of the API).
	maxField = 128
)

// ourNode is what Events say of our own Node.
type ourNode struct {
	name string
	uid  string
}

// ref refers to the Node. Where its uid is not known its name stands for it, as
// kubelet does: `kubectl describe node` looks for both.
func (n ourNode) ref() reference {
	uid := n.uid
	if uid == "" {
		uid = n.name
	}
	return reference{APIVersion: "v1", Kind: "Node", Name: n.name, UID: uid}
}

// body is what is sent, and names the Event if it is a new one.
func (w *telling) body(n ourNode) ([]byte, error) {
	at := microTime{w.Last}
	if !w.create {
		return json.Marshal(map[string]any{"series": eventSeries{Count: w.Count, LastObservedTime: at}})
	}
	w.Name = w.name(n.name)
	e := event{
		Metadata:  metadata{Name: w.Name, Namespace: w.Namespace},
		EventTime: at, ReportingController: controller, ReportingInstance: cut(n.name, maxField),
		Action: "Found", Reason: cut(string(w.Kind), maxField), Type: "Warning",
		Note: w.note, Regarding: n.ref(),
	}
	if w.Over {
		e.Action, e.Type = "Cleared", "Normal"
		e.Reason = cut(string(w.Kind), maxField-len(overSuffix)) + overSuffix
	}
	if w.pod != "" {
		namespace, name, _ := strings.Cut(w.pod, "/")
		pod := reference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: name, UID: w.podUID}
		e.Related = &pod
		if w.Pod != "" {
			about := n.ref()
			e.Regarding, e.Related = pod, &about
		}
	}
	return json.Marshal(e)
}

// name is an Event's name. The same problem has the same name after a crash of
// the agent, so that it is told once; minutes, since a problem's date may shift
// by the clock's corrections.
func (w *telling) name(nodeName string) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\x00%s\x00%s\x00%v\x00%d\x00%d", w.Kind, w.Subject, w.Pod, w.Over, w.Severity, w.Since.Unix()/60)
	return fmt.Sprintf("%s.%016x", strings.TrimRight(cut(nodeName, 230), "-."), h.Sum64())
}

// cut shortens ASCII names; others are made such first.
func cut(s string, most int) string {
	s = problem.Clean(s, most)
	return s[:min(len(s), most)]
}
