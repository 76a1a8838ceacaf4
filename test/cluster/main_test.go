package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/test/build"
)

// kubeallEnv names the binary that test/cluster/kubeall/build has built. Without it
// these tests are skipped: to build it takes minutes.
const kubeallEnv = "KUBEALL"

// patience is longer than anything here takes. News of a text waits for up to a minute, and
// a frozen API server is waited for by an Event and by the conditions for half a minute each.
const patience = 5 * time.Minute

// shared is the control plane of the tests that leave it as it is, the agent's binary,
// and that of the control planes.
var shared struct {
	plane          *Plane
	agent, kubeall string
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	binary := os.Getenv(kubeallEnv)
	if binary == "" {
		fmt.Println("SKIP test/cluster: no " + kubeallEnv + "; run make test-cluster, which builds a real API server first")
		return 0
	}
	dir, err := os.MkdirTemp("", "nodevitals-cluster-")
	if err != nil {
		return failed(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	shared.agent = filepath.Join(dir, "agent")
	if err := build.Go("build", "-o", shared.agent, "./cmd/agent"); err != nil {
		return failed(err)
	}
	shared.kubeall = binary
	if shared.plane, err = Start(dir, binary); err != nil {
		return failed(err)
	}
	defer shared.plane.Stop()
	if err := prepare(shared.plane); err != nil {
		return failed(err)
	}
	return m.Run()
}

func failed(err error) int {
	fmt.Println("FAIL test/cluster:", err)
	return 1
}

// prepare installs what the chart does: the service account and its role.
func prepare(p *Plane) error {
	if err := Await(patience, func() error { return p.Get("/api/v1/namespaces/kube-system", &struct{}{}) }); err != nil {
		return err
	}
	_, err := p.Kubectl("", "apply", "-f", "../../deploy/manifests/nodevitals.yaml")
	return err
}

// ownPlane is a control plane for a test that takes it away from everyone.
func ownPlane(t *testing.T) *Plane {
	t.Helper()
	p, err := Start(t.TempDir(), shared.kubeall)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	if err := prepare(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// agent is a real agent that looks at nothing but one log file, so that the test
// decides what is wrong with its node.
type agent struct {
	t                *testing.T
	plane            *Plane
	node, dir, log   string
	kubeconfig, more string
	cmd              *exec.Cmd
	out              *output
}

// newAgent makes a Node and prepares its agent, which comes with a token of the
// chart's service account.
func newAgent(t *testing.T, p *Plane, node string) *agent {
	t.Helper()
	a := &agent{t: t, plane: p, node: node, dir: t.TempDir()}
	a.log = filepath.Join(a.dir, "kern.log")
	makeNode(t, p, node)
	var err error
	a.kubeconfig, _, err = p.TokenKubeconfig(node, podToken(t, p, node, "nodevitals"))
	a.must(err)
	a.must(os.WriteFile(a.log, nil, 0o600))
	return a
}

// podToken is the token of the agent's pod on a node, as kubelet would mount it.
func podToken(t *testing.T, p *Plane, node, account string) string {
	t.Helper()
	pod := account + "-" + node
	const pods = "/api/v1/namespaces/kube-system/pods"
	if _, err := p.Do(http.MethodPost, pods, "", fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},
		"spec":{"serviceAccountName":%q,"automountServiceAccountToken":false,"nodeName":%q,"containers":[{"name":"agent","image":"agent"}]}}`, pod, account, node)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = p.Do(http.MethodDelete, pods+"/"+pod+"?gracePeriodSeconds=0", "", nil) })
	token, err := p.Kubectl("", "create", "token", account, "-n", "kube-system", "--bound-object-kind=Pod", "--bound-object-name="+pod)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(token)
}

// makeNode makes a Node as kubelet does, with its conditions.
func makeNode(t *testing.T, p *Plane, name string) {
	t.Helper()
	body := fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":%q,"labels":{"kubernetes.io/hostname":%q}}}`, name, name)
	if _, err := p.Do(http.MethodPost, "/api/v1/nodes", "", body); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = p.Do(http.MethodDelete, "/api/v1/nodes/"+name, "", nil) })
	if _, err := p.Do(http.MethodPatch, "/api/v1/nodes/"+name+"/status", strategicMerge, kubeletPatch(0)); err != nil {
		t.Fatal(err)
	}
}

