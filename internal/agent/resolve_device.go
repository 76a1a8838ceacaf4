package agent

import (
	"fmt"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: from a device, as the kernel's lines name it, to its mount point.

const (
	// mountsFor is how long a mount table is good for naming what a line is about: a
	// storm of lines must not read it a thousand times.
	mountsFor = 10 * time.Second
	// newMountsFor is the same for a line about a mount that has just been made.
	newMountsFor = 100 * time.Millisecond
)

// ofDevice ties a device to where it is mounted.
func (r *resolver) ofDevice(c problem.Claim, device string) problem.Claim {
	now, goodFor := r.node.Host.Clock.Boot(), mountsFor
	if c.Resolves {
		goodFor = newMountsFor
	}
	if r.read == 0 || now-r.read > goodFor {
		// Of a table with a bad line the rest still helps; without any, claims keep
		// their device.
		r.table, _ = mounts.Read(r.node.Host)
		r.read = now
	}
	m, ok := r.mountOf(device)
	if !ok {
		return c
	}
	if c.Kind == problem.ReadonlyFilesystem && (c.Subject == "" || c.Subject == device) {
		c.Subject = m.Point // as the probe calls it
		c.LogOnly = !r.showsReadonly(m.FSType)
	}
	return touch(c, problem.NewRef(problem.RefMount, m.Point))
}

// mountOf finds the first mount of a device by its number, since the table may
// call it otherwise (/dev/mapper/vg-root for dm-0), else by its name: btrfs has
// numbers of its own.
func (r *resolver) mountOf(device string) (mounts.Mount, bool) {
	number, _ := r.node.Host.ReadString("/sys/class/block/" + device + "/dev")
	for _, m := range r.table.Mounts {
		if number != "" && fmt.Sprintf("%d:%d", m.Major, m.Minor) == number || m.Source == "/dev/"+device {
			return m, true
		}
	}
	return mounts.Mount{}, false
}

// showsReadonly reports whether the mount table shows that the kernel has made a
// file system read-only. It never does for XFS that has shut down. ext4 once set
// "ro", does not any more since Linux 6.12 and the stable kernels of that autumn
// ("ext4: don't set SB_RDONLY after filesystem errors"), and shows emergency_ro
// and shutdown from 6.15 on. Where it does show it before, the probe sees it come,
// and is then believed when it sees it go.
func (r *resolver) showsReadonly(fsType string) bool {
	switch fsType {
	case "xfs":
		return false
	case "ext2", "ext3", "ext4":
		if r.kernel == "" {
			r.kernel, _ = r.node.Host.ReadString("/proc/sys/kernel/osrelease")
		}
		return sinceKernel(r.kernel, 6, 15)
	}
	return true
}

// sinceKernel reports whether a release ("6.1.0-13-amd64") is of that version or later.
func sinceKernel(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(strings.TrimSpace(release), "%d.%d", &a, &b); n < 2 {
		return false
	}
	return a > major || a == major && b >= minor
}
