package guest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/helper"
)

const userDisk = "NODEVITALS_TEST_DISK"

// writer writes to a disk at each order and waits until it is there, uninterruptibly.
func writer() {
	f, err := os.OpenFile(os.Getenv(userDisk), os.O_RDWR, 0)
	if err != nil {
		helper.Fail(err)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println("asking")
		_, err := f.WriteAt(make([]byte, 4096), 0)
		if err == nil {
			err = f.Sync()
		}
		fmt.Println("answered", err)
	}
}

// A disk of device mapper is suspended, as by an lvm that never came to its end,
// and somebody writes to it until the kernel finds that task hung; then it goes on.
// That the task hangs still, and then does not, the daemon sees by itself: no line
// of the kernel's says it, and the quiet time is longer than the guest's.
func TestSuspendedDisk(t *testing.T) {
	if !inside(t, "brd", "dm-mod") {
		return
	}
	if err := os.WriteFile("/proc/sys/kernel/hung_task_timeout_secs", []byte("10"), 0); err != nil {
		t.Fatal(err)
	}
	const sectors = 8192
	for _, disk := range [][2]string{{"test", "/dev/ram0 0"}, {"other", "/dev/ram1 0"}} {
		mapper(t, disk[0], dmCreate, 0, nil)
		mapper(t, disk[0], dmLoad, 0, linear(sectors, disk[1]))
		mapper(t, disk[0], dmSuspend, 0, nil) // without the flag: resumed
	}
	w := helper.Start(t, "writer", nil, userDisk+"=/dev/dm-0")
	resume := func() { mapper(t, "test", dmSuspend, 0, nil) }
	t.Cleanup(resume) // else who waits for the disk could not end
	write := func() {
		t.Helper()
		if said := w.Say("write"); said != "asking" {
			t.Fatal(said)
		}
	}
	written := func() {
		t.Helper()
		if said := w.Line(); said != "answered <nil>" {
			t.Fatal(said)
		}
	}
	write()
	written()
	for _, kind := range []problem.Kind{problem.DiskHung, problem.TaskHung} {
		if p := find(once(t), kind); p != nil {
			t.Errorf("while it answers: %+v", p)
		}
	}

	d := startDaemon(t)
	mapper(t, "test", dmSuspend, dmSuspendFlag, nil)
	mapper(t, "other", dmSuspend, dmSuspendFlag, nil) // for which nobody waits
	write()
	t.Log(kernelSays(t, " blocked for more than "))
	s := once(t)
	disk, task := findAt(s, problem.DiskHung, "dm-0"), find(s, problem.TaskHung)
	if disk == nil || !disk.Refused || !strings.Contains(disk.Message, "suspended") {
		t.Fatalf("%+v", disk)
	}
	if task == nil || !strings.Contains(task.Message, "has been blocked for more than 10 s") {
		t.Fatalf("%+v", task)
	}
	if other := findAt(s, problem.DiskHung, "dm-1"); other == nil || !waitsForDM0(task) {
		t.Errorf("it waits for dm-0, and not for dm-1: %+v, %+v", task, other)
	}

	await(t, d, "the task is seen to hang", func(s problem.Snapshot) bool {
		p := find(s, problem.TaskHung)
		return p != nil && p.Lines > 0 && len(p.Holders) > 0 && waitsForDM0(p) && strings.Contains(p.Message, "a task has been blocked for more than 10s")
	})

	resume()
	mapper(t, "other", dmSuspend, 0, nil)
	written()
	if p := find(once(t), problem.DiskHung); p != nil {
		t.Errorf("after it went on: %+v", p)
	}
	await(t, d, "the task is seen to go on", func(s problem.Snapshot) bool { return find(s, problem.TaskHung) == nil })
	if err := d.End(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

func findAt(s problem.Snapshot, kind problem.Kind, subject string) *problem.Problem {
	s.Problems = slices.DeleteFunc(slices.Clone(s.Problems), func(p problem.Problem) bool { return p.Subject != subject })
	return find(s, kind)
}

func waitsForDM0(task *problem.Problem) bool {
	return len(task.Causes) == 1 && task.Causes[0].Kind == problem.DiskHung && task.Causes[0].Subject == "dm-0"
}

// kernelSays waits for a line in the kernel's log.
func kernelSays(t *testing.T, part string) string {
	t.Helper()
	f, err := os.Open("/dev/kmsg")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	record := make([]byte, 8192)
	for { // until the guest's time is over
		n, err := f.Read(record)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(record[:n], []byte(part)) {
			return string(record[:n])
		}
	}
}

// The orders that device mapper takes, and a flag of one (uapi/linux/dm-ioctl.h).
const (
	dmCreate      = 0xc138fd03
	dmSuspend     = 0xc138fd06 // also resumes
	dmLoad        = 0xc138fd09
	dmSuspendFlag = 1 << 1
)

// dmHead is struct dm_ioctl.
type dmHead struct {
	Version               [3]uint32
	DataSize, DataStart   uint32
	Targets, Open         uint32
	Flags, Event, Padding uint32
	Device                uint64
	Name                  [128]byte
	UUID                  [129]byte
	Data                  [7]byte
}

// mapper gives device mapper an order about a device, by its name.
func mapper(t *testing.T, name string, order uintptr, flags uint32, targets []byte) {
	t.Helper()
	head := dmHead{Version: [3]uint32{4, 0, 0}, Flags: flags}
	head.DataStart = uint32(binary.Size(head))
	head.DataSize = head.DataStart + uint32(len(targets))
	copy(head.Name[:], name)
	if len(targets) > 0 {
		head.Targets = 1
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, head); err != nil {
		t.Fatal(err)
	}
	b.Write(targets)
	control, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = control.Close() }()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, control.Fd(), order, uintptr(unsafe.Pointer(&b.Bytes()[0]))); errno != 0 {
		t.Fatalf("device mapper, order %#x: %v", order, errno)
	}
}

// linear is a table of one target: so many sectors of another disk (struct
// dm_target_spec, and the target's own words after it).
func linear(sectors uint64, of string) []byte {
	b := make([]byte, 40, 64)
	binary.NativeEndian.PutUint64(b[8:], sectors)
	copy(b[24:], "linear")
	b = append(b, of...)
	return append(b, make([]byte, 8-len(b)%8)...)
}
