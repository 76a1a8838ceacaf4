package systemd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/nspawn"
)

// listener is what stands for kubelet's health endpoint: a program of the machine
// that accepts connections at kubelet's port and answers with a file, or never.
const listener = `import socket, sys, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 10248)); s.listen(16)
held = []
while True:
    c, _ = s.accept()
    try: body = open("/run/healthz").read()
    except FileNotFoundError:
        held.append(c)
        continue
    c.recv(4096); c.sendall(body.encode()); c.close()
`

// kubeletUnit runs that as kubelet.
const kubeletUnit = `[Service]
ExecStart=/usr/local/bin/kubelet /listener.py
Restart=on-failure
[Install]
WantedBy=basic.target
`

// daemon starts the agent as a daemon in the machine, with short periods.
func daemon(t *testing.T, m *nspawn.Machine, agent string) func() *problem.Snapshot {
	t.Helper()
	cmd := m.Command(context.Background(), agent, "--config", "/agent.yaml", "--listen", "127.0.0.1:20258", "--state-file", "")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			t.Log(s.Text())
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return m.Dial(ctx, network, address)
	}}}
	return func() *problem.Snapshot {
		resp, err := client.Get("http://127.0.0.1:20258/status")
		if err != nil {
			return nil // it has not started yet
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var s problem.Snapshot
		if err := json.Unmarshal(b, &s); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		return &s
	}
}

// once is what `agent --once` says in the machine.
func once(t *testing.T, m *nspawn.Machine, agent string) *problem.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := m.Command(ctx, agent, "--once", "-o", "json", "--config", "/agent.yaml").Output()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var s problem.Snapshot
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return &s
}

// find is the problem of a kind, or nil.
func find(s *problem.Snapshot, kind problem.Kind) *problem.Problem {
	for i, p := range s.Problems {
		if p.Kind == kind {
			return &s.Problems[i]
		}
	}
	return nil
}

// TestAgent: the agent beside a kubelet that works, falls silent, says that its PLEG
// is not well, is stopped, and works again.
func TestAgent(t *testing.T) {
	agent := build.Agent(t)
	const healthy = "HTTP/1.1 200 OK\r\n\r\nok"
	m := boot(t, map[string]string{
		"/etc/systemd/system/kubelet.service": kubeletUnit,
		"/var/lib/kubelet/config.yaml":        "kind: KubeletConfiguration\nenforceNodeAllocatable: [none]\n",
		"/listener.py":                        listener,
		"/agent.yaml":                         "logs: {files: [], journal: [], kmsg: false}\nprobes:\n  units: {period: 1s}\n  kubelet: {period: 1s, thresholds: {answer: 1s, starting: 1s}}\n",
		"/healthy":                            healthy,
		"/pleg":                               "HTTP/1.1 500 Internal Server Error\r\n\r\n[+]ping ok\n[-]pleg failed: reason withheld\nhealthz check failed\n",
	}, agent)
	in(t, m, "cp /usr/bin/python3 /usr/local/bin/kubelet")
	in(t, m, "cp /healthy /run/healthz")
	in(t, m, "systemctl enable --now kubelet")
	status := daemon(t, m, agent)
	fine := func(what string) {
		t.Helper()
		await(t, what, func() bool {
			s := status()
			if s == nil {
				return false
			}
			for _, c := range s.Conditions {
				if c.Type == problem.KubeletUnhealthy && c.Status == problem.ConditionFalse {
					return find(s, problem.KubeletNotAnswering) == nil && find(s, problem.KubeletDown) == nil && find(s, problem.PLEGUnhealthy) == nil
				}
			}
			return false
		})
	}
	told := func(kind problem.Kind, says string) {
		t.Helper()
		var p *problem.Problem
		await(t, string(kind), func() bool { p = find(status(), kind); return p != nil })
		if p.Severity != problem.Critical || !strings.Contains(p.Message, says) {
			t.Errorf("%s: %+v", kind, p)
		}
	}
	fine("healthy")

	in(t, m, "rm /run/healthz")
	told(problem.KubeletNotAnswering, "no answer within 1s")
	if p := find(once(t, m, agent), problem.KubeletNotAnswering); p == nil {
		t.Error("--once does not tell of the silent port")
	}
	in(t, m, "cp /pleg /run/healthz")
	told(problem.PLEGUnhealthy, "pleg")
	in(t, m, "cp /healthy /run/healthz")
	fine("well again")

	in(t, m, "systemctl stop kubelet")
	told(problem.KubeletDown, "kubelet.service is stopped, although it is enabled")
	s := once(t, m, agent)
	if find(s, problem.KubeletDown) == nil || find(s, problem.KubeletNotAnswering) != nil {
		t.Errorf("--once of a stopped kubelet: %+v", s.Problems)
	}
	in(t, m, "systemctl start kubelet")
	fine("started again")
}

// TestRestartsOnce: a single look cannot know when systemd made its restarts. The
// journal does, and tells those that were planned from none; systemd's count does.
func TestRestartsOnce(t *testing.T) {
	agent := build.Agent(t)
	m := boot(t, map[string]string{
		"/etc/systemd/system/kubelet.service": strings.Replace(sleeper, "%N", "kubelet: The Kubernetes Node Agent", 1),
		"/agent.yaml":                         "probes:\n  runtime: {enabled: false}\n",
	}, agent)
	in(t, m, "systemctl enable --now kubelet")
	for range 6 {
		in(t, m, "systemctl restart kubelet")
	}
	if p := find(once(t, m, agent), problem.FrequentKubeletRestart); p != nil {
		t.Errorf("planned restarts: %+v", p)
	}
	h := hostOf(t, m)
	for i := 1; i <= 6; i++ {
		in(t, m, "systemctl kill --kill-who=main -s KILL kubelet")
		await(t, "it runs again", func() bool { u := look(t, h, "kubelet.service"); return u.Restarts == i && u.Running() })
	}
	p := find(once(t, m, agent), problem.FrequentKubeletRestart)
	if p == nil || p.Severity != problem.Critical {
		t.Errorf("six restarts: %+v", p)
	}
}
