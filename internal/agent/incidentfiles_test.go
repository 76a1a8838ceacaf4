package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/report"
	"github.com/nodevitals/nodevitals/internal/report/kube"
)

// This file: what is published of an incident, against its golden files.

const incidentDir = "../../test/incidents"

// TestIncidents: in each incident the causes are named, as they are shown
// everywhere, and in its counter-example nobody is blamed falsely.
func TestIncidents(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine plays all of them: nothing for the race detector")
	}
	files, err := filepath.Glob(incidentDir + "/*/incident.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no incidents", err)
	}
	shown := map[string]bool{}
	for _, file := range files {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Run("incident", func(t *testing.T) {
				p := newPlayer(t, dir, readIncident(t, file))
				s := p.play()
				compare(t, filepath.Join(dir, "want.txt"), reportText(t, p, s))
				compare(t, filepath.Join(dir, "want.json"), reportJSON(t, s))
				compare(t, filepath.Join(dir, "want.prom"), reportMetrics(t, s))
				compare(t, filepath.Join(dir, "want-kube.txt"), reportKube(p, s))
				noteEdges(s, shown)
			})
			t.Run("counter-example", func(t *testing.T) {
				p := newPlayer(t, dir, readIncident(t, filepath.Join(dir, "counter.yaml")))
				s := p.play()
				compare(t, filepath.Join(dir, "counter-want.txt"), reportText(t, p, s)+reportKube(p, s))
			})
		})
	}
	t.Run("told-apart", func(t *testing.T) { playApart(t, shown) })
	if !t.Failed() {
		checkEdges(t, shown)
	}
}

// checkEdges: each edge of the catalogue is shown by an incident, or by what is told apart.
func checkEdges(t *testing.T, shown map[string]bool) {
	t.Helper()
	for _, d := range problem.Builtin().All() {
		for _, e := range d.Causes {
			if edge := string(d.Kind) + " <- " + string(e.Kind); !shown[edge] {
				t.Errorf("no incident shows %s", edge)
			}
		}
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update accepts):\n--- got\n%s--- want\n%s", file, got, want)
	}
}

// reportText is the report for a terminal. Of the vital signs that are fine only
// those with numbers are of interest here.
func reportText(t *testing.T, p *player, s *problem.Snapshot) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Text(&b, s, p.state.agent.catalogue, report.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "  ok ") && !strings.HasPrefix(line, strings.Repeat(" ", 31)) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// reportJSON are the problems of the JSON report.
func reportJSON(t *testing.T, s *problem.Snapshot) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.JSON(&b, s); err != nil {
		t.Fatal(err)
	}
	var parts struct {
		Problems json.RawMessage `json:"problems"`
	}
	if err := json.Unmarshal(b.Bytes(), &parts); err != nil {
		t.Fatal(err)
	}
	return string(parts.Problems) + "\n"
}

// reportMetrics are the series that say what is wrong.
func reportMetrics(t *testing.T, s *problem.Snapshot) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Prometheus(&b, s); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(b.String()) {
		for _, family := range []string{"nodevitals_problem{", "nodevitals_root_cause{", "nodevitals_condition{"} {
			if strings.HasPrefix(line, family) && strings.HasSuffix(line, " 1\n") && !strings.Contains(line, `status="false"`) {
				out.WriteString(line)
			}
		}
	}
	return out.String()
}

// reportKube is what stands on the Node and what its Events said: conditions that
// are not simply healthy, each problem as an Event tells it, and when it began
// and ended by the agent's own account.
func reportKube(p *player, s *problem.Snapshot) string {
	var b strings.Builder
	b.WriteString("conditions\n")
	for _, c := range kube.Conditions(s, kube.ConditionOptions{}) {
		if c.Reason != "Healthy" {
			fmt.Fprintf(&b, "  %s=%s %s\n    %s\n", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	b.WriteString("events\n")
	for _, problem := range s.Problems {
		fmt.Fprintf(&b, "  %s\n    %s\n", strings.TrimSpace(string(problem.Kind)+" "+problem.Subject), kube.Note(problem))
	}
	b.WriteString("history\n")
	for line := range strings.Lines(p.history.b.String()) {
		b.WriteString("  " + line)
	}
	return b.String()
}
