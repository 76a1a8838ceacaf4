package rules

import "github.com/nodevitals/nodevitals/internal/problem"

// Builtin are the rules that ship with nodevitals.
func Builtin() []Rule {
	return []Rule{
		{
			// The kernel prints it once a cgroup, and names the cgroup that
			// forked, not the one whose limit was hit (kernel/cgroup/pids.c).
			Kind:     problem.ForkRefused,
			Literals: []string{"fork rejected by pids controller"},
			Pattern:  `cgroup: fork rejected by pids controller in (?P<cgroup>/\S*)`,
			Message:  "the kernel refused a fork at a cgroup's pids limit",
		},
		{
			// dockerd, kubelet, kube-proxy, containerd and runc (Go), systemd,
			// shells, sshd, and the Go and JVM runtimes. A bare "resource
			// temporarily unavailable" is EAGAIN of a read, and no failure.
			Kind: problem.ForkRefused,
			Literals: []string{
				"esource temporarily unavailable", "failed to create new OS thread", "fork of unprivileged child failed",
				"pthread_create failed", "Cannot fork", "unable to create native thread",
			},
			Pattern: `fork/exec \S+: resource temporarily unavailable` +
				`|(?i:\b(?:fork|clone|vfork)\b[^:]{0,80}: ?(?:retry: )?resource temporarily unavailable)` +
				`|failed to create new OS thread \(have \d+ already; errno=11\)` +
				`|fork of unprivileged child failed` +
				`|Failed to fork: Resource temporarily unavailable` +
				`|fork of \S+ failed: Resource temporarily unavailable` +
				`|pthread_create failed(?:: Resource temporarily unavailable)?` +
				`|error: fork: Cannot fork` +
				`|unable to create native thread`,
			Message: "a program could not fork or make a thread (EAGAIN)",
		},
	}
}
