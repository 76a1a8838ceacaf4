package main

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestDaemonIsWatched(t *testing.T) {
	runtime.LockOSThread() // the daemon dies with the thread that started it
	defer runtime.UnlockOSThread()
	var out bytes.Buffer
	figures, err := benchDaemon(within(t, time.Minute), &out, ownHost(t), options{agent: as(t, fakeAgent), seconds: 1}, "test")
	if err != nil {
		t.Fatal(err)
	}
	if len(figures) != 4 {
		t.Fatalf("%d figures: %v", len(figures), figures)
	}
	for _, f := range figures {
		if f.value <= 0 {
			t.Errorf("%s was not measured: %v", f.what, f)
		}
	}
	resident, anonymous := figures[1].value, figures[2].value
	if anonymous > resident {
		t.Errorf("%v MB anonymous of %v MB resident", anonymous, resident)
	}
	for _, want := range []string{"/metrics answers after", "all has been looked at once after", "processes, threads", "SIGTERM ends it within"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not told in\n%s", want, out.String())
		}
	}
}

func TestDaemonThatDiesSaysWhy(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, err := benchDaemon(within(t, time.Minute), io.Discard, ownHost(t), options{agent: as(t, dyingAgent), seconds: 1}, "test")
	if err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), "no room for me here") {
		t.Errorf("error %v, want its exit code and its words", err)
	}
}
