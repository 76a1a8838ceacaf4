package agent

import (
	"runtime"
	"sync"
)

// The threads that the daemon may come to need at one time. The Go runtime makes
// a thread whenever one more goroutine sits in a system call, and a program that
// cannot have it dies. So the daemon bounds everything that may sit in one, and
// makes as many threads as that at start.
const (
	// logThreads: the reader of all logs, in a read of a disk that may hang.
	logThreads = 1
	// writerThreads: the writers of the state file and of the agent's own log.
	writerThreads = 2
	// requestThreads: of the requests, one at a time reads files.
	requestThreads = 1
	// kubeThreads: the writer to the API server, in a read of its credentials or of
	// what names are resolved by.
	kubeThreads = 1
	// goThreads run Go code while all those wait: with GOMAXPROCS=1 one, and two to spare.
	goThreads = 3
	// runtimeThreads are the runtime's own: main's first one, sysmon, the template
	// thread, the receiver of signals; and two that it may have made on the way.
	runtimeThreads = 6
)

// onceThreads are enough for a single look in which nothing runs in parallel: seen
// were up to 9, those on a machine with many times more to do than it can.
const onceThreads = 10

// workThreads are those that the daemon uses if each of its probes is stuck.
func workThreads(probes int) int {
	return probes + logThreads + writerThreads + requestThreads + kubeThreads + goThreads
}

// daemonThreads are all that it has then.
func daemonThreads(probes int) int { return workThreads(probes) + runtimeThreads }

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
