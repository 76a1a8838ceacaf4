// Package deaffs mounts FUSE file systems that answer no request: whoever asks one
// waits until it is closed.
package deaffs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// FS is a mounted one.
type FS struct {
	dir    string
	device *os.File
}

// Mount mounts a file system at dir; its type is fuse.deaf. It takes CAP_SYS_ADMIN and
// /dev/fuse.
func Mount(dir string) (*FS, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/fuse: %w", err)
	}
	f := &FS{dir, os.NewFile(uintptr(fd), "/dev/fuse")}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("deaf", dir, "fuse.deaf", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: %w", dir, err), f.device.Close())
	}
	if err := f.open(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// open answers the request that opens the connection (FUSE_INIT, include/uapi/linux/fuse.h).
func (f *FS) open() error {
	buf := make([]byte, 1<<17+4096)
	if _, err := f.device.Read(buf); err != nil {
		return err
	}
	reply := make([]byte, 16+64)
	binary.NativeEndian.PutUint32(reply, uint32(len(reply)))
	copy(reply[8:16], buf[8:16])
	binary.NativeEndian.PutUint32(reply[16:], 7)  // major version
	binary.NativeEndian.PutUint32(reply[20:], 31) // minor version
	binary.NativeEndian.PutUint32(reply[36:], 64<<10)
	_, err := f.device.Write(reply)
	return err
}

// Close unmounts it and lets all go that wait, with an error.
func (f *FS) Close() error {
	return errors.Join(unix.Unmount(f.dir, unix.MNT_DETACH), f.device.Close())
}
