// Package e2e runs the real thing: a Kubernetes cluster of two nodes (etcd, the
// control plane, and two of kubelet with containerd) on this machine, the image as
// `make image` makes it and the chart, installed by helm; with real failures on one
// of the nodes, and everything gone at the end.
//
// All of it lives in namespaces: the cluster in one of processes, mounts and network,
// each node in further ones, of cgroups too, so that it sees its own processes,
// cgroups and mounts like a machine of its own. Only the kernel is shared. When the
// test binary ends, the kernel ends all that it has started.
package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"syscall"
	"testing"

	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/helper"
)

// What the environment says to a process of this binary.
const (
	kubeallEnv = "KUBEALL"              // where the binary of test/cluster/kubeall is
	helmEnv    = "HELM"                 // where helm is
	insideEnv  = "NODEVITALS_E2E"       // set inside the cluster: the folder with what was built
	nodeEnv    = "NODEVITALS_E2E_NODE"  // set in a node: its name
	stageEnv   = "NODEVITALS_E2E_STAGE" // set in a node that is in its cgroups
	doEnv      = "NODEVITALS_E2E_DO"    // what to do on a node (doer_test.go)
)

func TestMain(m *testing.M) {
	var err error
	code := 0
	switch {
	case os.Getenv(doEnv) != "":
		err = doer(os.Getenv(doEnv))
	case os.Getenv(stageEnv) != "":
		err = runNode(os.Getenv(nodeEnv))
	case os.Getenv(nodeEnv) != "":
		err = joinCgroups(os.Getenv(nodeEnv))
	case os.Getenv(insideEnv) != "" && os.Getpid() == 1:
		code, err = runPlane()
	case os.Getenv(insideEnv) != "":
		code = m.Run()
	case missing() != nil:
		fmt.Println("SKIPPED:", missing())
	default:
		code, err = enter()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// runPlane is the first process of the cluster's namespaces. It has the tests run by
// another one and reaps what these orphan, without which no node could end.
func runPlane() (int, error) {
	if err := furnishPlane(); err != nil {
		return 1, err
	}
	tests, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 1, err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, err
		case pid == tests.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == tests.Pid:
			return 1, fmt.Errorf("the tests have ended by %v", status.Signal())
		}
	}
}

// missing says what the tests cannot be run for.
func missing() error {
	if os.Getenv(kubeallEnv) == "" || os.Getenv(helmEnv) == "" {
		return errors.New("needs " + kubeallEnv + " and " + helmEnv + ": run make e2e, which builds Kubernetes and helm first")
	}
	if os.Getuid() != 0 {
		return errors.New("needs root: it makes namespaces and starts kubelets")
	}
	for _, tool := range []string{"containerd", "ctr", "runc", "nsenter", "prometheus", "prometheus-alertmanager", journald, "mkfs.ext4", "iptables-legacy", pluginDir + "/bridge"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("needs what test/install-deps installs: %w", err)
		}
	}
	return nil
}

// enter builds what the tests need, and runs them in namespaces of their own.
func enter() (int, error) {
	dir, err := os.MkdirTemp("", "nodevitals-e2e")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	arch := goruntime.GOARCH + "="
	for _, args := range [][]string{
		{"build", "-trimpath", "-ldflags", "-s -w -E nodevitals_entry -X main.version=e2e", "-o", dir + "/agent", "./cmd/agent"},
		{"build", "-o", dir + "/pod", "./test/e2e/pod"},
		{"run", "./deploy/image", "-o", dir + "/agent.tar", "-version", "e2e", arch + dir + "/agent"},
		{"run", "./deploy/image", "-o", dir + "/pod.tar", "-version", "pod", arch + dir + "/pod"},
	} {
		if err := build.Go(args...); err != nil {
			return 1, err
		}
	}
	defer removeCgroups()
	return helper.Inside(insideEnv + "=" + dir)
}
