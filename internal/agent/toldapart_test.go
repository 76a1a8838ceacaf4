package agent

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file plays what looks alike and is told apart: test/incidents/told-apart has
// a file for each symptom, with a case for each of its causes.

// apart is one case: a symptom with its cause, and the same symptom without.
type apart struct {
	Name     string `yaml:"name"`
	incident `yaml:",inline"`
	// Want is each problem with each way to a root: "effect <- cause <- cause".
	Want []string `yaml:"want"`
	// But are among what the first problem says was looked at.
	But     []string `yaml:"but"`
	Counter struct {
		About string `yaml:"about"`
		// What is not said here is as in the case itself.
		Sees     *[]sight              `yaml:"sees"`
		Measures []problem.Measurement `yaml:"measures"`
		Logs     *[]wroteLine          `yaml:"logs"`
		Look     time.Duration         `yaml:"look"`
		Blind    map[string]string     `yaml:"blind"`
		Want     []string              `yaml:"want"`
		But      []string              `yaml:"but"`
	} `yaml:"counter"`
}

// counter is the counter-example as an incident of its own.
func (c apart) counter() incident {
	in := c.incident
	if c.Counter.Sees != nil {
		in.Sees = *c.Counter.Sees
	}
	if c.Counter.Logs != nil {
		in.Logs = *c.Counter.Logs
	}
	if c.Counter.Blind != nil {
		in.Blind = c.Counter.Blind
	}
	if c.Counter.Look > 0 {
		in.Look = c.Counter.Look
	}
	if c.Counter.Measures != nil {
		in.Measures = c.Counter.Measures
	}
	return in
}

func readApart(t *testing.T, file string) (cases []apart) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&cases); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return cases
}

// playApart plays all cases and notes the edges that they show.
func playApart(t *testing.T, shown map[string]bool) {
	files, err := filepath.Glob(incidentDir + "/told-apart/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("nothing to tell apart", err)
	}
	base := newPlayer(t, t.TempDir(), incident{Node: "healthy-k6.12"}) // one agent does for all
	for _, file := range files {
		symptom := strings.TrimSuffix(filepath.Base(file), ".yaml")
		for _, c := range readApart(t, file) {
			t.Run(symptom+"/"+c.Name, func(t *testing.T) {
				s := base.again(t, c.incident).play()
				checkApart(t, s, c.Want, c.But)
				noteEdges(s, shown)
				other := base.again(t, c.counter()).play()
				checkApart(t, other, c.Counter.Want, c.Counter.But)
				checkCounter(t, s, other)
			})
		}
	}
}

// again is the same agent with a new life.
func (p *player) again(t *testing.T, in incident) *player {
	t.Helper()
	in.Node = cmp.Or(in.Node, p.in.Node)
	if in.Node != p.in.Node || len(in.Runs) > 0 || in.Config != "" {
		return newPlayer(t, t.TempDir(), in)
	}
	next := &player{t: t, in: in, clock: p.clock, state: p.state.agent.newState(false)}
	next.clock.now = incidentBoot
	next.history = history{p: next}
	next.state.takeIn(logBatch{status: []problem.LogStatus{{Source: "journal"}, {Source: kmsgName}}})
	return next
}

func checkApart(t *testing.T, s *problem.Snapshot, want, but []string) {
	t.Helper()
	var got []string
	for _, p := range s.Problems {
		got = append(got, ways(strings.TrimSpace(string(p.Kind)+" "+p.Subject), p.Causes)...)
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("got\n      - %s\nwant\n      - %s", strings.Join(got, "\n      - "), strings.Join(want, "\n      - "))
	}
	for _, b := range but {
		if !slices.ContainsFunc(s.Problems, func(p problem.Problem) bool { return slices.Contains(p.Examined, b) || p.Note == b }) {
			t.Errorf("no problem says %q", b)
			for _, p := range s.Problems {
				t.Logf("%s: %q %s", p.Kind, p.Examined, p.Note)
			}
		}
	}
}

// ways are those from an effect to its roots.
func ways(effect string, causes []problem.Cause) (all []string) {
	if len(causes) == 0 {
		return []string{effect}
	}
	for _, c := range causes {
		for _, way := range ways(strings.TrimSpace(string(c.Kind)+" "+c.Subject), c.Causes) {
			all = append(all, effect+" <- "+way)
		}
	}
	return all
}

// noteEdges notes which edges of the catalogue a report shows.
func noteEdges(s *problem.Snapshot, shown map[string]bool) {
	for _, p := range s.Problems {
		for _, c := range p.Causes {
			shown[string(p.Kind)+" <- "+string(c.Kind)] = true
		}
	}
}

// checkCounter: of the counter-example there is an effect that has lost a cause.
func checkCounter(t *testing.T, s, other *problem.Snapshot) {
	t.Helper()
	for _, p := range s.Problems {
		i := slices.IndexFunc(other.Problems, func(o problem.Problem) bool { return o.Kind == p.Kind && o.Subject == p.Subject })
		if len(p.Causes) > 0 && i >= 0 && len(other.Problems[i].Causes) < len(p.Causes) {
			return
		}
	}
	t.Error("the counter-example clears nobody")
}
