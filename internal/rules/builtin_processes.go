package rules

import "github.com/nodevitals/nodevitals/internal/problem"

// processRules recognise processes and threads that could not be made.
func processRules() []Rule {
	return []Rule{
		{
			// The kernel prints it once a cgroup, and names the cgroup that
			// forked, not the one whose limit was hit (kernel/cgroup/pids.c).
			Kind: problem.ForkRefused, Name: "cgroup", Sources: Kernel,
			Pattern: `cgroup: fork rejected by pids controller in (?P<cgroup>/\S*)`,
			Message: "the kernel refused a fork at a cgroup's pids limit",
		},
		{
			// dockerd, kubelet, kube-proxy, containerd and runc (Go), systemd,
			// shells, sshd, and the Go and JVM runtimes.
			Kind: problem.ForkRefused, Name: "program",
			Sources: Host, Pattern: noFork,
			Message: "[{identifier}: ]a program could not fork or make a thread (EAGAIN)",
		},
		{
			// What a container prints is about its own pod.
			Kind: problem.ForkRefused, Name: "pod",
			Sources: Pod | CoreDNS, Pattern: noFork,
			Subject: "{pod}", Scope: problem.PodScope,
			Message: "a program[ of {pod}] could not fork or make a thread (EAGAIN)",
		},
	}
}

// noFork is how programs say that they could not fork or make a thread. A bare
// "resource temporarily unavailable" is EAGAIN of a read, and no failure.
const noFork = `fork/exec \S+: [Rr]esource temporarily unavailable` +
	`|\b(?:[Ff]ork|[Cc]lone|vfork|spawn(?:ing)?|pthread_create)\b[^:]*: ?(?:retry: )?[Rr]esource temporarily unavailable` +
	`|(?:[Cc]reate?|[Ss]tart|[Ss]pawn)(?:ing)? [^:]*[Tt]hread[^:]*: [Rr]esource temporarily unavailable` +
	`|[Tt]hread creation failed: [Rr]esource temporarily unavailable` +
	`|spawn (?:\w+ )?thread: Os \{ code: 11,` + // Rust
	`|fork\(\) failed .*\(11: Resource temporarily unavailable\)` +
	`|failed to create new OS thread \(have \d+ already; errno=11\)` +
	`|fork of (?:unprivileged )?child failed` +
	`|pthread_create failed` +
	`|can't start new thread` + // Python
	`|error: fork: Cannot fork|\b(?:[Cc]an't|Cannot) fork\W*$` + // the second is shells'
	`|Cannot create \w*(?: GC)? thread\. Out of system resources` + // the JVM
	`|unable to create (?:new )?native thread`
