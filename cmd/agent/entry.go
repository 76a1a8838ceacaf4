package main

// This file: what the program does before the Go runtime starts. The runtime makes
// threads before any Go code runs, more of them the more processors there are; if it
// is refused one it dies with a stack that says nothing to a user. So the program
// that is shipped does not begin there, but at nodevitals_entry (entry_GOARCH.s; -E
// tells the linker so). That ends with a clear word if there is no room for what
// the runtime needs on one processor, and else has it begin on one.

// oneProcessor is what nodevitals_entry sets GOMAXPROCS to, unless it is set. No user
// writes it like this.
const oneProcessor = "01"

// What nodevitals_entry reads.
var (
	//nolint:unused // read by entry_GOARCH.s
	startVariable = "GOMAXPROCS=" + oneProcessor + "\x00"
	// noRoom does not tell whose limit it is, since that takes reading files: CheckRoom
	// does, with as many threads as are tried here.
	//nolint:unused // read by entry_GOARCH.s
	noRoom = "agent: cannot start: a limit on threads is used up, there is no room for 5 (EAGAIN: resource temporarily unavailable)." +
		" It may be pids.max of the agent's cgroup, which the pod or the unit sets, or of one above; the user's own, ulimit -u;" +
		" or the node's, kernel.threads-max and kernel.pid_max. End what uses it up, or raise it.\n"
)
