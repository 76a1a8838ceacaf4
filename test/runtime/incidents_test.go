package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: incidents from end to end. A real fault of a runtime, the lines that
// kubelet writes of it, and the whole program between, which must name the cause.
// test/incidents/README.md lists them with those of test/limits.

// kubeletLog is followed by the agent of these tests.
const kubeletLog = "/var/log/kubelet.log"

// kubeletSays has kubelet write a line, some times over.
func kubeletSays(t *testing.T, line string, times int) {
	t.Helper()
	stamped := fmt.Sprintf("%s n kubelet: %s\n", time.Now().Format(time.RFC3339Nano), line)
	write(t, kubeletLog, strings.Repeat(stamped, times))
	t.Cleanup(func() { _ = os.Remove(kubeletLog) })
}

// examine is the agent's report, in which each problem stands with its causes, the
// nearest first: "effect <- cause <- cause".
func examine(t *testing.T) []string {
	t.Helper()
	const config = "/run/agent.yaml"
	write(t, config, "logs: {files: ["+kubeletLog+"], journal: [], kmsg: false}\n")
	out, _ := exec.Command(os.Getenv(insideEnv)+"/agent", "--once", "-o", "json", "--config", config).Output()
	var s problem.Snapshot
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v: %.300s", err, out)
	}
	var all []string
	for _, p := range s.Problems {
		way := string(p.Kind)
		for causes := p.Causes; len(causes) > 0; causes = causes[0].Causes {
			way += " <- " + string(causes[0].Kind)
		}
		all = append(all, way)
	}
	return all
}

func mustTell(t *testing.T, way string) {
	t.Helper()
	if all := examine(t); !slices.Contains(all, way) {
		t.Errorf("it does not tell %q, but %q", way, all)
	}
}

// TestIncidentStoppedRuntime: a runtime is stopped in its tracks, and kubelet gets no
// list of pods. While it answered, the same line was not its fault.
func TestIncidentStoppedRuntime(t *testing.T) {
	c := start(t)
	kubeletSays(t, `E1122 10:00:00.000000    1234 kubelet.go:2347] "Skipping pod synchronization" err="PLEG is not healthy: pleg was last seen active 3m7.6s ago; threshold is 3m0s"`, 1)
	mustTell(t, "PLEGUnhealthy")
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	mustTell(t, "PLEGUnhealthy <- RuntimeNotAnswering")
	if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	mustTell(t, "PLEGUnhealthy")
}

// TestIncidentKilledRuntime: it is gone.
func TestIncidentKilledRuntime(t *testing.T) {
	c := start(t)
	write(t, "/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\ncgroupRoot: /nodevitals-runtime-test\n")
	kubeletSays(t, `E1122 10:00:00.000000    1234 kubelet.go:2347] "Skipping pod synchronization" err="PLEG is not healthy: pleg was last seen active 3m7.6s ago; threshold is 3m0s"`, 1)
	mustTell(t, "PLEGUnhealthy")
	c.kill(syscall.SIGKILL)
	mustTell(t, "PLEGUnhealthy <- RuntimeDown")
}

// TestIncidentNetworkConfigurationGone: the network plugin's configuration is removed,
// and no sandbox can be made.
func TestIncidentNetworkConfigurationGone(t *testing.T) {
	c := start(t)
	kubeletSays(t, `E1122 10:00:00.000000    1234 pod_workers.go:1300] "Error syncing pod, skipping" err="failed to set up network for sandbox: cni plugin not initialized" pod="payments/worker-7c9"`, 4)
	mustTell(t, "CNIFailure")
	if err := os.Remove(conflist); err != nil {
		t.Fatal(err)
	}
	c.networkReady(false)
	mustTell(t, "CNIFailure <- CNINotReady")
	write(t, conflist, network("10.89.1.0/24"))
	c.networkReady(true)
	mustTell(t, "CNIFailure")
}
