package problem

import "time"

// This file holds the faults of the node's clock.

// Kinds of the condition ClockFault.
const (
	ClockJumped         Kind = "ClockJumped"
	ClockUnsynchronized Kind = "ClockUnsynchronized"
)

func clockKinds() []Definition {
	return []Definition{
		{
			Kind: ClockJumped, Condition: ClockFault,
			Scope: NodeScope, Severity: Critical, Sources: Level | Log,
			Logs:    Count{N: 1, Within: 5 * time.Minute},
			Confirm: true, // systemd and journald tell of the smallest leap as well
			Summary: "The node's clock was set forward or back by seconds or more.",
			Meaning: "Leases, tokens and certificates become invalid or seem not yet valid, timers of kubelet fire early " +
				"or late, and log lines get the wrong time. The node may become NotReady.",
			Evidence: []string{
				"journalctl --since=-1h -g 'Time has been changed|jumped|stepped'",
				"chronyc tracking || timedatectl timesync-status",
				"date -u; cat /proc/uptime",
			},
			LookAlike: "A suspended or migrated VM: the clock that counts suspended time moves along, so that is not a jump. " +
				"Time zone and daylight saving do not touch it. Older systemd logs each time that the clock is " +
				"set, if only by milliseconds.",
			Remedy: "Compare with another node. If the time is wrong now, mend the NTP configuration or the hypervisor's " +
				"time sync (use one of them, not both); if it is right now, restart what still complains, kubelet " +
				"first.",
			Next: "timedatectl; chronyc tracking",
		},
		{
			Kind: ClockUnsynchronized, Condition: ClockFault,
			Scope: NodeScope, Severity: Warning, Sources: Level,
			Warn: Persist{For: 5 * time.Minute}, Crit: Persist{For: 5 * time.Minute},
			Resources: []string{"clock_error"},
			Summary:   "The node's clock is no longer kept in step by NTP.",
			Meaning: "It drifts, by up to some seconds a day: certificates and tokens, etcd's and databases' leases and " +
				"the order of logs across nodes depend on it.",
			Evidence: []string{
				"timedatectl show -p NTPSynchronized",
				"chronyc sources; chronyc tracking",
				"adjtimex --print | grep -E 'status|maxerror'",
			},
			LookAlike: "Virtual machines whose hypervisor sets the clock and never clears the kernel's flag: a clock that " +
				"never was synchronised is not reported.",
			Remedy: "Start the time service (chronyd, systemd-timesyncd), check that its servers answer on UDP port 123, " +
				"and that the firewall lets them through.",
			Next: "timedatectl; chronyc sources",
		},
	}
}
