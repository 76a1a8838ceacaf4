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
			// chronyd, ntpd.
			Kind: problem.ClockJumped, Name: "ntp", Sources: Systemd,
			Pattern: `System clock was stepped by (?P<seconds>[-+]?\d+)|System clock wrong by|\btime reset [-+]\d+|\bstep time server`,
			Exclude: `by [-+]?[0-4]\.\d+ s|reset [-+][0-4]\.\d+ s|offset [-+]?[0-4]\.\d+ s`,
			Touches: []string{"node"},
			Message: "the system's clock was set[ by {seconds} s]",
		},
	}
}
