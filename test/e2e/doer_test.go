package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nodevitals/nodevitals/test/flows"
	"github.com/nodevitals/nodevitals/test/silentfuse"
)

// This file is what runs on a node and makes it sick: this binary once more, with
// what it is to do in its environment. It says "done" when that is done, and ends
// with its standard input.

// do starts one on a node and waits until it is done. undo ends it.
func (w *world) do(node, what string) (undo func()) {
	w.t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	w.must(err)
	cmd := w.enter(w.t.Context(), node, exe)
	cmd.Env = append(os.Environ(), doEnv+"="+what)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	w.must(err)
	out, err := cmd.StdoutPipe()
	w.must(err)
	w.run(cmd)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "done\n" {
		w.t.Fatalf("%s on %s: %q %v", what, node, line, err)
	}
	return func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
}

// doer does what do asks for.
func doer(what string) error {
	verb, arg, _ := strings.Cut(what, " ")
	switch verb {
	case "hang":
		return hang(arg)
	case "flood":
		return flood()
	}
	return fmt.Errorf("what is %q?", what)
}

// flood fills the connection tracking table of the node, and has it refuse more. The
// nodes own connections, and those of its probes, are left out of it, or it could tell nobody.
func flood() error {
	for _, chain := range [][]string{{"OUTPUT", "!", "-o", "lo"}, {"PREROUTING", "!", "-i", "lo"}, {"OUTPUT", "-p", "tcp"}, {"PREROUTING", "-p", "tcp"}} {
		if _, err := output(exec.Command("iptables-legacy", append(append([]string{"-w", "-t", "raw", "-A"}, chain...), "-j", "NOTRACK")...)); err != nil {
			return err
		}
	}
	raw, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		return err
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return err
	}
	c, err := flows.Dial()
	if err != nil {
		return err
	}
	if err := c.Arm(); err != nil {
		return err
	}
	if err := c.Add(limit + 100); err != nil {
		return err
	}
	// What asks for connections all the time is what makes a full table a fault.
	var last uint32
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	end := make(chan struct{})
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		close(end)
	}()
	for told := false; ; told = true {
		refused, err := flows.Send(&last, 5)
		if err != nil {
			return err
		}
		if !told {
			if refused == 0 {
				return fmt.Errorf("the table has room, though it holds %d entries", limit)
			}
			fmt.Println("done")
		}
		select {
		case <-again.C:
		case <-end:
			return c.Flush()
		}
	}
}

// hang mounts a file system that answers nobody, and has somebody wait for it.
func hang(dir string) error {
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0) // which closes the connection: whoever waits gets an error
	}()
	var failed error
	err := silentfuse.Serve(dir, func() {
		waiting := exec.Command("ls", dir)
		waiting.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		failed = waiting.Start()
	}, func() { fmt.Println("done") })
	return errors.Join(failed, err)
}
