package agent

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: from a device or a path, as lines name it, to its mount point.

const (
	// mountsFor is how long a mount table is good for naming what a line is about: a
	// storm of lines must not read it a thousand times.
	mountsFor = 10 * time.Second
	// newMountsFor is the same for a line about a mount that has just been made.
	newMountsFor = 100 * time.Millisecond
	// maxStack is how many devices on one disk are told.
	maxStack = 16
)

// ofDevice ties a device to where it is mounted.
func (r *resolver) ofDevice(c problem.Claim, device string) problem.Claim {
	goodFor := mountsFor
	if c.Resolves {
		goodFor = newMountsFor
	}
	r.readMounts(goodFor)
	if c.Kind == problem.BlockDeviceError {
		return r.ofDisk(c, device)
	}
	m, ok := r.mountOf(device)
	if !ok {
		return c
	}
	if c.Kind == problem.ReadonlyFilesystem && (c.Subject == "" || c.Subject == device) {
		c.Subject = m.Point // as the probe calls it
		c.LogOnly = !r.showsReadonly(m.FSType)
	}
	c = touch(c, problem.NewRef(problem.RefMount, m.Point))
	c, pods := r.ofPods(c, device)
	if pods { // as the probes have it
		c.Scope = problem.PodScope
	}
	return c
}

// ofDisk ties an error of a device to all that lies on it: the kernel tells of requests
// by the disk (block/blk-mq.c), and of buffers and file systems by the partition or
// mapped device. Those of a partition are its disk's.
func (r *resolver) ofDisk(c problem.Claim, disk string) problem.Claim {
	sys := "/sys/class/block/" + disk
	if _, err := r.node.Host.ReadString(sys + "/partition"); err == nil {
		if link, err := os.Readlink(r.node.Host.Path(sys)); err == nil { // ../../devices/…/block/sda/sda1
			disk = filepath.Base(filepath.Dir(link))
			c.Subject = disk
		}
	}
	mounted, pods := false, true
	for _, device := range r.stack(disk) {
		c = touch(c, problem.NewRef(problem.RefDevice, device))
		if m, ok := r.mountOf(device); ok {
			c = touch(c, problem.NewRef(problem.RefMount, m.Point))
			var volumes bool
			c, volumes = r.ofPods(c, device)
			mounted, pods = true, pods && volumes
		}
	}
	if mounted && pods {
		c.Scope = problem.PodScope
	}
	return c
}

// ofPods ties a claim to the pods that have a mounted device as a volume, and reports
// whether it is nothing but volumes.
func (r *resolver) ofPods(c problem.Claim, device string) (problem.Claim, bool) {
	pods := true
	for m := range r.mountsOf(device) {
		pod, volume := r.volume(m.Point)
		c = touch(c, pod...)
		pods = pods && volume
	}
	return c, pods
}

// stack are a device, its partitions (of an NVMe controller: its namespaces), and
// what is mapped onto each of them.
func (r *resolver) stack(device string) []string {
	if all, ok := r.stacks[device]; ok {
		return all
	}
	all := []string{device}
	for i := 0; i < len(all) && len(all) < maxStack; i++ {
		on, _ := r.node.Host.ReadDirNames("/sys/class/block/" + all[i] + "/holders")
		for _, sys := range []string{"/sys/class/block/", "/sys/class/nvme/"} {
			parts, _ := r.node.Host.ReadDirNames(sys + all[i])
			on = append(on, slices.DeleteFunc(parts, func(p string) bool { return !strings.HasPrefix(p, all[i]) })...)
		}
		slices.Sort(on)
		for _, name := range on {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	r.stacks[device] = all
	return all
}

// volume reports whether kubelet mounted something at a point for pods, and whose it is
// if it is one pod's.
func (r *resolver) volume(point string) (pod []problem.Ref, is bool) {
	if o, ok := r.node.Owners.OfVolume(point); ok {
		return o.Refs(), true
	}
	return nil, strings.Contains(point, "/plugins/kubernetes.io/")
}

// ofPath ties a claim about a path, which its rule gives as a mount, to the file
// system on which that lies.
func (r *resolver) ofPath(c problem.Claim) problem.Claim {
	i := slices.IndexFunc(c.Touches, func(t problem.Ref) bool { return t.Type() == problem.RefMount })
	if i < 0 {
		return c
	}
	path := c.Touches[i].ID()
	c.Touches = slices.Delete(slices.Clone(c.Touches), i, i+1)
	r.readMounts(mountsFor)
	m, ok := r.table.At(path)
	for ok && m.FSType == "overlay" && m.Point != "/" {
		m, ok = r.table.At(filepath.Dir(m.Point)) // its upper folder is where the runtime keeps it
	}
	if !ok {
		return c
	}
	c.Subject = m.Point // as the probe calls it
	if pod, volume := r.volume(m.Point); volume {
		c.Scope = problem.PodScope
		c = touch(c, pod...)
	}
	return touch(c, problem.NewRef(problem.RefMount, m.Point))
}

// readMounts reads the mount table, unless it has been read within goodFor.
func (r *resolver) readMounts(goodFor time.Duration) {
	if now := r.node.Host.Clock.Boot(); r.read == 0 || now-r.read > goodFor {
		// Of a table with a bad line the rest still helps; without any, claims keep
		// what they have.
		r.table, _ = mounts.Read(r.node.Host)
		r.read, r.stacks = now, map[string][]string{}
	}
}

// mountsOf are the mounts of a device by its number, since the table may call it
// otherwise (/dev/mapper/vg-root for dm-0), or by its name: btrfs has numbers of its
// own.
func (r *resolver) mountsOf(device string) iter.Seq[mounts.Mount] {
	number, _ := r.node.Host.ReadString("/sys/class/block/" + device + "/dev")
	return func(yield func(mounts.Mount) bool) {
		for _, m := range r.table.Mounts {
			is := number != "" && fmt.Sprintf("%d:%d", m.Major, m.Minor) == number || m.Source == "/dev/"+device
			if is && !yield(m) {
				return
			}
		}
	}
}

// mountOf is the first of them.
func (r *resolver) mountOf(device string) (mounts.Mount, bool) {
	for m := range r.mountsOf(device) {
		return m, true
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
