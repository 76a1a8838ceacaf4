package agent

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime/debug"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/host/self"
)

// This file: what the agent does about the limits that it runs under itself.

// NoRoomError says that the agent cannot have the threads that it needs. Without
// it the Go runtime would die of the first one that it is refused.
type NoRoomError struct {
	room self.Room
	need int
}

func (e *NoRoomError) Error() string {
	return fmt.Sprintf("cannot start: %s; the agent has %d, needs %d, and would be refused the rest (EAGAIN: resource temporarily unavailable)",
		e.room, e.room.Have, e.need)
}

// CheckRoom says whether there is room for the least that any command needs. It
// is what main does first, since almost all else may make a thread. Scarce says
// that nothing should run in parallel.
func CheckRoom() (scarce bool, err error) {
	h, err := host.New("/")
	if err != nil {
		return false, nil //nolint:nilerr // without /proc there is nothing to know, and others will say so
	}
	tree, _ := cgroup.Detect(h)
	return checkRoom(h, tree, onceThreads)
}

// plentyThreads are so many that no single look uses them up, on any machine.
const plentyThreads = 64

func checkRoom(h *host.Host, tree *cgroup.Tree, need int) (scarce bool, err error) {
	room, err := self.Threads(h, tree)
	if err != nil {
		return false, nil //nolint:nilerr // a limit that cannot be told is no reason not to try
	}
	if room.Total() < uint64(need) {
		return true, &NoRoomError{room, need}
	}
	return room.Total() < plentyThreads, nil
}

// roomBeside says why there is no room for more threads beside those that we may
// still have to make ourselves. The daemon has made its own at start.
func (a *Agent) roomBeside(threads int) error {
	reserve := onceThreads
	if a.node.Once {
		reserve = plentyThreads
	}
	room, err := self.Threads(a.node.Host, a.node.Cgroups)
	if err != nil || room.More >= uint64(threads+reserve) {
		return nil //nolint:nilerr // a limit that cannot be told is no reason not to try
	}
	return fmt.Errorf("%s, and it takes %d beside the agent's own", room, threads)
}

// memoryShare is the share of our cgroup's memory limit that Go may use: the rest
// is for what the kernel charges to us beside it, such as pages of the files that
// are read and the sockets.
const memoryShare = 0.9

// limitMemory has the garbage collected more often before our own cgroup's limit
// is reached: to be killed there would be a poor end of a doctor. The user's
// GOMEMLIMIT counts more.
func (a *Agent) limitMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit, of := self.MemoryLimit(a.node.Host, a.node.Cgroups)
	if limit > math.MaxInt64 {
		return
	}
	share := int64(float64(limit) * memoryShare)
	debug.SetMemoryLimit(share)
	log.Info("memory is limited", "cgroup", of, "limit", limit, "ours", share)
}
