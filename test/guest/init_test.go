package guest

// This file is PID 1 of a guest.

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// beInit makes the guest a node, as far as is needed, runs the test and switches
// the machine off.
func beInit(m *testing.M) {
	err := makeNode()
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Println("making the guest a node:", err)
	}
	fmt.Println("the guest's tests end with code", code)
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // which QEMU ends at, and needs no driver
	os.Exit(code)
}

func makeNode() error {
	for _, m := range []struct{ fstype, dir, options string }{
		{"devtmpfs", "/dev", ""},
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"tmpfs", "/run", ""},
		{"tmpfs", "/tmp", ""},
		{"tmpfs", "/srv", ""},
		{"cgroup2", "/sys/fs/cgroup", ""},
	} {
		if err := unix.Mount(m.fstype, m.dir, m.fstype, 0, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := say("/dev/ttyS1"); err != nil {
		return err
	}
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+pids +memory +cpu +io"), 0); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return err
	}
	modules, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	for _, file := range modules { // in the order of their names
		if err := load(file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return unix.Sethostname([]byte("guest"))
}

// say makes a serial line the standard output, just as it is.
func say(tty string) error {
	fd, err := unix.Open(tty, unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	mode.Oflag &^= unix.OPOST
	mode.Lflag &^= unix.ECHO | unix.ICANON
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, mode); err != nil {
		return err
	}
	for _, std := range []int{1, 2} {
		if err := unix.Dup3(fd, std, 0); err != nil {
			return err
		}
	}
	return nil
}

func load(module string) error {
	f, err := os.Open(module)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return unix.FinitModule(int(f.Fd()), "", 0)
}
