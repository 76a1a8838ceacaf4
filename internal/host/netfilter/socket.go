package netfilter

// This file: dumps of netfilter's netlink subsystems, handed on message by
// message. The libraries collect a dump before they hand it on, and connection
// tracking may hold a million of entries (include/uapi/linux/netlink.h).

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long the kernel may take for a piece of a dump.
const patience = 5 * time.Second

// headerSize is that of a netlink message, familySize that of what netfilter puts
// before the attributes (struct nfgenmsg).
const headerSize, familySize = unix.SizeofNlMsghdr, 4

// dump asks a subsystem (by its number and that of a message) for all it has of a
// family, and hands each message on, from its header on, until it returns false.
// The bytes are valid until then.
func dump(subsystem, message int, family byte, each func(message []byte) bool) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return err
	}
	request := make([]byte, headerSize+familySize)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], uint16(subsystem<<8|message))
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[headerSize] = family
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 32<<10) // the most that the kernel hands out at once
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("netfilter: %w", err)
		}
		more, err := eachMessage(buf[:n], each)
		if errors.Is(err, unix.EPERM) {
			return ErrPermission
		}
		if err != nil || !more {
			return err
		}
	}
}

// errTruncated says that a message is not whole.
var errTruncated = errors.New("netfilter: a message that ends early")

// eachMessage hands on the messages of one piece of a dump, and reports whether
// there are more pieces.
func eachMessage(b []byte, each func(message []byte) bool) (more bool, err error) {
	for len(b) > 0 {
		if len(b) < headerSize {
			return false, errTruncated
		}
		size := int(binary.NativeEndian.Uint32(b))
		if size < headerSize || size > len(b) {
			return false, errTruncated
		}
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			// Both begin with an error number, negative, or 0.
			if size >= headerSize+4 {
				if errno := -int32(binary.NativeEndian.Uint32(b[headerSize:])); errno != 0 {
					return false, fmt.Errorf("netfilter: %w", unix.Errno(errno))
				}
			}
			return false, nil
		case unix.NLMSG_NOOP:
		default:
			if size < headerSize+familySize {
				return false, errTruncated
			}
			if !each(b[:size]) {
				return false, nil
			}
		}
		b = b[min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
	}
	return true, nil
}
