package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/report"
)

// npdAgent has node-problem-detector's configuration and a log file for it, with
// lines of so long ago.
func npdAgent(t *testing.T, more string, ages ...time.Duration) *Agent {
	t.Helper()
	dir := t.TempDir()
	log, npd := filepath.Join(dir, "acme.log"), filepath.Join(dir, "npd.json")
	var lines strings.Builder
	for _, age := range ages {
		fmt.Fprintf(&lines, "[%s] acme: task %v is stuck\n", time.Now().Add(-age).Format("02.Jan 15h04m05.000"), age)
	}
	for file, text := range map[string]string{
		log: lines.String(),
		npd: `{"plugin":"filelog","logPath":"` + log + `",` + more + `"source":"acme-monitor",
			"pluginConfig":{"timestamp":"^\\[([^\\]]+)\\]","timestampFormat":"02.Jan 15h04m05.000","message":"^\\[[^\\]]+\\] (.*)"},
			"conditions":[{"type":"AcmeDeadlock","reason":"AcmeHasNoDeadlock","message":"the acme driver has no deadlock"},
				{"type":"AcmeUnused","reason":"AcmeIsUnused","message":"nothing sets this"}],
			"rules":[{"type":"permanent","condition":"AcmeDeadlock","reason":"AcmeStuck","pattern":"task .* is stuck"},
				{"type":"temporary","reason":"AcmeTrace","pattern":"begin\\n.*end"}]}`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Parse("f.yaml", []byte("logs: {files: [], journal: [], kmsg: false}\nnpd: {configs: ["+npd+"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Probes {
		c.Probes[i].Enabled = false
	}
	h, err := host.New("/")
	if err != nil {
		t.Fatal(err)
	}
	return New(h, c, "test")
}

// stuckFor are the tasks that the claims of one poll name.
func stuckFor(l *logReader) (found []string) {
	b := l.poll(context.Background(), func(logBatch) {})
	for _, c := range b.claims {
		found = append(found, strings.Fields(c.claim.Line)[2])
	}
	l.close()
	return found
}

// upClock is the machine's, on one that had been up for so long when it was started.
type upClock struct {
	host.SystemClock
	started, up time.Duration
}

func (c upClock) Boot() time.Duration { return c.SystemClock.Boot() - c.started + c.up }

// TestNPDLookback: at the first start lines of the configuration's lookback count,
// by their own time, whatever the agent's own is; later ones all; and never those
// of the delay after the boot.
func TestNPDLookback(t *testing.T) {
	const own = 10 * time.Minute // the agent's
	const up = 3 * time.Hour
	ages := []time.Duration{2 * time.Hour, 50 * time.Minute, 20 * time.Minute, time.Minute}
	for _, tc := range []struct {
		name, keys string
		first      bool
		want       []string
	}{
		{"further than the agent's own", `"lookback":"1h",`, true, []string{"50m0s", "20m0s", "1m0s"}},
		{"less far", `"lookback":"5m",`, true, []string{"1m0s"}},
		{"none", "", true, nil},
		{"not at the first start", `"lookback":"5m",`, false, []string{"1m0s"}},
		{"delayed", fmt.Sprintf(`"lookback":"1h","delay":"%v",`, up-30*time.Minute), true, []string{"20m0s", "1m0s"}},
	} {
		a := npdAgent(t, tc.keys, ages...)
		a.node.Host.Clock = upClock{started: a.node.Host.Clock.Boot(), up: up}
		if got := stuckFor(a.newLogReader(cursors{}, own, tc.first)); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestNPDConditionsAndMetrics: what a configuration says of its conditions while
// all is well, and whether its problems are counted.
func TestNPDConditionsAndMetrics(t *testing.T) {
	condition := func(s *problem.Snapshot, typ string) problem.Condition {
		i := slices.IndexFunc(s.Conditions, func(c problem.Condition) bool { return c.Type == typ })
		if i < 0 {
			t.Fatalf("no condition %s", typ)
		}
		return s.Conditions[i]
	}
	metrics := func(s *problem.Snapshot) string {
		var b bytes.Buffer
		if err := report.Prometheus(&b, s); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	once := func(a *Agent) *problem.Snapshot { return a.Once(context.Background(), time.Hour) }

	s := once(npdAgent(t, ""))
	for _, want := range []problem.Condition{
		{Type: "AcmeDeadlock", Status: problem.ConditionFalse, Reason: "AcmeHasNoDeadlock", Message: "the acme driver has no deadlock"},
		{Type: "AcmeUnused", Status: problem.ConditionFalse, Reason: "AcmeIsUnused", Message: "nothing sets this"},
	} {
		if got := condition(s, want.Type); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if m := metrics(s); !strings.Contains(m, `nodevitals_log_claims_total{kind="AcmeStuck"} 0`) || !strings.Contains(m, `nodevitals_log_claims_total{kind="AcmeTrace"} 0`) {
		t.Error("counters do not begin at 0")
	}

	s = once(npdAgent(t, "", time.Second, 2*time.Second))
	if c := condition(s, "AcmeDeadlock"); c.Status != problem.ConditionTrue || c.Reason != "AcmeStuck" {
		t.Errorf("%+v", c)
	}
	m := metrics(s)
	for _, want := range []string{`nodevitals_log_claims_total{kind="AcmeStuck"} 2`, `nodevitals_problem{kind="AcmeStuck",severity="critical",subject=""} 1`} {
		if !strings.Contains(m, want) {
			t.Errorf("lacks %s", want)
		}
	}
	s = once(npdAgent(t, `"metricsReporting":false,`, time.Second))
	if c := condition(s, "AcmeDeadlock"); c.Status != problem.ConditionTrue {
		t.Errorf("%+v", c)
	}
	if m := metrics(s); strings.Contains(m, "AcmeStuck") || strings.Contains(m, "AcmeTrace") {
		t.Error("metricsReporting is not heeded")
	}
}
