package limits

// A FUSE server that stops to answer when it is told so, and tasks that ask it.
// Both are helper processes: whoever waits for a hung FUSE mount cannot be killed,
// and the test itself must not be among them.

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	fuseDir  = "NODEVITALS_TEST_FUSE_DIR"
	fuseFile = "NODEVITALS_TEST_FUSE_FILE" // if not empty, fuseDir is a file
	fuseComm = "NODEVITALS_TEST_FUSE_COMM"
	// fuseMany is how many mounts to make, in folders of fuseDir, which becomes a
	// file system that only the server's mount namespace has.
	fuseMany = "NODEVITALS_TEST_FUSE_MANY"
	// What the mount says of itself.
	fuseType, fuseSource = "fuse.hangs", "nodevitals-test"
)

// fuseServer mounts itself at a folder, or at several in a cell (cell_test.go), or
// as one file of zeros, of which it holds the reads back. Its orders are hang; slow, which goes on answering statfs; held N (until so many
// requests are held back); count (of those); answer; leave (the connections);
// unmount.
func fuseServer() {
	dirs := []string{os.Getenv(fuseDir)}
	if many := os.Getenv(fuseMany); many != "" {
		dirs = makeCell(dirs[0], number(many))
	}
	s, rootMode := &fuse{}, unix.S_IFDIR
	if os.Getenv(fuseFile) != "" {
		s.file, rootMode = true, unix.S_IFREG
	}
	s.change = sync.NewCond(&s.mu)
	for _, dir := range dirs {
		fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EPERM) {
			fmt.Println("skip: /dev/fuse:", err)
			return
		}
		if err != nil {
			fail(err)
		}
		options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,allow_other", fd, rootMode)
		err = unix.Mount(fuseSource, dir, fuseType, unix.MS_NOSUID|unix.MS_NODEV, options)
		if err != nil {
			fmt.Println("skip: mount:", err)
			return
		}
		s.fds = append(s.fds, fd)
		go s.serve(fd)
	}
	if os.Getenv(fuseMany) != "" {
		showConnections(dirs)
	}
	fmt.Println("mounted")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		said := "done"
		s.mu.Lock()
		switch order := in.Text(); order {
		case "hang", "slow":
			s.hang, s.slow = true, order == "slow"
		case "answer":
			s.hang = false
			for _, r := range s.held {
				answer(r)
			}
			s.held = nil
		case "count":
			said = strconv.Itoa(len(s.held))
		case "leave", "unmount":
			for _, dir := range dirs {
				undo := abortFUSE
				if order == "unmount" {
					undo = func(dir string) error { return unix.Unmount(dir, unix.MNT_DETACH) }
				}
				if err := undo(dir); err != nil {
					fail(err)
				}
			}
		default:
			arg, ok := strings.CutPrefix(order, "held ")
			if !ok {
				fail(fmt.Errorf("order %q", order))
			}
			for n := number(arg); len(s.held) < n; {
				s.change.Wait()
			}
		}
		s.mu.Unlock()
		fmt.Println(said)
	}
}

// fuse speaks as much of the protocol as stat and statfs of the root take, and
// reading and writing it where it is a file (include/uapi/linux/fuse.h).
type fuse struct {
	fds        []int
	mu         sync.Mutex
	change     *sync.Cond
	hang, slow bool
	file       bool
	held       []fuseRequest
}

type fuseRequest struct {
	fd     int
	op     uint32
	unique uint64
	file   bool
	size   uint32 // of a read or write
}

// fuseFileSize is the size of the file of zeros.
const fuseFileSize = 16 << 20

const (
	fuseGetattr   = 3
	fuseOpen      = 14
	fuseRead      = 15
	fuseWrite     = 16
	fuseStatfs    = 17
	fuseRelease   = 18
	fuseFsync     = 20
	fuseFlush     = 25
	fuseInit      = 26
	fuseForget    = 2
	fuseInterrupt = 36
)

// serve reads requests until the connection is aborted or unmounted.
func (s *fuse) serve(fd int) {
	buf := make([]byte, 1<<17+4096)
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil || n < 16 {
			return
		}
		r := fuseRequest{fd: fd, op: binary.NativeEndian.Uint32(buf[4:]), unique: binary.NativeEndian.Uint64(buf[8:]), file: s.file}
		if r.op == fuseRead || r.op == fuseWrite { // a header of 40 bytes, the handle, the offset, the size
			r.size = binary.NativeEndian.Uint32(buf[56:])
		}
		s.mu.Lock()
		switch {
		case r.op == fuseForget || r.op == fuseInterrupt: // want no answer
		case s.hang && s.holdsBack(r.op):
			s.held = append(s.held, r)
			s.change.Broadcast()
		default:
			answer(r)
		}
		s.mu.Unlock()
	}
}

func (s *fuse) holdsBack(op uint32) bool {
	if s.file {
		return op == fuseRead
	}
	return !s.slow || op != fuseStatfs
}

func answer(r fuseRequest) {
	order := binary.NativeEndian
	var body []byte
	errno := int32(0)
	switch r.op {
	case fuseInit:
		body = make([]byte, 64)
		order.PutUint32(body, 7)      // major version
		order.PutUint32(body[4:], 31) // minor version
		order.PutUint32(body[20:], 64<<10)
	case fuseGetattr:
		body = make([]byte, 16+88) // valid for 0 s, so that each stat asks again
		order.PutUint64(body[16:], 1)
		order.PutUint32(body[16+60:], unix.S_IFDIR|0o755)
		order.PutUint32(body[16+64:], 2)
		if r.file {
			order.PutUint64(body[16+8:], fuseFileSize)
			order.PutUint32(body[16+60:], unix.S_IFREG|0o644)
		}
	case fuseOpen:
		body = make([]byte, 16)
		order.PutUint32(body[8:], 1) // FOPEN_DIRECT_IO: nothing of it is cached
	case fuseRead:
		body = make([]byte, r.size)
	case fuseWrite:
		body = make([]byte, 8)
		order.PutUint32(body, r.size)
	case fuseRelease, fuseFsync, fuseFlush:
	case fuseStatfs:
		body = make([]byte, 80)
		order.PutUint64(body, 1000)
		order.PutUint32(body[40:], 4096)
		order.PutUint32(body[44:], 255)
	default:
		errno = -int32(unix.ENOSYS)
	}
	head := make([]byte, 16, 16+len(body))
	order.PutUint32(head, uint32(16+len(body)))
	order.PutUint32(head[4:], uint32(errno))
	order.PutUint64(head[8:], r.unique)
	_, _ = unix.Write(r.fd, append(head, body...)) // who asked may be gone
}

// fuseUser asks a folder's file system, at each order: "stat" for the folder's
// attributes, anything else for how full it is.
func fuseUser() {
	if err := os.WriteFile("/proc/self/comm", []byte(os.Getenv(fuseComm)), 0o644); err != nil {
		fail(err)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println("asking")
		var err error
		if in.Text() == "stat" {
			err = unix.Stat(os.Getenv(fuseDir), new(unix.Stat_t))
		} else {
			err = unix.Statfs(os.Getenv(fuseDir), new(unix.Statfs_t))
		}
		fmt.Println(strings.TrimSpace(fmt.Sprint("answered ", err)))
	}
}
