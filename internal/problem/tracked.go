package problem

import "time"

// Tracked is an active problem as the tracker holds it, on boot time and with
// no cause yet; diagnosis turns it into a Problem.
type Tracked struct {
	Verdict
	// Since is when it began: the first sight of the streak that raised it.
	Since time.Duration
	// Began is when it first began, if it has come and gone and come back; 0 if it was
	// there at the first look, and nobody knows.
	Began time.Duration
	// Period is how often its probe looks: how late its Since may be.
	Period time.Duration
	// Lines counts the log lines since it became active; LastLine is the newest.
	Lines    uint64
	LastLine time.Duration
	// Stale says why it can no longer be confirmed.
	Stale string
}
