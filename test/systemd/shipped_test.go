package systemd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/nspawn"
)

// installed boots a machine that has the agent and a shipped unit where the unit's head
// says, and further files.
func installed(t *testing.T, files map[string]string, units ...string) *nspawn.Machine {
	t.Helper()
	agent := build.Agent(t)
	for _, u := range units {
		raw, err := os.ReadFile("../../deploy/systemd/" + u)
		if err != nil {
			t.Fatal(err)
		}
		files["/etc/systemd/system/"+u] = string(raw)
	}
	m := boot(t, files, agent)
	in(t, m, "install -m 0755 "+agent+" /usr/local/bin/nodevitals-agent")
	return m
}

// page is what a server in the machine answers, or "".
func page(m *nspawn.Machine, url string) string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return m.Dial(ctx, network, address)
	}}}
	resp, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	raw, _ := io.ReadAll(resp.Body)
	return string(raw)
}

// property is one of a unit's, as systemctl shows it.
func property(t *testing.T, m *nspawn.Machine, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(in(t, m, "systemctl show --value -p "+name+" "+unit))
}

// TestShippedUnit: the unit starts the agent, in its sandbox; what does not turn any more
// is started anew by its watchdog; and stop and restart are clean and quick.
func TestShippedUnit(t *testing.T) {
	const unit, metrics = "nodevitals.service", "http://127.0.0.1:20258/metrics"
	m := installed(t, map[string]string{
		// A minute, as it is shipped, would be long to wait for.
		"/etc/systemd/system/nodevitals.service.d/soon.conf": "[Service]\nWatchdogSec=3\nRestartSec=100ms\n",
	}, unit)
	in(t, m, "systemctl enable --now "+unit) // returns when the agent says that it is ready
	serves := func() bool { return strings.Contains(page(m, metrics), "nodevitals_build_info") }
	if !serves() {
		t.Error("it was ready, and served no metrics")
	}
	await(t, "a first look", func() bool { return strings.Contains(page(m, metrics), `nodevitals_probe_success{probe="threads"} 1`) })
	for _, line := range strings.Split(page(m, metrics), "\n") {
		if strings.HasPrefix(line, "nodevitals_probe_success") && strings.HasSuffix(line, " 0") {
			t.Errorf("in its sandbox a probe fails: %s\n%s", line, in(t, m, "journalctl -u nodevitals --no-pager -n 20"))
		}
	}

	first := property(t, m, unit, "MainPID")
	in(t, m, "systemctl kill --signal=STOP "+unit)
	await(t, "a restart by the watchdog", func() bool {
		return property(t, m, unit, "NRestarts") == "1" && property(t, m, unit, "ActiveState") == "active"
	})
	if now := property(t, m, unit, "MainPID"); now == first || !serves() {
		t.Errorf("after the watchdog: process %s, before %s", now, first)
	}

	in(t, m, "systemctl restart "+unit)
	if !serves() {
		t.Error("it was restarted, and serves no metrics")
	}
	in(t, m, "systemctl stop "+unit)
	if result := property(t, m, unit, "Result") + " " + property(t, m, unit, "ActiveState"); result != "success inactive" {
		t.Errorf("stopped: %s", result)
	}
	if serves() {
		t.Error("it is stopped, and serves metrics")
	}
	if _, err := os.Stat(filepath.Join(m.Root(), "var/lib/nodevitals/state.json")); err != nil {
		t.Errorf("it has left no state: %v", err)
	}
}

// TestShippedTextFile: the timer's unit writes a file that node_exporter serves.
func TestShippedTextFile(t *testing.T) {
	const exporter, folder, port = "prometheus-node-exporter", "/var/lib/prometheus/node-exporter", 9100
	if _, err := exec.LookPath(exporter); err != nil {
		t.Skip("SKIPPED: needs what test/install-deps installs: ", err)
	}
	const unit = "nodevitals-textfile"
	m := installed(t, map[string]string{folder + "/README": ""}, unit+".service", unit+".timer")
	in(t, m, "systemctl start "+unit+".timer")
	if next := property(t, m, unit+".timer", "NextElapseUSecMonotonic"); next == "" || next == "infinity" {
		t.Errorf("the timer's next time is %q", next)
	}
	in(t, m, "systemctl start "+unit+".service")
	if result := property(t, m, unit+".service", "Result"); result != "success" {
		t.Errorf("%s: %s", result, in(t, m, "journalctl -u nodevitals-textfile --no-pager -n 20"))
	}
	cmd := m.Command(t.Context(), exporter, "--collector.disable-defaults", "--collector.textfile", "--collector.textfile.directory="+folder, fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	url, served := fmt.Sprintf("http://127.0.0.1:%d/metrics", port), ""
	await(t, "node_exporter serves", func() bool { served = page(m, url); return served != "" })
	for _, want := range []string{"node_textfile_scrape_error 0", "nodevitals_build_info{", "nodevitals_limit_max{", `node_textfile_mtime_seconds{file="` + folder + `/nodevitals.prom"}`} {
		if !strings.Contains(served, want) {
			t.Errorf("node_exporter does not serve %s:\n%.2000s", want, served)
		}
	}
	left, err := filepath.Glob(filepath.Join(m.Root(), folder, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("the folder holds %v %v", left, err)
	}
}
