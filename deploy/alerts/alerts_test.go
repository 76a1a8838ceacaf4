package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestRulesAreUpToDate(t *testing.T) {
	want, err := render(groups(problem.Builtin()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(rulesFile)
	if err != nil || string(got) != string(want) {
		t.Errorf("deploy/alerts/%s is not what the catalogue says (%v): run make generate", rulesFile, err)
	}
}

func TestEveryAlertTellsWhatToDo(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range groups(problem.Builtin()) {
		for _, r := range g.Rules {
			if seen[r.Alert] {
				t.Errorf("%s stands twice", r.Alert)
			}
			seen[r.Alert] = true
			page, ok := strings.CutPrefix(r.Annotations["runbook_url"], pages)
			if !ok || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s lacks an annotation: %v", r.Alert, r.Annotations)
			}
			page, _, _ = strings.Cut(page, "#")
			if _, err := os.Stat(filepath.Join("../../docs", page)); err != nil {
				t.Errorf("%s: its runbook is not there: %v", r.Alert, err)
			}
		}
	}
	for _, k := range problem.Builtin().All() {
		if !seen["Nodevitals"+string(k.Kind)] {
			t.Errorf("%s has no alert", k.Kind)
		}
	}
}

// scenario is a test of promtool's: series, and the alerts that must fire at a
// time, which are all that may.
type scenario struct {
	Interval string      `yaml:"interval"`
	Name     string      `yaml:"name"`
	Series   []series    `yaml:"input_series"`
	Alerts   []alertTest `yaml:"alert_rule_test"`
}

type series struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type alertTest struct {
	At    string     `yaml:"eval_time"`
	Alert string     `yaml:"alertname"`
	Fires []expected `yaml:"exp_alerts"`
}

type expected struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations,omitempty"`
}

// everyKind has each kind active on one node for ten minutes, with a subject of
// its own, and checks that its alert fires then, and no more once it is over.
func everyKind(c *problem.Catalogue) scenario {
	s := scenario{Interval: "1m", Name: "each kind"}
	for _, d := range c.All() {
		r := kindRule(d)
		subject := "subject of " + string(d.Kind)
		s.Series = append(s.Series, series{
			Series: fmt.Sprintf(`nodevitals_problem{instance="node-1",kind="%s",severity="%s",subject="%s"}`, d.Kind, d.Severity, subject),
			Values: "_ 1x10 _x20",
		})
		labels := map[string]string{"instance": "node-1", "severity": d.Severity.String(), "subject": subject}
		for k, v := range r.Labels {
			labels[k] = v
		}
		annotations := map[string]string{}
		for k, v := range r.Annotations {
			v = strings.ReplaceAll(v, "{{ $labels.instance }}{{ with $labels.subject }}, {{ . }}{{ end }}", "node-1, "+subject)
			annotations[k] = strings.ReplaceAll(v, "{{ $labels.subject }}", subject)
		}
		s.Alerts = append(s.Alerts,
			alertTest{At: "0m", Alert: r.Alert},
			alertTest{At: "5m", Alert: r.Alert, Fires: []expected{{labels, annotations}}},
			alertTest{At: "25m", Alert: r.Alert})
	}
	return s
}

func fires(labels ...string) []expected {
	m := map[string]string{}
	for i := 0; i < len(labels); i += 2 {
		m[labels[i]] = labels[i+1]
	}
	return []expected{{Labels: m}}
}

