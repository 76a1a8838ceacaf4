// Package alerts has Prometheus' own tool read the alert rules, and every alert
// fire and keep silent as it should.
package alerts

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

const rulesFile = "../../deploy/alerts/nodevitals.rules.yaml"

type group struct {
	Name  string           `yaml:"name"`
	Rules []map[string]any `yaml:"rules"`
}

func readRules(t *testing.T) []group {
	raw, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []group `yaml:"groups"`
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	return file.Groups
}

func texts(of any) map[string]string {
	out := map[string]string{}
	m, _ := of.(map[string]any)
	for k, v := range m {
		out[k] = fmt.Sprint(v)
	}
	return out
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
func everyKind(groups []group) scenario {
	s := scenario{Interval: "1m", Name: "each kind"}
	rules := map[string]map[string]any{}
	for _, g := range groups {
		for _, r := range g.Rules {
			rules[r["alert"].(string)] = r
		}
	}
	for _, d := range problem.Builtin().All() {
		alert := "Nodevitals" + string(d.Kind)
		r := rules[alert]
		subject := "subject's name of " + string(d.Kind)
		s.Series = append(s.Series, series{
			Series: fmt.Sprintf(`nodevitals_problem{instance="node-1",kind="%s",severity="%s",subject="%s"}`, d.Kind, d.Severity, subject),
			Values: "_ 1x10 _x20",
		})
		labels := map[string]string{"instance": "node-1", "severity": d.Severity.String(), "subject": subject}
		for k, v := range texts(r["labels"]) {
			labels[k] = v
		}
		annotations := map[string]string{}
		for k, v := range texts(r["annotations"]) {
			v = strings.ReplaceAll(v, "{{ $labels.instance }}{{ with $labels.subject }}, {{ . }}{{ end }}", "node-1, "+subject)
			annotations[k] = strings.ReplaceAll(v, `'{{ reReplaceAll "'" "'\\''" $labels.subject }}'`, `'subject'\''s name of `+string(d.Kind)+`'`)
		}
		s.Alerts = append(s.Alerts,
			alertTest{At: "0m", Alert: alert},
			alertTest{At: "5m", Alert: alert, Fires: []expected{{labels, annotations}}},
			alertTest{At: "25m", Alert: alert})
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
			{`nodevitals_limit_used{instance="a link that flaps",resource="link_carrier_changes",subject="eth0"}`, "0x40 1x10 2x10 3x100"},
			{`nodevitals_limit_max{instance="a link that flaps",resource="link_carrier_changes",subject="eth0"}`, "5x180"},
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

func TestAlertsFire(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (make test installs it): the rules are not tried")
	}
	all := readRules(t)
	kinds := everyKind(all)
	tested := map[string]bool{}
	for _, s := range append(slices.Clone(scenarios), kinds) {
		for _, a := range s.Alerts {
			if len(a.Fires) > 0 {
				tested[a.Alert] = true
			}
		}
	}
	for _, g := range all {
		for _, r := range g.Rules {
			if !tested[r["alert"].(string)] {
				t.Errorf("no scenario has %s fire", r["alert"])
			}
		}
	}
	run := func(name string, groups []group, scenarios []scenario) {
		t.Run(name, func(t *testing.T) { promtoolRun(t, promtool, groups, scenarios) })
	}
	run("kinds", all, []scenario{kinds})
	// promtool compares annotations always; where a scenario is not about them, it
	// tries the rules without any.
	for _, g := range all {
		for _, r := range g.Rules {
			delete(r, "annotations")
		}
	}
	run("others", all, scenarios)
}

func promtoolRun(t *testing.T, promtool string, groups []group, scenarios []scenario) {
	dir := t.TempDir()
	for file, content := range map[string]any{
		"rules.yaml": map[string]any{"groups": groups},
		"tests.yaml": map[string]any{"rule_files": []string{"rules.yaml"}, "evaluation_interval": "1m", "tests": scenarios},
	} {
		text, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "tests.yaml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
