package mounthelper

// This file is the helper: it makes the calls that may never return.

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

// command is the argument that makes the program the helper; its second argument
// is the folder of notes.
const command = "mount-helper"

// socket is the helper's descriptor of the socket: its standard input, and its
// output as well, so that it keeps no stream of the agent's open.
const socket = 0

// ServeIfAsked makes this process the helper, for good, if it was started as one.
// It is the first thing that main calls, and TestMain where a test needs a helper.
// started is called once the helper has all that it needs.
func ServeIfAsked(started func()) {
	if len(os.Args) == 3 && os.Args[1] == command {
		serve(os.Args[2], started)
		os.Exit(0)
	}
}

// serve reads requests until the agent is gone. It never waits for a call.
func serve(dir string, started func()) {
	// What the runtime names it, "exe", says nothing to whoever looks at ps.
	_ = os.WriteFile("/proc/self/comm", []byte("agent-mounts"), 0)
	debug.SetGCPercent(20)
	jobs := make(chan request)
	var made sync.WaitGroup
	for range MaxStuck {
		made.Add(1)
		go work(dir, jobs, &made)
	}
	made.Wait() // all threads are made: a full pids limit does not matter from here on
	debug.FreeOSMemory()
	started()
	reply(answer{what: ready})
	buf := make([]byte, requestHead+maxPath+1)
	for {
		n, err := unix.Read(socket, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		r, err := parseRequest(buf[:n])
		if err != nil {
			continue
		}
		select {
		case jobs <- r:
		default:
			reply(answer{what: busy, id: r.id})
		}
	}
}

// work makes the calls, one at a time, on a thread of its own.
func work(dir string, jobs <-chan request, made *sync.WaitGroup) {
	runtime.LockOSThread()
	// With a table of descriptors of its own, the lock that a note holds ends with
	// this thread, whatever becomes of the others.
	if err := unix.Unshare(unix.CLONE_FILES); err != nil {
		_ = err // seccomp: then it ends with the last of them, which errs to the safe side
	}
	made.Done()
	for r := range jobs {
		reply(answer{what: taken, id: r.id})
		a := ask(dir, r)
		a.id = r.id
		reply(a)
	}
}

// ask makes one call.
func ask(dir string, r request) answer {
	d := Device{r.major, r.minor}
	note, err := record(dir, d)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return answer{what: asked}
	case err != nil && r.unkillable:
		return answer{what: unkept, errno: number(err)}
	case err == nil:
		defer erase(dir, d, note)
	}
	// Neither of the next two calls asks the file system's server. O_PATH does not
	// make an autofs mount anything, and the device tells whether what is found
	// still is what was meant.
	fd, err := unix.Open(r.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return answer{what: foreign, errno: number(err)}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Statx_t
	err = unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	if err != nil || st.Dev_major != d.Major || st.Dev_minor != d.Minor {
		return answer{what: foreign, errno: number(err)}
	}
	var usage unix.Statfs_t
	for {
		err = unix.Fstatfs(fd, &usage)
		if !errors.Is(err, unix.EINTR) {
			return answer{what: answered, errno: number(err)}
		}
	}
}

func number(err error) uint32 {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return uint32(errno)
	}
	return 0
}

// reply sends an answer. If nobody reads it any more, the next read tells.
func reply(a answer) { _, _ = unix.Write(socket, a.append(make([]byte, 0, answerSize))) }
