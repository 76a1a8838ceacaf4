package mounts

// This file says what kind of file system a mount is.

import "strings"

// SuperOption is the value of the file system's option (option=…), empty for one that
// stands alone; ok tells whether it has the option.
func (m Mount) SuperOption(option string) (value string, ok bool) {
	for o := range strings.SplitSeq(m.SuperOptions, ",") {
		if name, value, _ := strings.Cut(o, "="); name == option {
			return value, true
		}
	}
	return "", false
}

// HasSuperOption tells whether the file system has the option, with a value or without.
func (m Mount) HasSuperOption(option string) bool {
	_, ok := m.SuperOption(option)
	return ok
}

// Readonly tells whether the file system itself takes no more writes: ro, or what
// newer kernels show instead after an error (ext4's emergency_ro) or a forced
// shutdown (shutdown). A mount point that is read-only by choice is not meant.
func (m Mount) Readonly() bool {
	return m.HasSuperOption("ro") || m.HasSuperOption("emergency_ro") || m.HasSuperOption("shutdown")
}

// Network tells whether the data is on another machine that the kernel's own client
// asks for it.
func (m Mount) Network() bool {
	switch m.FSType {
	case "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "afs", "coda",
		"glusterfs", "lustre", "beegfs", "gpfs", "orangefs", "pvfs2":
		return true
	}
	return false
}

// FUSE tells whether a process on this node serves the file system.
func (m Mount) FUSE() bool {
	return m.FSType == "fuse" || m.FSType == "fuseblk" || strings.HasPrefix(m.FSType, "fuse.")
}

// MayHang tells whether a system call on the mount may wait for ever: on a server,
// on a process, on the hypervisor (virtiofs) or on the mount that it would trigger
// (autofs). Such a mount is left to those who know how to ask it. See also
// Table.MayHang.
func (m Mount) MayHang() bool {
	return m.Network() || m.FUSE() || m.FSType == "autofs" || m.FSType == "virtiofs"
}

// MayHang is the IDs of the mounts whose path may hang a system call: because of the
// mount itself, or of one that the way to it leads through.
func (t Table) MayHang() map[int]bool {
	hang := t.WayMayHang()
	for _, m := range t.Mounts {
		if m.MayHang() {
			hang[m.ID] = true
		}
	}
	return hang
}

// WayMayHang is the IDs of the mounts to which the way leads through a mount that may
// hang. A mount on the very same point is stepped over unasked, as is an autofs that
// has mounted already.
func (t Table) WayMayHang() map[int]bool {
	byID := make(map[int]Mount, len(t.Mounts))
	for _, m := range t.Mounts {
		byID[m.ID] = m
	}
	hang := map[int]bool{}
	for _, m := range t.Mounts {
		if wayMayHang(byID, m) {
			hang[m.ID] = true
		}
	}
	return hang
}

func wayMayHang(byID map[int]Mount, m Mount) bool {
	for range maxDepth {
		parent, ok := byID[m.Parent]
		if !ok || parent.ID == m.ID {
			return false
		}
		if parent.MayHang() && parent.Point != m.Point && parent.FSType != "autofs" {
			return true
		}
		m = parent
	}
	return true
}

// maxDepth is how many mounts deep a way may be. Nobody nests a hundred; a table
// whose parents form a circle is broken, and its mounts are better left alone.
const maxDepth = 100

// Pseudo tells whether the file system is a view of the kernel, with no room that
// could be used up. (tmpfs has room: memory.)
func (m Mount) Pseudo() bool {
	switch m.FSType {
	case "proc", "sysfs", "cgroup", "cgroup2", "cpuset", "devpts", "devtmpfs", "securityfs", "debugfs", "tracefs",
		"configfs", "pstore", "efivarfs", "bpf", "fusectl", "hugetlbfs", "mqueue", "binfmt_misc", "autofs",
		"rpc_pipefs", "nsfs", "nfsd", "selinuxfs", "smackfs", "resctrl", "ramfs", "rootfs", "pipefs", "sockfs", "bdev":
		return true
	}
	return false
}

// Block tells whether the file system is on a block device. Those of several
// devices (btrfs) have a device number of their own with major 0, but name one
// device as their source.
func (m Mount) Block() bool {
	return m.Major != 0 || strings.HasPrefix(m.Source, "/dev/") && !m.Pseudo() && m.FSType != "tmpfs" && !m.Network()
}
