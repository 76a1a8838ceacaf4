package main

// This file measures one function: time, CPU, allocations.

import (
	"cmp"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// cost is what one run of something takes: the median of several, each column
// by itself.
type cost struct {
	first  time.Duration // wall time of the first run, which finds nothing cached
	wall   time.Duration
	cpu    time.Duration // of the calling thread
	all    time.Duration // of the whole process: with other goroutines and the garbage collector
	allocs uint64
	bytes  uint64
}

// measure runs f once to warm up and then n times. The goroutine must be locked
// to its thread. It ends at the first error.
func measure(n int, f func() error) (cost, error) {
	first, err := sample(f)
	if err != nil {
		return cost{}, err
	}
	runs := make([]cost, n)
	for i := range runs {
		if runs[i], err = sample(f); err != nil {
			return cost{}, err
		}
	}
	return cost{
		first:  first.wall,
		wall:   medianOf(runs, func(c cost) time.Duration { return c.wall }),
		cpu:    medianOf(runs, func(c cost) time.Duration { return c.cpu }),
		all:    medianOf(runs, func(c cost) time.Duration { return c.all }),
		allocs: medianOf(runs, func(c cost) uint64 { return c.allocs }),
		bytes:  medianOf(runs, func(c cost) uint64 { return c.bytes }),
	}, nil
}

func sample(f func() error) (cost, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	all, cpu, start := cpuClock(unix.CLOCK_PROCESS_CPUTIME_ID), cpuClock(unix.CLOCK_THREAD_CPUTIME_ID), time.Now()
	err := f()
	c := cost{wall: time.Since(start)}
	c.cpu = cpuClock(unix.CLOCK_THREAD_CPUTIME_ID) - cpu
	c.all = cpuClock(unix.CLOCK_PROCESS_CPUTIME_ID) - all
	runtime.ReadMemStats(&after)
	c.allocs, c.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	return c, err
}

// cpuClock reads a CPU clock (clock_gettime(2)), 0 if there is none.
func cpuClock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// processClock is the id of another process' CPU clock, as
// clock_getcpuclockid(3) makes it: the scheduler's own nanoseconds, where
// /proc/PID/stat has ticks of 10 ms.
func processClock(pid int) int32 {
	const cpuClockSched = 2 // CPUCLOCK_SCHED, include/linux/posix-timers_types.h
	return ^int32(pid)<<3 | cpuClockSched
}

// median is the middle of values, the lower one of two; it panics if there are none.
func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

func medianOf[S any, T cmp.Ordered](samples []S, of func(S) T) T {
	values := make([]T, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	return median(values)
}
