package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

// An exit code by which --once tells how the node is is no failure.
func TestOnceIsMeasured(t *testing.T) {
	var out bytes.Buffer
	figures, err := benchOnce(within(t, time.Minute), &out, options{agent: as(t, muteAgent), runs: 2}, "test")
	if err != nil {
		t.Fatal(err)
	}
	if len(figures) != 1 || figures[0].value <= 0 || figures[0].budget != 500 {
		t.Errorf("figures %v", figures)
	}
	for _, want := range []string{muteAgent + " --once\n", " true\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestOnceThatFailsSaysWhy(t *testing.T) {
	_, err := benchOnce(within(t, time.Minute), io.Discard, options{agent: as(t, failedAgent), runs: 2}, "test")
	if err == nil || !strings.Contains(err.Error(), "no such flag") || !strings.Contains(err.Error(), "64") {
		t.Errorf("error %v, want its exit code and its words", err)
	}
}
