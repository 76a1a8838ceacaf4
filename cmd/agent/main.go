// Command agent is nodevitals: it examines the node that it runs on.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"github.com/nodevitals/nodevitals/internal/agent"
	"github.com/nodevitals/nodevitals/internal/mounthelper"
)

// version is stamped by the build (-ldflags -X main.version=…).
var version = "dev"

func main() {
	mounthelper.ServeIfAsked(agent.UnmapText) // we may have been started by ourselves
	// First of all, since nearly everything makes a thread, and a Go program that
	// is refused one dies with a stack trace.
	scarce, err := agent.CheckRoom()
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(exitNoRoom())
	}
	if scarce {
		runtime.GOMAXPROCS(1)
	}
	if os.Getenv("GOMAXPROCS") == oneProcessor {
		_ = os.Unsetenv("GOMAXPROCS") // it is not the user's
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err = newRoot().ExecuteContext(ctx)
	var code exitCode
	var noRoom *agent.NoRoomError
	switch {
	case errors.As(err, &code):
		os.Exit(int(code))
	case errors.As(err, &noRoom):
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(exitNoRoom())
	case err != nil:
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(exitFailed)
	}
}

// exitCode ends the program with a code and no further words.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exitFailed is the code of all that fails, mostly by a mistake in the command line or
// the configuration: none of those by which `agent --once` tells how the node is (0 to 3).
const exitFailed = 64

// exitNoRoom is the code if the agent cannot have the threads that it needs: 1,
// and 3 with --once, where 1 would tell of a warning and 3 is "cannot tell".
func exitNoRoom() int {
	if slices.Contains(os.Args, "--once") {
		return 3
	}
	return 1
}
