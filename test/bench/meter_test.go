package main

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		values []int
		want   int
	}{
		{[]int{5}, 5},
		{[]int{9, 1}, 1},
		{[]int{3, 100, 1}, 3},
		{[]int{4, 3, 2, 1}, 2},
	} {
		if got := median(tc.values); got != tc.want {
			t.Errorf("median(%v) = %d, want %d", tc.values, got, tc.want)
		}
	}
}

func TestMeasureWarmsUpAndCountsAllocations(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const objects, size = 1000, 1024
	runs := 0
	kept := make([][]byte, objects)
	c, err := measure(3, func() error {
		runs++
		for i := range kept {
			kept[i] = make([]byte, size)
		}
		return nil
	})
	if err != nil || runs != 4 {
		t.Fatalf("%d runs (%v), want one to warm up and 3", runs, err)
	}
	if c.allocs < objects || c.allocs > 2*objects || c.bytes < objects*size || c.bytes > 2*objects*size {
		t.Errorf("%d allocations of %d bytes in all, want about %d of %d", c.allocs, c.bytes, objects, objects*size)
	}
	if c.first <= 0 || c.wall <= 0 || c.cpu <= 0 || c.all <= 0 {
		t.Errorf("a time is missing: %+v", c)
	}
}

func TestMeasureEndsAtTheFirstError(t *testing.T) {
	want := errors.New("not on this node")
	runs := 0
	_, err := measure(5, func() error {
		runs++
		if runs == 2 {
			return want
		}
		return nil
	})
	if !errors.Is(err, want) || runs != 2 {
		t.Errorf("%d runs, error %v; want 2 and %v", runs, err, want)
	}
}

// The clock of a process by its id is the one that it calls its own.
func TestProcessClock(t *testing.T) {
	before := cpuClock(unix.CLOCK_PROCESS_CPUTIME_ID)
	got := cpuClock(processClock(os.Getpid()))
	after := cpuClock(unix.CLOCK_PROCESS_CPUTIME_ID)
	if before <= 0 || got < before || got > after {
		t.Errorf("%v does not lie between %v and %v", got, before, after)
	}
}
