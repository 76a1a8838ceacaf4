package journal

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Kmsg reads the kernel's log from /dev/kmsg (Documentation/ABI/testing/dev-kmsg):
// one record a read, never waiting for one.
type Kmsg struct {
	fd   int
	next uint64 // the sequence number that is expected; 0 before the first record
	buf  []byte
	// Lost counts the records that the kernel overwrote before they were read.
	Lost uint64
}

// kmsgRecord is the longest record that the kernel hands out (PRINTK_MESSAGE_MAX),
// and room for its prefix.
const kmsgRecord = 8 << 10

// OpenKmsg opens the device at path. Records before after are skipped (by their
// sequence number; 0 reads all that the kernel still has).
func OpenKmsg(path string, after uint64) (*Kmsg, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	k := &Kmsg{fd: fd, buf: make([]byte, kmsgRecord)}
	if after > 0 {
		k.next = after + 1
	}
	return k, nil
}

// Last is the sequence number of the newest record that was read.
func (k *Kmsg) Last() uint64 {
	if k.next == 0 {
		return 0
	}
	return k.next - 1
}

// Poll hands each new record to visit.
func (k *Kmsg) Poll(visit func(*Record)) error {
	for {
		n, err := unix.Read(k.fd, k.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EPIPE):
			// Overwritten meanwhile; the next read goes on at the oldest one left,
			// whose sequence number tells how many are gone.
			continue
		case err != nil:
			return fmt.Errorf("/dev/kmsg: %w", err)
		case n == 0:
			return nil
		}
		seq, r, ok := parseKmsg(k.buf[:n])
		if !ok {
			continue
		}
		if seq < k.next {
			continue
		}
		if k.next > 0 {
			k.Lost += seq - k.next
		}
		visit(&r)
		k.next = seq + 1 // not before: the record may be the first that a cursor does not cover
	}
}

// Close closes the device.
func (k *Kmsg) Close() { _ = unix.Close(k.fd) }

// parseKmsg parses "priority,sequence,microseconds,flags[,…];message\n KEY=value…".
// Only records of facility 0 are the kernel's own; others were written by
// programs into its log.
func parseKmsg(b []byte) (seq uint64, r Record, ok bool) {
	head, text, found := bytes.Cut(b, []byte(";"))
	if !found {
		return 0, r, false
	}
	f := bytes.SplitN(head, []byte(","), 4)
	if len(f) < 4 {
		return 0, r, false
	}
	priority, err1 := strconv.ParseUint(string(f[0]), 10, 16)
	seq, err2 := strconv.ParseUint(string(f[1]), 10, 64)
	usec, err3 := strconv.ParseUint(string(f[2]), 10, 53)
	if err1 != nil || err2 != nil || err3 != nil {
		return 0, r, false
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	const facility = 3 // bits below it are the level (syslog(3))
	return seq, Record{
		Source: "kmsg", Kernel: priority>>facility == 0, Boot: time.Duration(usec) * time.Microsecond, Message: text,
	}, true
}
