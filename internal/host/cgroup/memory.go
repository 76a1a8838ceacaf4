package cgroup

// This file: the memory controller (Documentation/admin-guide/cgroup-v2.rst,
// "Memory"; cgroup-v1/memory.rst).

import "fmt"

// Memory is what a cgroup uses of memory, page cache and descendants included,
// and what it may use, in bytes.
type Memory struct {
	Current uint64
	Max     uint64 // NoLimit if it has none of its own
}

// Limited reports whether the cgroup has a limit of its own.
func (m Memory) Limited() bool { return m.Max != NoLimit }

// Fraction is Current/Max: 0 without a limit.
func (m Memory) Fraction() float64 { return fraction(m.Current, m.Max) }

// Memory reads a cgroup's usage and limit. The error is ErrAbsent for the root
// of v2, and where the controller is not enabled.
func (t *Tree) Memory(path string) (m Memory, err error) {
	h, err := t.of(ControllerMemory)
	if err != nil {
		return m, err
	}
	current := "memory.usage_in_bytes"
	if h.v2 {
		current = "memory.current"
	}
	if m.Current, err = t.value(h, path, current); err != nil {
		return m, err
	}
	m.Max, err = t.MemoryMax(path)
	return m, err
}

// MemoryMax reads the limit alone.
func (t *Tree) MemoryMax(path string) (uint64, error) {
	h, err := t.of(ControllerMemory)
	if err != nil {
		return 0, err
	}
	limit := "memory.limit_in_bytes"
	if h.v2 {
		limit = "memory.max"
	}
	return t.value(h, path, limit)
}

// WorkingSet is the usage less the page cache that can be dropped at once
// (inactive_file), in bytes: what kubelet evicts by. memory.stat is long; ask
// only for the few cgroups that matter.
func (t *Tree) WorkingSet(path string) (uint64, error) {
	m, err := t.Memory(path)
	if err != nil {
		return 0, err
	}
	h, key := t.by[ControllerMemory], "total_inactive_file"
	if h.v2 {
		key = "inactive_file"
	}
	var inactive uint64
	found := false
	err = t.flat(h, path, "memory.stat", func(k string, v uint64) {
		if k == key {
			inactive, found = v, true
		}
	})
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, fmt.Errorf("%s: no %s", h.file(path, "memory.stat"), key)
	}
	return m.Current - min(inactive, m.Current), nil
}

// MemoryEvents counts what happened in a cgroup since it was made.
//
// With memory.oom.group, as kubelet sets it, one killed process counts twice in
// OOMKill: count OOM or OOMGroupKill to count invocations.
type MemoryEvents struct {
	Max          uint64 // usage was about to exceed the limit; v1: memory.failcnt
	OOM          uint64 // allocations that were about to fail; not in v1
	OOMKill      uint64 // processes killed in it by any OOM killer
	OOMGroupKill uint64 // times the whole cgroup was killed; not in v1
}

// MemoryEvents reads memory.events, which counts for the cgroup and all below
// it. In v1 the counters are the cgroup's alone, and there since Linux 4.13.
func (t *Tree) MemoryEvents(path string) (MemoryEvents, error) {
	return t.memoryEvents(path, "memory.events")
}

// MemoryEventsLocal reads memory.events.local, which counts what the cgroup's
// own limit did, and the processes that were its own. In v1 it is MemoryEvents.
func (t *Tree) MemoryEventsLocal(path string) (MemoryEvents, error) {
	return t.memoryEvents(path, "memory.events.local")
}

func (t *Tree) memoryEvents(path, name string) (e MemoryEvents, err error) {
	h, err := t.of(ControllerMemory)
	if err != nil {
		return e, err
	}
	if !h.v2 {
		name = "memory.oom_control"
		if e.Max, err = t.value(h, path, "memory.failcnt"); err != nil {
			return e, err
		}
	}
	err = t.flat(h, path, name, func(key string, value uint64) {
		switch key {
		case "max":
			e.Max = value
		case "oom":
			e.OOM = value
		case "oom_kill":
			e.OOMKill = value
		case "oom_group_kill":
			e.OOMGroupKill = value
		}
	})
	return e, err
}
