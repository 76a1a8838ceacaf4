package runtime

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: a runtime that does not answer, in each of its ways.

// says fails the test unless the verdict's message and evidence contain all of these.
func says(t *testing.T, v problem.Verdict, words ...string) {
	t.Helper()
	all := v.Message + "\n" + strings.Join(v.Evidence, "\n")
	for _, w := range words {
		if !strings.Contains(all, w) {
			t.Errorf("%s does not say %q: %s", v.Kind, w, all)
		}
	}
}

func TestRuntimeHangsAndDies(t *testing.T) {
	c, p, n := start(t), probes.NewRuntime(), node(t)
	r := look(t, p, n)
	quiet(t, r)
	if i := slices.IndexFunc(r.Measurements, func(m problem.Measurement) bool { return m.Resource == "runtime_answer" }); i < 0 || r.Measurements[i].Max != 10 {
		t.Errorf("measured %+v", r.Measurements)
	}
	if len(r.Latencies) != 4 || r.Latencies[0].Count != 1 {
		t.Errorf("latencies %+v", r.Latencies)
	}

	// It hangs: it is there, and says nothing.
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	v := wrong(t, look(t, p, n), problem.RuntimeNotAnswering)
	says(t, v, "containerd did not answer within 4.5s: the call Version", "is stopped (state T)", "/proc/")
	if v.Severity != problem.Critical || !slices.Contains(v.Touches, problem.Ref("process:containerd")) {
		t.Errorf("severity %s, touches %v", v.Severity, v.Touches)
	}
	if code, report := once(t); code != 2 || !strings.Contains(report, "RuntimeNotAnswering") || strings.Contains(report, "RuntimeDown") {
		t.Errorf("agent --once ends with %d and says\n%s", code, report)
	}
	if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	quiet(t, look(t, p, n))

	// It dies, and leaves its socket behind.
	c.kill(syscall.SIGKILL)
	v = wrong(t, look(t, p, n), problem.RuntimeDown)
	says(t, v, "nobody listens on "+socket, "connection refused", "no process of the name containerd")
	if code, report := once(t); code != 2 || !strings.Contains(report, "RuntimeDown") || !strings.Contains(report, "not RuntimeNotAnswering") {
		t.Errorf("agent --once ends with %d and says\n%s", code, report)
	}
	c.run()
	quiet(t, look(t, p, n))

	// It is stopped in order, and takes its socket with it: where a runtime was, one is missed.
	c.kill(syscall.SIGTERM)
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		_ = os.Remove(socket)
	}
	says(t, wrong(t, look(t, p, n), problem.RuntimeDown), "there is no socket "+socket)

	// A look that knows of no runtime misses one only where kubelet wants it.
	var na *problem.NotApplicableError
	if _, err := probes.NewRuntime().Run(t.Context(), n); !errors.As(err, &na) {
		t.Errorf("no runtime, no kubelet: %v, want not applicable", err)
	}
	write(t, "/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\ncgroupRoot: /nodevitals-runtime-test\n")
	says(t, wrong(t, look(t, probes.NewRuntime(), n), problem.RuntimeDown), "there is no socket "+socket)
}

// once runs the agent on this node.
func once(t *testing.T) (code int, report string) {
	t.Helper()
	out, err := exec.Command(os.Getenv(insideEnv)+"/agent", "--once", "--since", "0").CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	} else if err != nil {
		code = exit.ExitCode()
	}
	return code, string(out)
}

// Whatever sits on the runtime's socket, the probe says what it is and goes on.
func TestSomethingElseOnTheSocket(t *testing.T) {
	for _, tc := range []struct {
		name   string
		handle func(io.ReadWriteCloser)
		says   string
	}{
		{"silent", func(c io.ReadWriteCloser) { _, _ = io.Copy(io.Discard, c) }, "did not answer within 4.5s"},
		{"HTTP/1", func(c io.ReadWriteCloser) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}, "does not speak the protocol"},
		{"zeros without end", func(c io.ReadWriteCloser) {
			buf := make([]byte, 64<<10)
			for _, err := c.Write(buf); err == nil; _, err = c.Write(buf) {
				continue
			}
		}, "does not speak the protocol"},
		{"hangs up", func(io.ReadWriteCloser) {}, "containerd fails to answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := listen(t)
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { tc.handle(c); _ = c.Close() }()
				}
			}()
			says(t, wrong(t, look(t, probes.NewRuntime(), node(t)), problem.RuntimeNotAnswering), tc.says, socket)
		})
	}
}

