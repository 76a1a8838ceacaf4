package sick

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/agent"
	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/daemon"
	"github.com/nodevitals/nodevitals/test/helper"
)

// stuckProbe sits in a system call that nothing ends, as one on a hung mount.
type stuckProbe struct {
	probes.Probe
	pipe    int
	entered chan<- struct{}
}

func (s *stuckProbe) Run(context.Context, *probes.Node) (problem.Result, error) {
	s.entered <- struct{}{}
	_, err := unix.Read(s.pipe, make([]byte, 1))
	return problem.Result{}, err
}

// stuck is the agent in this process, all of whose probes are stuck. It says
// "stuck" when they are; at the order "ask" what it answers; "end" ends it.
func stuck() {
	runtime.GOMAXPROCS(1) // as main does
	if err := os.WriteFile(os.Getenv("JOIN")+"/cgroup.procs", []byte("0"), 0); err != nil {
		helper.Fail(err)
	}
	h, err := host.New("/")
	if err != nil {
		helper.Fail(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		helper.Fail(err)
	}
	c := config.Default()
	c.Listen, c.StateFile = "127.0.0.1:0", ""
	entered := make(chan struct{}, len(c.Probes))
	for i := range c.Probes {
		c.Probes[i].Probe = &stuckProbe{c.Probes[i].Probe, pipe[0], entered}
		c.Probes[i].Timeout = 50 * time.Millisecond
	}
	lines := newLines()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- agent.New(h, c, "test").Daemon(ctx, slog.New(slog.NewTextHandler(lines, nil))) }()
	for range c.Probes {
		<-entered
	}
	url := "http://" + regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(lines.first("nodevitals is running"))[1]
	client := &http.Client{Timeout: daemon.Patience}
	ask := func(path string) string {
		resp, err := client.Get(url + path)
		if err != nil {
			return err.Error()
		}
		_ = resp.Body.Close()
		return fmt.Sprint(resp.StatusCode)
	}
	fmt.Println("stuck")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "end" {
			cancel()
			if err := <-ended; err != nil {
				helper.Fail(err)
			}
			fmt.Println("ended")
			continue
		}
		runtime.GC() // which wants threads of its own
		fmt.Println(ask("/metrics"), ask("/healthz"))
	}
}

// lines hands on the lines of a log.
type lines struct{ ch chan string }

func newLines() lines { return lines{make(chan string, 1000)} }

func (l lines) Write(b []byte) (int, error) {
	select {
	case l.ch <- string(b):
	default:
	}
	return len(b), nil
}

func (l lines) first(part string) string {
	for line := range l.ch {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}
