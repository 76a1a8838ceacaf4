package agent

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

// TestClockSteps: somebody sets the clock by an hour, forth and back, while a
// problem lasts and others begin. That is told, and nothing else comes of it: no
// other kind, no wrong age, no line that counts for another time than its own.
func TestClockSteps(t *testing.T) {
	for name, by := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := inBubble(t, fixtures.Node(t, "healthy-k6.12"), settings("healthy-k6.12")[len("logs: {files: [], journal: [], kmsg: false}\n"):])
				defer b.end()
				b.pass(time.Minute)
				for _, p := range b.snapshot().Problems {
					b.others = append(b.others, p.Kind)
				}
				b.say("fault in before")
				b.say("one of three") // it was written before, and is read after the step
				begun := b.clock.Boot()
				b.pass(5 * time.Second)
				b.say("one of three")
				b.clock.by.Add(int64(by))
				b.pass(30 * time.Second)
				b.say("fault in after")
				after := b.clock.Boot()
				b.pass(30 * time.Second)
				b.check(problem.ClockJumped, "", 0)
				b.check(madeUp, "before", begun)
				b.check(madeUp, "after", after)
				if _, ok := b.find(madeUpThrice, ""); ok {
					t.Error("two lines count as three")
				}
				b.say("one of three")
				third := b.clock.Boot()
				b.pass(5 * time.Second)
				if _, ok := b.find(madeUpThrice, ""); !ok {
					t.Errorf("three lines within 5 min, over a step, are not told: %+v", third)
				}
				// The quiet time of 10 min is none of the clock on the wall: the step alone
				// ends nothing, and does not keep it for an hour.
				b.pass(9*time.Minute - 40*time.Second)
				b.check(madeUp, "after", after)
				b.pass(2 * time.Minute)
				for _, what := range []string{"before", "after"} {
					if _, ok := b.find(madeUp, what); ok {
						t.Errorf("%q is not over", what)
					}
				}
				b.pass(20 * time.Minute)
				b.onlyMadeUp()
				for _, kind := range []problem.Kind{problem.ClockJumped, madeUpThrice} {
					if _, ok := b.find(kind, ""); ok {
						t.Errorf("half an hour later %s is not over", kind)
					}
				}
			})
		})
	}
}

func (b *bubble) find(kind problem.Kind, subject string) (problem.Problem, bool) {
	b.t.Helper()
	for _, p := range b.snapshot().Problems {
		if p.Kind == kind && p.Subject == subject {
			return p, true
		}
	}
	return problem.Problem{}, false
}

// check: the problem is there, is as old as it is, and there are none but those
// that the test made.
func (b *bubble) check(kind problem.Kind, subject string, begun time.Duration) {
	b.t.Helper()
	p, ok := b.find(kind, subject)
	if !ok {
		b.t.Errorf("no %s %s: %+v", kind, subject, b.snapshot().Problems)
		return
	}
	if begun != 0 {
		age, want := b.clock.Wall().Sub(p.Since), b.clock.Boot()-begun
		if age < want-2*time.Second || age > want+2*time.Second {
			b.t.Errorf("%s %s is said to be %v old, and is %v", kind, subject, age, want)
		}
	}
	b.onlyMadeUp()
}

// onlyMadeUp: there are no problems but those that the test made, and those that
// were there before.
func (b *bubble) onlyMadeUp() {
	b.t.Helper()
	for _, p := range b.snapshot().Problems {
		if !slices.Contains([]problem.Kind{problem.ClockJumped, madeUp, madeUpThrice}, p.Kind) && !slices.Contains(b.others, p.Kind) {
			b.t.Errorf("the step brought about %+v", p)
		}
	}
}
