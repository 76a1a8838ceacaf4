// Package runtime makes real failures of a real container runtime (containerd with
// runc and the CNI plugins of its Debian packages) and checks that the probe reports
// them with the right kind, subject, numbers and cause; and that it is silent before
// and after.
//
// The tests run in mount, pid and network namespaces of their own, with a /run of
// their own, and nothing that is written below /etc, /opt and /var stays: what they
// start cannot outlive them, and the machine's own runtime is not touched.
package runtime

import (
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"testing"

	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/helper"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideEnv names the folder with what was built for the tests; it is set in the
// process that runs them.
const insideEnv = "NODEVITALS_TEST_RUNTIME"

func TestMain(m *testing.M) {
	var err error
	code := 0
	switch {
	case os.Getenv(insideEnv) != "":
		if err = furnish(); err == nil {
			code = m.Run()
		}
	case missing() != "":
		fmt.Println("SKIPPED:", missing())
	default:
		code, err = enter()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/runtime:", err)
		code = 1
	}
	os.Exit(code)
}

// missing says what the tests cannot be run for.
func missing() string {
	if os.Getuid() != 0 {
		return "needs root: it makes namespaces and starts a container runtime"
	}
	for _, tool := range []string{"containerd", "ctr", "runc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "needs the Debian packages containerd and runc: " + err.Error()
		}
	}
	if _, err := os.Stat(pluginDir + "/host-local"); err != nil {
		return "needs the Debian package containernetworking-plugins: " + err.Error()
	}
	return ""
}

// enter builds what the tests need, and runs them in namespaces of their own.
func enter() (int, error) {
	dir, err := os.MkdirTemp("", "nodevitals-runtime")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, args := range [][]string{
		{"build", "-o", dir + "/pause", "./test/runtime/pause"},
		{"build", "-o", dir + "/agent", "./cmd/agent"},
		{"run", "./deploy/image", "-o", dir + "/image.tar", "-version", "test", goruntime.GOARCH + "=" + dir + "/pause"},
	} {
		if err := build.Go(args...); err != nil {
			return 1, err
		}
	}
	return helper.Inside(insideEnv + "=" + dir)
}

// furnish makes the inside of the namespaces look like a node of its own.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("run", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, dir := range []string{"/etc", "/opt", "/var"} {
		over := "/run/over" + dir
		if err := os.MkdirAll(over+"/upper", 0o755); err != nil {
			return err
		}
		if err := os.MkdirAll(over+"/work", 0o755); err != nil {
			return err
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", dir, over, over)
		if err := unix.Mount("over", dir, "overlay", 0, options); err != nil {
			return fmt.Errorf("overlay over %s: %w", dir, err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}
