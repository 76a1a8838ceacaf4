package guest

// This file boots a guest, on the outside.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/test/build"
)

// kernelEnv names the folder of an unpacked kernel package; test/guest/kernel
// makes it.
const kernelEnv = "GUEST_KERNEL"

// inTime is how long a guest may take. An emulated processor is ten times slower.
const inTime = 15 * time.Minute

// boot runs one test in a guest.
func boot(t *testing.T, modules []string) {
	t.Helper()
	kernel := os.Getenv(kernelEnv)
	switch {
	case kernel == "":
		t.Skipf("SKIPPED: needs a virtual machine: run make guest, or GUEST_KERNEL=$(test/guest/kernel) go test ./test/guest")
	case runtime.GOARCH != "amd64":
		t.Skipf("SKIPPED: the guest is an amd64")
	}
	images, err := filepath.Glob(filepath.Join(kernel, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("no single kernel in %s: %v", kernel, images)
	}
	dir := t.TempDir()
	image, console := filepath.Join(dir, "initramfs"), filepath.Join(dir, "console")
	if err := os.WriteFile(image, initramfs(t, kernel, modules), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), inTime)
	defer cancel()
	cmd := exec.CommandContext(
		ctx, "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
		"-serial", "file:"+console, "-serial", "stdio",
		"-kernel", images[0], "-initrd", image,
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off "+insideEnv+"=yes -- -test.v -test.timeout="+inTime.String()+" -test.run=^"+t.Name()+"$",
	)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	passed := false
	for in := bufio.NewScanner(out); in.Scan(); {
		line := strings.TrimRight(in.Text(), "\r")
		passed = passed || strings.HasPrefix(line, "--- PASS: "+t.Name()+" ")
		t.Log(line)
	}
	if err := cmd.Wait(); err != nil || !passed {
		said, _ := os.ReadFile(console)
		t.Fatalf("it did not pass in the guest: %v\n%s\nthe guest's console ends with\n%s", err, complaints.Bytes(), said[max(0, len(said)-8000):])
	}
}

// initramfs is the guest's root file system.
func initramfs(t *testing.T, kernel string, modules []string) []byte {
	t.Helper()
	init := filepath.Join(t.TempDir(), "init")
	if err := build.Go("test", "-c", "-ldflags", "-s -w", "-o", init, "./test/guest"); err != nil {
		t.Fatal(err)
	}
	var a archive
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "etc", "mnt", "srv", "modules"} {
		a.add(dir, 0o040755, 0, nil)
	}
	// The kernel opens the one, Go's runtime the other, before /dev is mounted.
	a.add("dev/console", 0o020600, 5<<8|1, nil)
	a.add("dev/null", 0o020666, 1<<8|3, nil)
	for name, from := range map[string]string{"init": init, "agent": build.Agent(t)} {
		a.addFile(t, name, 0o100755, from)
	}
	for i, from := range inOrder(t, kernel, modules) {
		a.addFile(t, fmt.Sprintf("modules/%03d-%s", i, filepath.Base(from)), 0o100644, from)
	}
	return a.bytes()
}
