// Package silentfuse is a FUSE file system that takes requests and answers none. Nothing
// outside tests imports it.
package silentfuse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// opInit is the kernel's first request, to which struct fuse_init_out is the answer
// (include/uapi/linux/fuse.h).
const opInit = 26

// Serve mounts one at a folder and serves it until the mount is gone. It calls mounted
// when somebody may come, and asked when the first one waits, who does so until this
// process ends.
func Serve(dir string, mounted, asked func()) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("nodevitals-test", dir, "fuse.silent", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return err
	}
	buf := make([]byte, 1<<17)
	for waits := false; ; {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n < 40:
		case binary.NativeEndian.Uint32(buf[4:]) == opInit:
			out := make([]byte, 16+64)
			binary.NativeEndian.PutUint32(out, uint32(len(out)))
			copy(out[8:16], buf[8:16])
			binary.NativeEndian.PutUint32(out[16:], 7)
			binary.NativeEndian.PutUint32(out[20:], 31)
			binary.NativeEndian.PutUint32(out[36:], 1<<16)
			if _, err := unix.Write(fd, out); err != nil {
				return err
			}
			mounted()
		case !waits:
			waits = true
			asked()
		}
	}
}
