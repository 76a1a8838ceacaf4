package kube

// This file: what of the API's objects is read and written. The typed structs of
// k8s.io/api would say the same and bring 2 MB of memory with them; a test checks
// that they understand ours.

import "time"

// nodeCondition is a core/v1 NodeCondition.
type nodeCondition struct {
	Type               string   `json:"type"`
	Status             string   `json:"status"`
	LastHeartbeatTime  dateTime `json:"lastHeartbeatTime"`
	LastTransitionTime dateTime `json:"lastTransitionTime"`
	Reason             string   `json:"reason"`
	Message            string   `json:"message"`
}

// removal takes one condition off a Node in a strategic-merge patch.
type removal struct {
	Patch string `json:"$patch"` // "delete"
	Type  string `json:"type"`
}

// patch is a strategic-merge patch of a Node's status. The API server merges the
// list by type (patchStrategy "merge", patchMergeKey "type" of NodeStatus), so that
// the conditions that it does not name stay as they are.
type patch struct {
	Status patchStatus `json:"status"`
}

type patchStatus struct {
	Conditions []any `json:"conditions"` // nodeCondition or removal
}

// remove takes conditions of these types off the Node.
func (p *patch) remove(types []string) {
	for _, t := range types {
		p.Status.Conditions = append(p.Status.Conditions, removal{"delete", t})
	}
}

// ownNode is what is read of our own Node.
type ownNode struct {
	Metadata struct {
		UID string `json:"uid"`
	} `json:"metadata"`
	Status struct {
		Conditions []nodeCondition `json:"conditions"`
	} `json:"status"`
}

// event is an events.k8s.io/v1 Event.
type event struct {
	Metadata            metadata   `json:"metadata"`
	EventTime           microTime  `json:"eventTime"`
	ReportingController string     `json:"reportingController"`
	ReportingInstance   string     `json:"reportingInstance"`
	Action              string     `json:"action"`
	Reason              string     `json:"reason"`
	Regarding           reference  `json:"regarding"`
	Related             *reference `json:"related,omitempty"`
	Note                string     `json:"note"`
	Type                string     `json:"type"`
}

type metadata struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// eventSeries counts how often an Event has happened.
type eventSeries struct {
	Count            int32     `json:"count"`
	LastObservedTime microTime `json:"lastObservedTime"`
}

// reference is a core/v1 ObjectReference.
type reference struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	UID        string `json:"uid,omitempty"`
}

// dateTime is a metav1.Time: whole seconds, UTC; null for none.
type dateTime struct{ time.Time }

// MarshalJSON writes it as the API does.
func (t dateTime) MarshalJSON() ([]byte, error) { return inUTC(t.Time, time.RFC3339), nil }

// microTime is a metav1.MicroTime.
type microTime struct{ time.Time }

// MarshalJSON writes it as the API does.
func (t microTime) MarshalJSON() ([]byte, error) {
	return inUTC(t.Time, "2006-01-02T15:04:05.000000Z07:00"), nil
}

func inUTC(t time.Time, layout string) []byte {
	if t.IsZero() {
		return []byte("null")
	}
	return []byte(t.UTC().Format(`"` + layout + `"`))
}
