package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: a Prometheus that scrapes what the chart's PodMonitor names and evaluates
// the chart's PrometheusRule, and an Alertmanager with the inhibitions that are shipped.

const (
	prometheusAt   = "127.0.0.1:9090"
	alertmanagerAt = "127.0.0.1:9093"
)

// monitor starts both and waits until both nodes are scraped.
func monitor(w *world) {
	out := w.helm("template", "nodevitals", chart, "--set=podMonitor.enabled=true,prometheusRule.enabled=true", "--show-only=templates/monitoring.yaml")
	scrape := map[string]any{"job_name": "nodevitals"}
	var rules any
	for d := yaml.NewDecoder(strings.NewReader(out)); ; {
		var object struct {
			Kind string
			Spec struct {
				Groups              any
				Selector            struct{ MatchLabels map[string]string }
				PodMetricsEndpoints []struct {
					Port        string
					Relabelings []struct {
						SourceLabels []string
						TargetLabel  string
					}
				}
			}
		}
		var untyped any
		err := d.Decode(&untyped)
		if errors.Is(err, io.EOF) {
			break
		}
		w.must(err)
		raw, err := json.Marshal(untyped) // of which the names' case does not matter
		w.must(err)
		w.must(json.Unmarshal(raw, &object))
		switch object.Kind {
		case "PrometheusRule":
			rules = map[string]any{"groups": object.Spec.Groups}
		case "PodMonitor": // as the Prometheus operator understands it
			var relabel []map[string]any
			keep := func(label, value string) {
				relabel = append(relabel, map[string]any{"action": "keep", "source_labels": []string{"__meta_kubernetes_pod_" + label}, "regex": value})
			}
			for name, value := range object.Spec.Selector.MatchLabels {
				keep("label_"+underscored(name), value)
			}
			endpoint := object.Spec.PodMetricsEndpoints[0]
			keep("container_port_name", endpoint.Port)
			for _, r := range endpoint.Relabelings {
				relabel = append(relabel, map[string]any{"source_labels": r.SourceLabels, "target_label": r.TargetLabel})
			}
			scrape["relabel_configs"] = relabel
		}
	}
	raw, err := os.ReadFile("../../deploy/alerts/inhibit.yaml")
	w.must(err)
	var routes map[string]any
	w.must(yaml.Unmarshal(raw, &routes))
	routes["route"].(map[string]any)["receiver"] = "on-call"
	routes["receivers"] = append(routes["receivers"].([]any), map[string]any{"name": "on-call"})
	file := func(name string, content any) string {
		text, err := yaml.Marshal(content)
		w.must(err)
		path := filepath.Join(w.Dir, name)
		w.must(os.WriteFile(path, text, 0o600))
		return path
	}
	scrape["file_sd_configs"] = []any{map[string]any{"files": []string{file("targets.yaml", w.discover())}}}
	const second = "1s"
	config := file("prometheus.yaml", map[string]any{
		"global":         map[string]any{"scrape_interval": second, "evaluation_interval": second},
		"rule_files":     []string{file("rules.yaml", rules)},
		"alerting":       map[string]any{"alertmanagers": []any{map[string]any{"static_configs": []any{map[string]any{"targets": []string{alertmanagerAt}}}}}},
		"scrape_configs": []any{scrape},
	})
	w.start("alertmanager", "/usr/bin/prometheus-alertmanager", "--config.file="+file("alertmanager.yaml", routes), "--storage.path="+filepath.Join(w.Dir, "alertmanager"),
		"--web.listen-address="+alertmanagerAt, "--cluster.listen-address=")
	w.start("prometheus", "/usr/bin/prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(w.Dir, "prometheus"), "--web.listen-address="+prometheusAt)
	for _, n := range nodes() {
		w.await("Prometheus scrapes "+n, func() error { return w.some(`nodevitals_build_info{instance=%q}`, n) })
	}
}

// discover lists the pods' ports as Prometheus' own discovery would, which Debian's build
// lacks.
func (w *world) discover() (targets []map[string]any) {
	var pods struct {
		Items []struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				NodeName   string
				Containers []struct {
					Ports []struct {
						Name          string
						ContainerPort int
					}
				}
			}
			Status struct{ PodIP string }
		}
	}
	w.must(w.Get("/api/v1/namespaces/kube-system/pods", &pods))
	for _, p := range pods.Items {
		for _, c := range p.Spec.Containers {
			for _, port := range c.Ports {
				const meta = "__meta_kubernetes_pod_"
				labels := map[string]string{meta + "node_name": p.Spec.NodeName, meta + "container_port_name": port.Name}
				for name, value := range p.Metadata.Labels {
					labels[meta+"label_"+underscored(name)] = value
				}
				targets = append(targets, map[string]any{"targets": []string{fmt.Sprintf("%s:%d", p.Status.PodIP, port.ContainerPort)}, "labels": labels})
			}
		}
	}
	return targets
}

// underscored is a label's name as Prometheus writes it.
func underscored(name string) string {
	return strings.NewReplacer(".", "_", "/", "_", "-", "_").Replace(name)
}

// query is the number of series that Prometheus has for an expression, and the value
// of the last.
func (w *world) query(format string, args ...any) (series int, value string, err error) {
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	err = fetch("http://"+prometheusAt+"/api/v1/query?query="+url.QueryEscape(fmt.Sprintf(format, args...)), &answer)
	for _, r := range answer.Data.Result {
		series++
		value = fmt.Sprint(r.Value[1])
	}
	return series, value, err
}

// some wants an expression to have an answer, none that it has none.
func (w *world) some(format string, args ...any) error {
	n, _, err := w.query(format, args...)
	if err == nil && n == 0 {
		err = fmt.Errorf("no "+format, args...)
	}
	return err
}

func (w *world) none(format string, args ...any) error {
	n, _, err := w.query(format, args...)
	if err == nil && n > 0 {
		err = fmt.Errorf("there is "+format, args...)
	}
	return err
}

// alert is one at the Alertmanager.
type alert struct {
	Labels map[string]string
	Status struct {
		State       string
		InhibitedBy []string
	}
}

// alerts are those about a kind on a node.
func (w *world) alerts(node string, kind problem.Kind) (found []alert, err error) {
	err = fetch("http://"+alertmanagerAt+"/api/v2/alerts?filter="+url.QueryEscape(fmt.Sprintf("alertname=%q", "Nodevitals"+string(kind)))+
		"&filter="+url.QueryEscape(fmt.Sprintf("instance=%q", node)), &found)
	return found, err
}

// alerted waits until an alert of node-a has come to the Alertmanager; there may be
// none of node-b.
func (w *world) alerted(kind problem.Kind, inhibited bool) {
	w.t.Helper()
	w.await(fmt.Sprintf("an alert about %s, inhibited: %v", kind, inhibited), func() error {
		all, err := w.alerts("node-a", kind)
		if err != nil {
			return err
		}
		for _, a := range all {
			if (len(a.Status.InhibitedBy) > 0) == inhibited {
				return nil
			}
		}
		return fmt.Errorf("alerts of node-a: %+v", all)
	})
	if all, err := w.alerts("node-b", kind); err != nil || len(all) > 0 {
		w.t.Errorf("alerts of node-b: %+v %v", all, err)
	}
}

// fetch gets JSON.
func fetch(from string, into any) error {
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(from)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status + ": " + string(raw))
	}
	return json.Unmarshal(raw, into)
}
