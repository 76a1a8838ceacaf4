package alerts

// This file has a real agent with real findings scraped by a real Prometheus,
// which sends its alerts to a real Alertmanager: the effect's alert is silenced by
// its cause's, and every query of the dashboard has an answer.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/test/build"
	"go.yaml.in/yaml/v3"
)

// patience bounds what is waited for; all of it comes within seconds.
const patience = time.Minute

func TestEffectIsSilencedByItsCause(t *testing.T) {
	prometheus, alertmanager := need(t, "prometheus"), need(t, "prometheus-alertmanager")
	dir := t.TempDir()

	// kubelet says that its relist hangs, and that the runtime is gone.
	kubeletLog := filepath.Join(dir, "kubelet.log")
	stamp := time.Now().Format("0102 15:04:05.000000")
	lines := "E" + stamp + "    1234 kubelet.go:2347] \"Skipping pod synchronization\" err=\"[container runtime is down, PLEG is not healthy: pleg was last seen active 3m12s ago; threshold is 3m0s]\"\n" +
		"E" + stamp + "    1234 kubelet.go:2900] \"Container runtime sanity check failed\" err=\"rpc error: code = Unavailable desc = connection error: desc = \\\"transport: Error while dialing: dial unix /run/containerd/containerd.sock: connect: connection refused\\\"\"\n"
	write(t, kubeletLog, strings.Repeat(lines, 5))
	agentAt, prometheusAt, alertmanagerAt := freeAddress(t), freeAddress(t), freeAddress(t)
	config := filepath.Join(dir, "config.yaml")
	write(t, config, fmt.Sprintf("listen: %s\nstateFile: ''\nlogs: {files: [%s], journal: [], kmsg: false, lookBack: 1h}\n", agentAt, kubeletLog))
	start(t, build.Agent(t), "--config", config)

	start(t, alertmanager, "--config.file="+alertmanagerConfig(t, dir), "--storage.path="+filepath.Join(dir, "am"),
		"--web.listen-address="+alertmanagerAt, "--cluster.listen-address=")
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "prometheus.yml"), fmt.Sprintf(`
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%s]
alerting: {alertmanagers: [{static_configs: [{targets: [%s]}]}]}
scrape_configs: [{job_name: nodevitals, static_configs: [{targets: [%s]}]}]
`, rules, alertmanagerAt, agentAt))
	start(t, prometheus, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "tsdb"),
		"--web.listen-address="+prometheusAt)

	type alert struct {
		Labels map[string]string `json:"labels"`
		Status struct {
			State       string   `json:"state"`
			InhibitedBy []string `json:"inhibitedBy"`
		} `json:"status"`
	}
	var alerts []alert
	find := func(kind string) (found alert) {
		for _, a := range alerts {
			if a.Labels["alertname"] == "Nodevitals"+kind {
				found = a
			}
		}
		return found
	}
	await(t, "the effect's alert silenced, the cause's not", func() error {
		alerts = nil
		if err := get("http://"+alertmanagerAt+"/api/v2/alerts", &alerts); err != nil {
			return err
		}
		effect := find("PLEGUnhealthy")
		cause := find("RuntimeDown")
		if len(effect.Status.InhibitedBy) == 0 || cause.Status.State != "active" || cause.Labels["severity"] != "critical" {
			return fmt.Errorf("alerts: %+v", alerts)
		}
		return nil
	})

	t.Run("dashboard", func(t *testing.T) { everyQueryAnswers(t, prometheusAt, agentAt) })
}

// everyQueryAnswers puts the dashboard's queries as Grafana would.
func everyQueryAnswers(t *testing.T, prometheus, instance string) {
	raw, err := os.ReadFile("../../deploy/dashboard/nodevitals.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			queries++
			expr := strings.ReplaceAll(target.Expr, "$instance", instance)
			await(t, p.Title+": "+expr, func() error {
				var answer struct {
					Error string `json:"error"`
					Data  struct {
						Result []any `json:"result"`
					} `json:"data"`
				}
				if err := get("http://"+prometheus+"/api/v1/query?query="+url.QueryEscape(expr), &answer); err != nil {
					return err
				}
				if len(answer.Data.Result) == 0 {
					return fmt.Errorf("no data %s", answer.Error)
				}
				return nil
			})
		}
	}
	if queries < 15 {
		t.Errorf("only %d queries in the dashboard", queries)
	}
}

// alertmanagerConfig is that of a cluster with what inhibit.yaml adds.
func alertmanagerConfig(t *testing.T, dir string) string {
	raw, err := os.ReadFile("../../deploy/alerts/inhibit.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := yaml.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	c["route"].(map[string]any)["receiver"] = "on-call"
	c["receivers"] = append(c["receivers"].([]any), map[string]any{"name": "on-call"})
	text, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "alertmanager.yml")
	write(t, file, string(text))
	return file
}

func need(t *testing.T, program string) string {
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed (make test installs it): alerts are not tried", program)
	}
	return path
}

func write(t *testing.T, file, text string) {
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// freeAddress is one on loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// start runs a program until the test ends; its output is shown if the test failed.
func start(t *testing.T, program string, args ...string) {
	var out strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(program), out.String())
		}
	})
}

func get(from string, into any) error {
	answer, err := http.Get(from)
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

// await polls until look is content.
func await(t *testing.T, what string, look func() error) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for {
		err := look()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("%s: %v", what, err)
		}
	}
}
