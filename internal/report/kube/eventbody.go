package kube

// This file: an Event as the API wants it.

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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

// node is what Events say of our own Node.
type node struct {
	name string
	uid  types.UID
}

// ref refers to the Node. Where its uid is not known its name stands for it, as
// kubelet does: `kubectl describe node` looks for both.
func (n node) ref() corev1.ObjectReference {
	uid := n.uid
	if uid == "" {
		uid = types.UID(n.name)
	}
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: n.name, UID: uid}
}

// body is what is sent, and names the Event if it is a new one.
func (w *telling) body(n node) ([]byte, error) {
	at := metav1.NewMicroTime(w.Last)
	if !w.create {
		return json.Marshal(map[string]any{"series": eventsv1.EventSeries{Count: w.Count, LastObservedTime: at}})
	}
	w.Name = w.name(n.name)
	e := eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: w.Name, Namespace: w.Namespace},
		EventTime:  at, ReportingController: controller, ReportingInstance: cut(n.name, maxField),
		Action: "Found", Reason: cut(string(w.Kind), maxField), Type: corev1.EventTypeWarning,
		Note: w.note, Regarding: n.ref(),
	}
	if w.Over {
		e.Action, e.Type = "Cleared", corev1.EventTypeNormal
		e.Reason = cut(string(w.Kind), maxField-len(overSuffix)) + overSuffix
	}
	if w.pod != "" {
		namespace, name, _ := strings.Cut(w.pod, "/")
		pod := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: name, UID: types.UID(w.podUID)}
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
