package self

import (
	"math"
	"path"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cgroup"
)

// MemoryLimit is the lowest memory limit of our cgroup and of those above it, in
// bytes, with the cgroup that has it; math.MaxUint64 where none is in sight. t
// may be nil.
func MemoryLimit(h *host.Host, t *cgroup.Tree) (limit uint64, of string) {
	limit = math.MaxUint64
	if t == nil || !t.Has(cgroup.ControllerMemory) {
		return limit, ""
	}
	pid, err := number(h)
	if err != nil {
		return limit, ""
	}
	at, err := t.Of(pid, cgroup.ControllerMemory)
	if err != nil {
		return limit, ""
	}
	for above := ""; at != above; at, above = path.Dir(at), at {
		if m, err := t.Memory(at); err == nil && m.Limited() && m.Max < limit {
			limit, of = m.Max, at
		}
	}
	return limit, of
}