const strategicMerge = "application/strategic-merge-patch+json"

// kubeletPatch is the n-th heartbeat of a kubelet.
func kubeletPatch(n int) string {
	at := time.Unix(1_700_000_000+int64(n), 0).UTC().Format(time.RFC3339)
	var all []string
	for _, c := range []string{"MemoryPressure False KubeletHasSufficientMemory", "DiskPressure False KubeletHasNoDiskPressure", "PIDPressure False KubeletHasSufficientPID", "Ready True KubeletReady"} {
		f := strings.Fields(c)
		all = append(all, fmt.Sprintf(`{"type":%q,"status":%q,"reason":%q,"message":"beat %d","lastHeartbeatTime":%q,"lastTransitionTime":"2023-11-14T22:13:20Z"}`, f[0], f[1], f[2], n, at))
	}
	return `{"status":{"conditions":[` + strings.Join(all, ",") + `]}}`
}

// start starts the agent; it ends with the test.
func (a *agent) start() {
	a.t.Helper()
	var off strings.Builder
	for _, s := range probes.All() {
		fmt.Fprintf(&off, "  %s: {enabled: false}\n", s.Name())
	}
	config := filepath.Join(a.dir, "config.yaml")
	a.must(os.WriteFile(config, fmt.Appendf(nil, "listen: 127.0.0.1:0\nstateFile: %s/state.json\nlogs: {files: [%s], journal: [], kmsg: false}\nprobes:\n%s%s\n",
		a.dir, a.log, off.String(), a.more), 0o600))
	a.out = &output{}
	a.cmd = exec.Command(shared.agent, a.args(config)...)
	a.cmd.Stderr = a.out
	a.cmd.Env = append(os.Environ(), "NODE_NAME="+a.node)
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	a.must(a.cmd.Start())
	a.t.Cleanup(a.kill)
}

func (a *agent) args(config string) []string {
	return []string{"--config", config, "--kubeconfig", a.kubeconfig}
}