// A containerd whose service for kubelet is switched off, as Docker's package
// installs it: a fault where kubelet wants it, and none beside Docker.
func TestPluginSwitchedOff(t *testing.T) {
	c := start(t)
	n := node(t)
	c.kill(syscall.SIGTERM)
	config, err := os.ReadFile("/run/containerd.toml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, "/run/containerd.toml", strings.Replace(string(config), "version = 2\n", "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n", 1))
	c.run()
	var na *problem.NotApplicableError
	if _, err := probes.NewRuntime().Run(t.Context(), n); !errors.As(err, &na) {
		t.Errorf("without a kubelet: %v, want not applicable", err)
	}
	write(t, "/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\n")
	says(t, wrong(t, look(t, probes.NewRuntime(), n), problem.RuntimeNotAnswering), "its plugin is switched off")
}

func TestRuntimeReplacedUnderItself(t *testing.T) {
	c, p, n := start(t), probes.NewRuntimeBinary(), node(t)
	quiet(t, look(t, p, n))
	// An upgrade puts another file in its place.
	copyFile(t, c.exe, c.exe+".new")
	if err := os.Rename(c.exe+".new", c.exe); err != nil {
		t.Fatal(err)
	}
	v := wrong(t, look(t, p, n), problem.RuntimeBinaryMismatch)
	says(t, v, "was updated and not restarted", c.exe+" (deleted)")
	if v.Subject != "containerd" || v.Severity != problem.Info || v.Holders[0].PID != c.cmd.Process.Pid {
		t.Errorf("%+v", v)
	}
	c.kill(syscall.SIGTERM)
	c.run()
	quiet(t, look(t, p, n))

	// A second one with the same root waits for the lock of the first.
	second := exec.Command(c.exe, "--root", c.root, "--state", "/run/second", "--address", "/run/second.sock")
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Process.Kill(); _ = second.Wait() })
	await(t, "the second containerd's wait for the database", func() bool {
		files, _ := filepath.Glob("/proc/" + itoa(second.Process.Pid) + "/fd/*")
		return slices.ContainsFunc(files, func(f string) bool {
			to, err := os.Readlink(f)
			return err == nil && strings.HasSuffix(to, "/meta.db")
		})
	})
	says(t, wrong(t, look(t, p, n), problem.RuntimeBinaryMismatch), "two containerd work on the same folder", c.root)
}

// With a root of its own a second one is sound: Docker brings one along.
func TestTwoRuntimesApart(t *testing.T) {
	c, p, n := start(t), probes.NewRuntimeBinary(), node(t)
	second := exec.Command(c.exe, "--root", "/run/second-root", "--state", "/run/second", "--address", "/run/second.sock")
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Process.Kill(); _ = second.Wait(); _ = os.RemoveAll("/run/second-root") })
	await(t, "the second containerd's socket", func() bool { _, err := os.Stat("/run/second.sock"); return err == nil })
	quiet(t, look(t, p, n))
}

// The hung runtime's queue holds one connection of ours, however often it is looked at.
func TestHungRuntimeIsNotBuried(t *testing.T) {
	c, p, n := start(t), probes.NewRuntime(), node(t)
	quiet(t, look(t, p, n))
	if err := c.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.Thresholds.Answer = 1e8 // soon: nothing comes any more
	for range 5 {
		wrong(t, look(t, p, n), problem.RuntimeNotAnswering)
	}
	raw, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	waiting := 0
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) == 8 && f[7] == socket && f[5] == "02" {
			waiting++
		}
	}
	if waiting != 1 {
		t.Errorf("%d connections wait, want 1", waiting)
	}
	if err := c.cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	p.Thresholds.Answer = 5e9
	quiet(t, look(t, p, n))
}

// The report of a healthy node names what is decided, and nothing else.
func TestHealthyReport(t *testing.T) {
	c := start(t)
	write(t, "/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\ncgroupDriver: cgroupfs\ncgroupRoot: /nodevitals-runtime-test\n")
	c.pod("kube-system", "kube-proxy-x", "kube-proxy")
	out, _ := exec.Command(os.Getenv(insideEnv)+"/agent", "--once", "--since", "0", "-o", "json").Output()
	var s problem.Snapshot
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v: %.300s", err, out)
	}
	states := map[problem.Kind]problem.State{}
	for _, k := range s.Kinds {
		if k.Probe == "runtime" || k.Probe == "runtimebinary" {
			states[k.Kind] = k.State
		}
	}
	for _, k := range append((*probes.Runtime)(nil).Kinds(), problem.RuntimeBinaryMismatch) {
		want := problem.Fine
		if k == problem.CNIAgentDown {
			want = problem.NotApplicable // the bridge plugin has no agent
		}
		if states[k] != want {
			t.Errorf("%s is %s, want %s", k, states[k], want)
		}
	}
}
