package sick

// This file: helpers. become becomes the agent, after it put itself within limits
// and namespaces; the others are what makes a node sick.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/test/deaffs"
	"github.com/nodevitals/nodevitals/test/helper"
)

// become carries out the steps of SETUP, one a word, and becomes AGENT:
//
//	join=DIR          go into a cgroup
//	private           make all mounts our own
//	proc=OPTIONS      mount a /proc of our own
//	tmpfs=DIR         mount an empty file system there
//	bind=FROM=DIR     mount a folder at another place
//	readonly=DIR      make a folder read-only
//	mkdir=DIR         make a folder, and those above it
//	put=FILE=TEXT     write a file
//	full=DIR          mount a file system without any room there
//	nofile=N          set the limit on open files
//	user              become nobody, without any capability
func become() {
	runtime.LockOSThread() // some of it is a thread's, until it executes another program
	for step := range strings.FieldsSeq(os.Getenv("SETUP")) {
		verb, arg, _ := strings.Cut(step, "=")
		if err := take(verb, arg); err != nil {
			fmt.Fprintln(os.Stderr, "setup:", step, err)
			os.Exit(70)
		}
	}
	agent := os.Getenv("AGENT")
	args := append([]string{agent}, strings.Fields(os.Getenv("ARGS"))...)
	err := unix.Exec(agent, args, []string{"PATH=/usr/bin"})
	fmt.Fprintln(os.Stderr, "exec:", err)
	os.Exit(70)
}

func take(verb, arg string) error {
	switch verb {
	case "join":
		return os.WriteFile(arg+"/cgroup.procs", []byte("0"), 0)
	case "private":
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	case "proc":
		return unix.Mount("proc", "/proc", "proc", 0, arg)
	case "tmpfs":
		return unix.Mount("tmpfs", arg, "tmpfs", 0, "mode=755")
	case "full":
		if err := unix.Mount("tmpfs", arg, "tmpfs", 0, "size=4k"); err != nil {
			return err
		}
		return os.WriteFile(arg+"/ballast", make([]byte, 4096), 0o644)
	case "readonly":
		if err := unix.Mount(arg, arg, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		return unix.Mount("", arg, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	case "bind":
		from, to, _ := strings.Cut(arg, "=")
		return unix.Mount(from, to, "", unix.MS_BIND, "")
	case "mkdir":
		return os.MkdirAll(arg, 0o755)
	case "put":
		file, text, _ := strings.Cut(arg, "=")
		return os.WriteFile(file, []byte(text), 0o644)
	case "nofile":
		n, err := strconv.ParseUint(arg, 10, 64)
		if err != nil {
			return err
		}
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n})
	case "user":
		if err := unix.Setresgid(65534, 65534, 65534); err != nil {
			return err
		}
		return unix.Setresuid(65534, 65534, 65534)
	}
	return errors.New("no such step")
}

// forker tries to start a process at each order, and says what came of it.
func forker() {
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{})
		if err == nil {
			_, _ = syscall.Wait4(pid, nil, 0, nil)
			fmt.Println("forked")
			continue
		}
		fmt.Println(err)
	}
}

// reader goes into the cgroup JOIN and reads FILE again and again. Its pages fill
// the cgroup, and may all be dropped.
func reader() {
	if err := take("join", os.Getenv("JOIN")); err != nil {
		helper.Fail(err)
	}
	f, err := os.Open(os.Getenv("FILE"))
	if err != nil {
		helper.Fail(err)
	}
	stop := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		close(stop)
	}()
	buf := make([]byte, 1<<20)
	for again := time.NewTicker(100 * time.Millisecond); ; {
		for offset := int64(0); ; {
			n, err := f.ReadAt(buf, offset)
			if offset += int64(n); err != nil {
				break
			}
		}
		fmt.Println("read")
		select {
		case <-again.C:
		case <-stop:
			return
		}
	}
}

// glutton goes into the cgroup JOIN and takes more memory at each order, as many bytes as it says.
func glutton() {
	if err := take("join", os.Getenv("JOIN")); err != nil {
		helper.Fail(err)
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		helper.Fail(err)
	}
	var eaten [][]byte
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		n, err := strconv.Atoi(in.Text())
		if err != nil {
			helper.Fail(err)
		}
		b := make([]byte, n)
		for i := 0; i < n; i += os.Getpagesize() {
			b[i] = 1
		}
		eaten = append(eaten, b)
		fmt.Println(len(eaten))
	}
}

// hangfs mounts a FUSE file system at DIR that answers no request.
func hangfs() {
	fs, err := deaffs.Mount(os.Getenv("DIR"))
	if err != nil {
		fmt.Println("skip:", err)
		return
	}
	defer func() { _ = fs.Close() }()
	fmt.Println("mounted")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// deaf accepts connections at ADDRESS, unix:PATH or tcp:HOST:PORT, and never
// answers.
func deaf() {
	network, address, _ := strings.Cut(os.Getenv("ADDRESS"), ":")
	l, err := net.Listen(network, address)
	if err != nil {
		helper.Fail(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	}()
	fmt.Println(l.Addr())
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	_ = l.Close()
}
