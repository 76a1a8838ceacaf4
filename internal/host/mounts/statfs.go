package mounts

// This file asks a file system how full it is.

import (
	"errors"
	"io/fs"
	"math"
	"math/bits"

	"golang.org/x/sys/unix"
)

// Usage is how much room a file system has.
type Usage struct {
	Size, Free, Avail  uint64 // bytes; Avail is what others than root may use
	Inodes, InodesFree uint64 // Inodes is 0 where they are not counted (btrfs)
	Type               int64  // the magic number, see statfs(2)
	Readonly           bool   // the mount point or its file system
}

// Statfs asks the file system that holds path. The call can wait for ever: see
// MayHang.
func Statfs(path string) (Usage, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(path, &st)
		if err == nil {
			return usage(&st), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return Usage{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
		}
	}
}

func usage(st *unix.Statfs_t) Usage {
	// Blocks are counted in f_frsize, which only old kernels leave at 0. (f_bsize
	// is the best size of a read, and larger on FUSE and NFS.)
	unit := uint64(max(st.Frsize, 0))
	if unit == 0 {
		unit = uint64(max(st.Bsize, 0))
	}
	return Usage{
		Size: times(st.Blocks, unit), Free: times(st.Bfree, unit), Avail: times(st.Bavail, unit),
		Inodes: st.Files, InodesFree: st.Ffree,
		Type:     st.Type,
		Readonly: st.Flags&unix.ST_RDONLY != 0,
	}
}

// times multiplies; a file system that claims more than 2^64 bytes gets the most.
func times(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi != 0 {
		return math.MaxUint64
	}
	return lo
}