// cleanup runs agent cleanup.
func (a *agent) cleanup() string {
	a.t.Helper()
	cmd := exec.Command(shared.agent, append([]string{"cleanup", "--node-name", a.node}, a.args(filepath.Join(a.dir, "config.yaml"))...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		a.t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// kill ends the agent by SIGKILL.
func (a *agent) kill() {
	if a.cmd.ProcessState == nil {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
	}
}

// stop ends it in order.
func (a *agent) stop() {
	a.t.Helper()
	a.must(a.cmd.Process.Signal(syscall.SIGTERM))
	if err := a.cmd.Wait(); err != nil {
		a.t.Fatalf("the agent ended with %v: %s", err, a.out.String())
	}
}

// hang and heal write what the kernel does when an NFS server hangs and answers again.
func (a *agent) hang(server string) { a.say("nfs: server " + server + " not responding, still trying") }
func (a *agent) heal(server string) { a.say("nfs: server " + server + " OK") }

func (a *agent) say(line string) { a.sayAs("kernel", line) }

// sayAs writes a line of a program's.
func (a *agent) sayAs(program, line string) {
	a.t.Helper()
	f, err := os.OpenFile(a.log, os.O_APPEND|os.O_WRONLY, 0o600)
	a.must(err)
	_, err = fmt.Fprintf(f, "%s %s %s: %s\n", time.Now().Format(time.RFC3339Nano), a.node, program, line)
	a.must(err)
	a.must(f.Close())
}

func (a *agent) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// condition is one of a Node's.
type condition struct {
	Type, Status, Reason, Message         string
	LastHeartbeatTime, LastTransitionTime time.Time
}

// conditions are the Node's, by type.
func (a *agent) conditions() map[string]condition {
	a.t.Helper()
	var n struct {
		Status struct{ Conditions []condition }
	}
	a.must(a.plane.Get("/api/v1/nodes/"+a.node, &n))
	out := map[string]condition{}
	for _, c := range n.Status.Conditions {
		out[c.Type] = c
	}
	return out
}

// await waits until a condition has a status, and returns it.
func (a *agent) await(typ, status string) condition {
	a.t.Helper()
	var c condition
	err := Await(patience, func() error {
		if c = a.conditions()[typ]; c.Status != status {
			return fmt.Errorf("%s is %+v, want %s", typ, c, status)
		}
		return nil
	})
	if err != nil {
		a.t.Fatalf("%v\n%s", err, a.out.String())
	}
	return c
}

// event is an Event about a Node or a Pod.
type event struct {
	Reason, Note, Type, ReportingController, Action string
	Regarding, Related                              struct{ Kind, Name, Namespace string }
	Series                                          *struct{ Count int }
}

// events are those that the agent has written, in a namespace, by their reasons.
func (a *agent) events(namespace string) []event {
	a.t.Helper()
	var l struct{ Items []event }
	a.must(a.plane.Get("/apis/events.k8s.io/v1/namespaces/"+namespace+"/events?limit=500", &l))
	var mine []event
	for _, e := range l.Items {
		if e.ReportingController == "nodevitals.io/agent" && (e.Regarding.Name == a.node || e.Related.Name == a.node) {
			mine = append(mine, e)
		}
	}
	slices.SortStableFunc(mine, func(a, b event) int { return strings.Compare(a.Reason, b.Reason) })
	return mine
}

// reasons are the events' reasons, with the count of those that were counted up.
func reasons(events []event) string {
	var out []string
	for _, e := range events {
		r := e.Reason
		if e.Series != nil {
			r += fmt.Sprintf("×%d", e.Series.Count)
		}
		out = append(out, r)
	}
	return strings.Join(out, " ")
}

// awaitEvents waits until the reasons of the agent's Events are these.
func (a *agent) awaitEvents(want string) {
	a.t.Helper()
	err := Await(patience, func() error {
		if got := reasons(a.events("default")); got != want {
			return fmt.Errorf("events %q, want %q", got, want)
		}
		return nil
	})
	if err != nil {
		a.t.Fatalf("%v\n%s", err, a.out.String())
	}
}

var listening = regexp.MustCompile(`msg="nodevitals is running".* address=(\S+)`)

// get reads a page of the agent's own server.
func (a *agent) get(path string) string {
	a.t.Helper()
	var body string
	err := Await(patience, func() error {
		m := listening.FindStringSubmatch(a.out.String())
		if m == nil {
			return fmt.Errorf("it does not listen yet: %s", a.out.String())
		}
		resp, err := http.Get("http://" + m[1] + path)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		raw, err := io.ReadAll(resp.Body)
		body = string(raw)
		return err
	})
	a.must(err)
	return body
}

// warnings are what the agent says about itself.
func (a *agent) warnings() string {
	a.t.Helper()
	var s struct {
		Host struct{ Warnings []string }
	}
	a.must(json.Unmarshal([]byte(a.get("/status")), &s))
	return strings.Join(s.Host.Warnings, "\n")
}

// awaitWarning waits until the agent warns of something, or, with "", of nothing.
func (a *agent) awaitWarning(want string) {
	a.t.Helper()
	err := Await(patience, func() error {
		if got := a.warnings(); !strings.Contains(got, want) || want == "" && got != "" {
			return fmt.Errorf("it warns of %q, want %q", got, want)
		}
		return nil
	})
	a.must(err)
}

// output is what a program has written so far.
type output struct {
	mu sync.Mutex
	b  strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