var scenarios = []scenario{
	{
		Name: "a cause that has an alert of its own explains its effect", Interval: "1m",
		Series: []series{
			{`nodevitals_root_cause{instance="node-1",effect="ForkRefused",subject="pod a/b",cause="CgroupPIDsNearLimit"}`, "1x20"},
			{`nodevitals_problem{instance="node-1",kind="CgroupPIDsNearLimit",subject="pod a/b",severity="critical"}`, "1x20"},
			// The cause of this one is known, too, but it is on another node that it is a problem.
			{`nodevitals_root_cause{instance="node-2",effect="ForkRefused",subject="",cause="CgroupPIDsNearLimit"}`, "1x20"},
		},
		Alerts: []alertTest{{
			At: "5m", Alert: "NodevitalsExplained",
			Fires: fires("instance", "node-1", "effect", "ForkRefused", "kind", "ForkRefused", "subject", "pod a/b", "cause", "CgroupPIDsNearLimit", "severity", "none"),
		}},
	},
	{
		Name: "limits that will be reached, and those that will not", Interval: "1m",
		Series: []series{
			{`nodevitals_limit_used{instance="grows",resource="conntrack_entries",subject=""}`, "600+2x180"},
			{`nodevitals_limit_max{instance="grows",resource="conntrack_entries",subject=""}`, "1000x180"},
			{`nodevitals_limit_used{instance="stands",resource="conntrack_entries",subject=""}`, "900x180"},
			{`nodevitals_limit_max{instance="stands",resource="conntrack_entries",subject=""}`, "1000x180"},
			{`nodevitals_limit_used{instance="low",resource="conntrack_entries",subject=""}`, "0+2x180"},
			{`nodevitals_limit_max{instance="low",resource="conntrack_entries",subject=""}`, "1000x180"},
			{`nodevitals_limit_used{instance="no limit of that sort",resource="pressure_io_some",subject=""}`, "0.6+0.001x180"},
			{`nodevitals_limit_max{instance="no limit of that sort",resource="pressure_io_some",subject=""}`, "1x180"},
		},
		Alerts: []alertTest{{
			At: "90m", Alert: "NodevitalsLimitSoonReached",
			Fires: fires("instance", "grows", "resource", "conntrack_entries", "severity", "warning"),
		}},
	},
	{
		Name: "the agent itself", Interval: "1m",
		Series: []series{
			{`up{job="kube-system/nodevitals",instance="gone"}`, "1x5 0x30"},
			{`up{job="nodevitals",instance="fine"}`, "1x40"},
			{`up{job="something-else",instance="gone"}`, "0x40"},
			{`nodevitals_probe_success{instance="n",probe="threads"}`, "0x40"},
			{`nodevitals_probe_success{instance="n",probe="files"}`, "1x40"},
			{`nodevitals_log_blind{instance="n",source="journal"}`, "1x40"},
			{`nodevitals_log_blind{instance="n",source="kernel"}`, "0x40"},
			{`nodevitals_condition{instance="n",type="MountHung",status="Unknown"}`, "1x40"},
			{`nodevitals_condition{instance="n",type="MountHung",status="False"}`, "0x40"},
			{`nodevitals_condition{instance="n",type="DiskExhaustion",status="Unknown"}`, "0x40"},
		},
		Alerts: []alertTest{
			{At: "4m", Alert: "NodevitalsAgentDown"},
			{At: "20m", Alert: "NodevitalsAgentDown", Fires: fires("job", "kube-system/nodevitals", "instance", "gone", "severity", "warning")},
			{At: "5m", Alert: "NodevitalsProbeBlind"},
			{At: "20m", Alert: "NodevitalsProbeBlind", Fires: fires("instance", "n", "probe", "threads", "severity", "warning")},
			{At: "20m", Alert: "NodevitalsLogBlind", Fires: fires("instance", "n", "source", "journal", "severity", "warning")},
			{At: "20m", Alert: "NodevitalsCannotTell", Fires: fires("instance", "n", "type", "MountHung", "status", "Unknown", "severity", "warning")},
		},
	},
}

// Prometheus' own tool reads the rules, and every alert fires and keeps silent as
// it should.
func TestAlertsFire(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (make test installs it): the rules are not tried")
	}
	// Where a scenario does not say what an alert's annotations are, they are rendered
	// from its rule's; promtool wants all of them, so those tests are done without.
	all := groups(problem.Builtin())
	bare := slices.Clone(all)
	for i := range bare {
		bare[i].Rules = slices.Clone(bare[i].Rules)
		for j := range bare[i].Rules {
			bare[i].Rules[j].Annotations = nil
		}
	}
	tested := map[string]bool{}
	for _, s := range append(slices.Clone(scenarios), everyKind(problem.Builtin())) {
		for _, a := range s.Alerts {
			if len(a.Fires) > 0 {
				tested[a.Alert] = true
			}
		}
	}
	for _, g := range all {
		for _, r := range g.Rules {
			if !tested[r.Alert] {
				t.Errorf("no scenario has %s fire", r.Alert)
			}
		}
	}
	check := func(name string, groups []group, scenarios []scenario) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			text, err := render(groups)
			if err != nil {
				t.Fatal(err)
			}
			tests, err := yaml.Marshal(map[string]any{
				"rule_files": []string{rulesFile}, "evaluation_interval": "1m", "tests": scenarios,
			})
			if err != nil {
				t.Fatal(err)
			}
			for file, content := range map[string][]byte{rulesFile: text, "tests.yaml": tests} {
				if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", "tests.yaml"}} {
				cmd := exec.Command(promtool, args...)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
				}
			}
		})
	}
	check("kinds", all, []scenario{everyKind(problem.Builtin())})
	check("others", bare, scenarios)
}

// A limit that the catalogue names is either foretold or known to have no end.
func TestEveryLimitIsForetoldOrExcepted(t *testing.T) {
	endless := []string{
		"pressure_io_full", "pressure_memory_full", "pressure_cpu_some", "cpu_steal", // shares of time
		"memory_fragmentation", "eviction", "clock_error", // distances that shrink and grow again
		"cgroups_empty", "cgroups_dying", "zombie_processes", "deleted_bytes", "slab_unreclaimable", "kubelet_memory", // thresholds, not limits
	}
	for _, d := range problem.Builtin().All() {
		for _, r := range d.Resources {
			if !slices.Contains(exhaustible, r) && !slices.Contains(endless, r) {
				t.Errorf("%s of %s: will it be used up, or has it no end? Say so in rules.go or here", r, d.Kind)
			}
		}
	}
}
