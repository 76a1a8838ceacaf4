// Package report renders a snapshot for people and machines: text, JSON and
// Prometheus metrics. Its reporters are pure functions of a snapshot.
package report

import (
	"encoding/json"
	"io"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// APIVersion names the format of the JSON report.
const APIVersion = "nodevitals.io/v1"

// JSON writes the snapshot as one indented JSON document.
func JSON(w io.Writer, s *problem.Snapshot) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		*problem.Snapshot
	}{APIVersion, "NodeVitals", s})
}
