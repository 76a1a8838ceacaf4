package agent

import (
	"runtime"
	"sync"
)

// spareThreads are made beyond what probes can occupy: the runtime's own, the
// HTTP server's system calls, the log readers.
const spareThreads = 8

// warmThreads makes n threads now. The Go runtime keeps them, parked, for ever;
// so an agent that is later put under a full pids limit finds every thread that
// it needs, where one that must make a new one dies (runtime: newosproc is fatal).
func warmThreads(n int) {
	var at, done sync.WaitGroup
	at.Add(n)
	release := make(chan struct{})
	for range n {
		done.Go(func() {
			runtime.LockOSThread()
			at.Done()
			<-release
			runtime.UnlockOSThread()
		})
	}
	at.Wait()
	close(release)
	done.Wait()
}
