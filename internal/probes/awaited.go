package probes

// This file: for which block device a blocked task waits.

import (
	"os"
	"path"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// AwaitedDevices are the block devices that a task in D has to do with: those below
// the file that its system call is about, or, if it is the kernel's own, those that it
// is made for. dir is the task's folder below /proc. None where that cannot be told,
// as of a call that names its file by a path. Nothing is asked of any file system.
func AwaitedDevices(h *host.Host, dir string) []problem.Ref {
	raw, err := h.ReadFile(dir + "/stat")
	if err != nil {
		return nil
	}
	t, err := process.ParseStat(raw)
	switch {
	case err != nil || t.State != 'D':
		return nil
	case t.Kthread:
		return servedDevices(h, t.Comm)
	}
	// What has begun to execute a program holds the lock that reading syscall takes; then
	// it may be blocked in here.
	if wchan, err := h.ReadString(dir + "/wchan"); err != nil || wchan == "exit_aio" {
		return nil
	}
	raw, err = h.ReadFile(dir + "/syscall")
	if err != nil {
		return nil
	}
	_, arg, ok := parseSyscall(raw)
	if !ok {
		return nil
	}
	fd, ok := descriptor(arg)
	if !ok {
		return nil
	}
	raw, err = h.ReadFile(dir + "/mountinfo")
	if err != nil {
		return nil
	}
	own, _ := mounts.Parse(dir+"/mountinfo", raw) // of lines that are no mounts the others still count
	m, ok := mountOf(h, dir, fd, byID(own))
	if ok && m.Block() {
		return (&mountView{host: h}).deviceRefs(m)
	}
	// A device itself, which lies on devtmpfs.
	link, err := os.Readlink(h.Path(dir + "/fd/" + fd))
	if err != nil || !strings.HasPrefix(link, "/dev/") {
		return nil
	}
	return namedDevice(h, path.Base(h.RealPath(link)))
}

// servedDevices are those that a thread of the kernel's own works for, by its name:
// "jbd2/sda1-8" (fs/jbd2/journal.c; the number is an inode's), "xfsaild/dm-0"
// (fs/xfs/xfs_trans_ail.c), "kworker/u8:1+flush-253:0" (mm/backing-dev.c).
func servedDevices(h *host.Host, comm string) []problem.Ref {
	if _, number, ok := strings.Cut(comm, "+flush-"); ok {
		return numberedDevice(h, number)
	}
	kind, name, _ := strings.Cut(comm, "/")
	switch kind {
	case "jbd2":
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		return namedDevice(h, name)
	case "xfsaild":
		return namedDevice(h, name)
	}
	return nil
}

func namedDevice(h *host.Host, name string) []problem.Ref {
	number, err := h.ReadString("/sys/class/block/" + name + "/dev")
	if err != nil {
		return nil
	}
	return numberedDevice(h, number)
}
