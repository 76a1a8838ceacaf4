package main

// This file makes the test binary stand in for what the bench starts: itself as
// the child that strace watches, and an agent, named by the link it is run by.

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

const (
	fakeAgent   = "fake-agent"   // serves, and is ready at the third time of asking
	dyingAgent  = "dying-agent"  // says why it cannot go on
	muteAgent   = "mute-agent"   // --once: exits 3, as on a node that cannot be told
	failedAgent = "failed-agent" // --once: a mistake in the command line
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		exit(child(context.Background(), os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == logChildCommand {
		exit(logChild(os.Stdout, os.Args[2:]))
	}
	switch filepath.Base(os.Args[0]) {
	case fakeAgent:
		serve(os.Args[2])
	case dyingAgent:
		fmt.Fprintln(os.Stderr, "no room for me here")
		os.Exit(1)
	case muteAgent:
		os.Exit(3)
	case failedAgent:
		fmt.Fprintln(os.Stderr, "no such flag")
		os.Exit(64)
	default:
		os.Exit(m.Run())
	}
}

func serve(address string) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	var asked atomic.Int32
	http.HandleFunc("/metrics", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	go func() {
		fmt.Fprintln(os.Stderr, http.ListenAndServe(address, nil))
		os.Exit(1)
	}()
	<-ctx.Done()
}

// as links the test binary to a name that TestMain knows.
func as(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	return link
}

func ownHost(t *testing.T) *host.Host {
	t.Helper()
	h, err := host.New("/")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// within is a context that ends a test which would hang.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
