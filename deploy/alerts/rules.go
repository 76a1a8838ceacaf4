package main

// This file holds the alerts: one for each kind of the catalogue, those on limits
// that will be reached, and those on the agent itself.

import (
	"fmt"
	"strings"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// group and rule are as Prometheus reads them, see
// https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
type group struct {
	Name  string `yaml:"name"`
	Rules []rule `yaml:"rules"`
}

type rule struct {
	Alert string `yaml:"alert"`
	Expr  string `yaml:"expr"`
	For   string `yaml:"for,omitempty"`
	// Keep is how long the alert goes on after the expression has ended, so that a
	// missed scrape or a restart of the agent is no end.
	Keep        string            `yaml:"keep_firing_for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations"`
}

// quotedSubject is the subject as one word of a shell's: it is copied from there, and a
// mount point may be called anything.
const quotedSubject = `'{{ reReplaceAll "'" "'\\''" $labels.subject }}'`

const (
	pages = "https://github.com/nodevitals/nodevitals/blob/main/docs/"
	keep  = "3m"
)

func groups(c *problem.Catalogue) []group {
	kinds := group{Name: "nodevitals-kinds"}
	for _, d := range c.All() {
		kinds.Rules = append(kinds.Rules, kindRule(d))
	}
	return []group{kinds, {"nodevitals-causes", causeRules()}, {"nodevitals-limits", limitRules()}, {"nodevitals-agent", agentRules()}}
}

// kindRule fires while a problem of the kind is active. The agent has judged
// already how long it must last, so the rule does not wait again. The severity is
// the problem's own.
func kindRule(d problem.Definition) rule {
	labels := map[string]string{"kind": string(d.Kind)}
	if d.Condition != "" {
		labels["condition"] = d.Condition
	}
	return rule{
		Alert:  "Nodevitals" + string(d.Kind),
		Expr:   fmt.Sprintf(`nodevitals_problem{kind="%s"} == 1`, d.Kind),
		Keep:   keep,
		Labels: labels,
		Annotations: map[string]string{
			"summary":     d.Summary,
			"description": "On {{ $labels.instance }}{{ with $labels.subject }}, {{ . }}{{ end }}: " + d.Meaning,
			"next":        strings.ReplaceAll(d.Next, "{subject}", quotedSubject),
			"runbook_url": pages + "kinds/" + string(d.Kind) + ".md",
		},
	}
}

// causeRules are not for people: the alert exists while a problem is explained by
// another one that has an alert of its own, and inhibit.yaml lets it silence the
// effect's. (A rule on each effect and cause would give the effect's alert a label
// that changes, and so a new alert each time the cause becomes known.)
func causeRules() []rule {
	return []rule{{
		Alert: "NodevitalsExplained",
		Expr: `label_replace(nodevitals_root_cause, "kind", "$1", "effect", "(.*)")
  and on (instance, cause)
label_replace(nodevitals_problem{severity=~"warning|critical"}, "cause", "$1", "kind", "(.*)")`,
		Keep:   keep,
		Labels: map[string]string{"severity": "none"},
		Annotations: map[string]string{
			"summary":     "{{ $labels.effect }} on {{ $labels.instance }} is brought about by {{ $labels.cause }}.",
			"description": "Inhibits the alert about {{ $labels.effect }}, since that about {{ $labels.cause }} tells what to mend. Route it to nobody.",
			"runbook_url": pages + "operations.md#alerts",
		},
	}}
}

// endless are the resources that do not fill up: shares of time, distances that
// shrink and grow again, ages, and thresholds that are not limits.
var endless = []string{
	"pressure_.*", "cpu_steal", "memory_fragmentation", "eviction", "clock_error",
	".*_restarts", ".*_changes", "runtime_answer", "cgroups_empty", "cgroups_dying", "zombie_processes", "deleted_bytes",
	"slab_unreclaimable", "kubelet_memory", "oom_kills", "certificate_.*", "disk_.*",
}

func limitRules() []rule {
	return []rule{{
		Alert: "NodevitalsLimitSoonReached",
		// From half of the limit on: a line through the noise of an idle resource leads
		// anywhere. An hour of growth foretells four.
		Expr: fmt.Sprintf(`nodevitals_limit_used{resource!~"%s"} / nodevitals_limit_max > 0.5
  and
predict_linear(nodevitals_limit_used[1h], 4 * 3600) > nodevitals_limit_max`, strings.Join(endless, "|")),
		For:    "15m",
		Keep:   keep,
		Labels: map[string]string{"severity": "warning"},
		Annotations: map[string]string{
			"summary": "A limit will be reached within four hours.",
			"description": "On {{ $labels.instance }}{{ with $labels.subject }}, {{ . }}{{ end }}: {{ $labels.resource }} is at " +
				"{{ $value | humanizePercentage }} of its limit, and at the last hour's pace it will be full within four hours.",
			"runbook_url": pages + "operations.md#alerts",
		},
	}}
}

func agentRules() []rule {
	agent := func(alert, expr, wait, summary, description string) rule {
		return rule{
			Alert: alert, Expr: expr, For: wait, Keep: keep,
			Labels: map[string]string{"severity": "warning"},
			Annotations: map[string]string{
				"summary": summary, "description": description, "runbook_url": pages + "operations.md#alerts",
			},
		}
	}
	return []rule{
		agent("NodevitalsAgentDown", `up{job=~"(.*/)?nodevitals.*"} == 0`, "5m",
			"The agent cannot be scraped.",
			"Nothing is known of {{ $labels.instance }} since Prometheus cannot scrape nodevitals there. Is the node up, the pod running, its port 20258 reachable?"),
		agent("NodevitalsProbeBlind", `nodevitals_probe_success == 0`, "10m",
			"A probe of the agent cannot see.",
			"On {{ $labels.instance }} the probe {{ $labels.probe }} fails, so what it would find is not found. /status on the node, or agent --once, says why."),
		agent("NodevitalsLogBlind", `nodevitals_log_blind == 1`, "10m",
			"A log of the node cannot be read.",
			"On {{ $labels.instance }} {{ $labels.source }} cannot be read, so what it would tell is not told. /status on the node, or agent --once, says why."),
		agent("NodevitalsCannotTell", `nodevitals_condition{status="Unknown"} == 1`, "15m",
			"A condition of the node cannot be told.",
			"On {{ $labels.instance }} {{ $labels.type }} is Unknown. agent --once on the node says which vital sign is missing, and why."),
	}
}
