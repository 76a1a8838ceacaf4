package rules

import "github.com/nodevitals/nodevitals/internal/problem"

// clockRules recognise jumps of the clock.
func clockRules() []Rule {
	return []Rule{
		{
			// systemd's manager, journald.
			Kind: problem.ClockJumped, Name: "systemd", Sources: Systemd,
			Pattern: `^Time has been changed|^Time jumped backwards`,
			Touches: []string{"node"},
			Message: "the system's clock was set",
		},
		{
			// chronyd, which also tells of leaps that it did not make; ntpd old and new,
			// NTPsec, ntpdate.
			Kind: problem.ClockJumped, Name: "ntp", Sources: Systemd,
			Pattern: `System clock was stepped by (?P<seconds>[-+]?\d+)|System clock wrong by|(?:Forward|Backward) time jump detected` +
				`|\btime reset [-+]\d|\btime set [-+]\d|\bclock_step [-+]\d+|\btime stepped by|\bstep time server`,
			Exclude: `\b(?:by|set|reset|clock_step|offset) [-+]?[0-4]\.\d`,
			Touches: []string{"node"},
			Message: "the system's clock was set[ by {seconds} s]",
		},
	}
}
