package problem

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Catalogue is the list of all that can be wrong. It is a value, handed down;
// users' rules extend a copy.
type Catalogue struct {
	defs    []Definition
	index   map[Kind]int
	healthy []HealthyText
}

// HealthyText is what a condition that was taken over from elsewhere says while
// nothing is wrong.
type HealthyText struct{ Type, Reason, Message string }

// Sources says where evidence of a kind comes from.
type Sources uint8

// Level evidence can be read at any moment and says when the failure is over;
// log evidence only says that it happened.
const (
	Level Sources = 1 << iota
	Log
)

// Definition is one row of the catalogue.
type Definition struct {
	Kind Kind
	// Condition is the NodeCondition type that it belongs to; empty for a kind
	// that is told by Events only.
	Condition string
	Scope     Scope
	// Severity is that of a log claim, and the worst that a probe may give.
	Severity Severity
	Sources  Sources
	// Warn and Crit say how long level evidence of that severity must last
	// before it is raised; the zero value raises at once.
	Warn, Crit Persist
	// Logs says how many lines within which window raise it.
	Logs Count
	// Quiet is how long after the last line a claim without level evidence
	// clears; 0 means 3 windows, at least 5 minutes.
	Quiet time.Duration
	// Confirm: where a probe decides it, lines raise it only once a run after them does
	// not find it fine.
	Confirm bool
	// NeedsBoth: cleared only when the level is fine and the log is quiet.
	NeedsBoth bool
	// Resources name the measurements that tell how far this kind is from being true.
	Resources []string
	// NoMetrics: its problems are not counted in metrics.
	NoMetrics bool
	// Causes are what may bring it about, nearest first.
	Causes []Edge
	// Itself: it mostly stands for itself, as much is simply used; that no cause was
	// found is not worth a word.
	Itself bool

	Summary   string   // what is wrong, in one sentence
	Meaning   string   // what it does to the node and its pods
	Evidence  []string // what to read by hand, as commands
	LookAlike string   // what looks the same and is not
	Remedy    string   // what to do about it
	Next      string   // the next command; {subject} is filled in
}

// Persist is how long something must be seen before it counts: at least Runs
// consecutive runs and at least For.
type Persist struct {
	Runs int
	For  time.Duration
}

// Count says how many lines raise a problem: N within a window of time. The
// lines that several programs, or several layers of one, write about one failed
// call count once; see the tracker.
type Count struct {
	N      int
	Within time.Duration
	// Distinct names a capture of the rule's pattern: not N lines are wanted then,
	// but N different values of it.
	Distinct string `json:",omitempty"`
	// Lasting: the lines must have gone on for so long, with no gap longer than Within.
	Lasting time.Duration `json:",omitempty"`
	// Apart: a line that comes sooner than this after one that counts does not count.
	Apart time.Duration `json:",omitempty"`
}

// Edge says that Kind may cause the definition's kind. It counts only if the
// two are tied by references and the cause began no later than the effect.
type Edge struct {
	Kind Kind
	// Refused: only a cause whose limit has itself said no explains the effect.
	Refused bool
	// Touching narrows the edge to causes that touch one of these.
	Touching []Ref
	// By narrows the tie to references of this type.
	By string
	// Subject narrows the edge to effects about this subject.
	Subject string
	// Error narrows the edge to effects whose call failed with this error.
	Error Errno
}

// Errno is the name of the error that a system call failed with, where it tells
// one cause from another.
type Errno string

// The errors that edges ask for.
const (
	ENOSPC Errno = "ENOSPC" // no space left on device
	ENOMEM Errno = "ENOMEM" // cannot allocate memory
)

// QuietTime is Quiet, or its default.
func (d Definition) QuietTime() time.Duration {
	if d.Quiet > 0 {
		return d.Quiet
	}
	return max(3*d.Logs.Within, 5*time.Minute)
}

// NewCatalogue makes a catalogue of definitions and checks that they are sound:
// no kind twice, every cause is itself a kind, and none brings itself about.
func NewCatalogue(defs ...[]Definition) (*Catalogue, error) {
	c := &Catalogue{index: map[Kind]int{}}
	for _, ds := range defs {
		for _, d := range ds {
			if _, twice := c.index[d.Kind]; twice || d.Kind == "" {
				return nil, fmt.Errorf("catalogue: kind %q is defined twice or has no name", d.Kind)
			}
			c.index[d.Kind] = len(c.defs)
			c.defs = append(c.defs, d)
		}
	}
	for _, d := range c.defs {
		for _, e := range d.Causes {
			if _, ok := c.index[e.Kind]; !ok {
				return nil, fmt.Errorf("catalogue: %s names a cause %q that is no kind", d.Kind, e.Kind)
			}
		}
	}
	for _, d := range c.defs {
		all := map[Kind]bool{}
		if c.causes(d.Kind, all); all[d.Kind] {
			return nil, fmt.Errorf("catalogue: %s is among its own causes", d.Kind)
		}
	}
	return c, nil
}

// causes adds to into what may bring kind about, at whatever remove.
func (c *Catalogue) causes(kind Kind, into map[Kind]bool) {
	for _, e := range c.defs[c.index[kind]].Causes {
		if !into[e.Kind] {
			into[e.Kind] = true
			c.causes(e.Kind, into)
		}
	}
}

// With returns a catalogue that has more definitions, or an error if one of
// them clashes.
func (c *Catalogue) With(defs ...Definition) (*Catalogue, error) {
	more, err := NewCatalogue(c.defs, defs)
	if err == nil {
		more.healthy = c.healthy
	}
	return more, err
}

// WithHealthy returns a catalogue in which conditions say what texts tell while
// nothing is wrong. A type that no definition has is a condition, too.
func (c *Catalogue) WithHealthy(texts ...HealthyText) *Catalogue {
	return &Catalogue{c.defs, c.index, slices.Concat(c.healthy, texts)}
}

// WithQuiet returns a catalogue in which a kind that logs tell of is over so long after
// its last line.
func (c *Catalogue) WithQuiet(kind Kind, quiet time.Duration) (*Catalogue, error) {
	i, ok := c.index[kind]
	switch {
	case !ok:
		return nil, errors.New("there is no such kind: `agent explain` lists them all")
	case c.defs[i].Sources&Log == 0:
		return nil, fmt.Errorf("no log line tells of %s", kind)
	case quiet <= 0:
		return nil, fmt.Errorf("%v is no time to be quiet for", quiet)
	}
	defs := slices.Clone(c.defs)
	defs[i].Quiet = quiet
	return &Catalogue{defs, c.index, c.healthy}, nil
}

// Healthy is the first text of a condition's type.
func (c *Catalogue) Healthy(typ string) (HealthyText, bool) {
	i := slices.IndexFunc(c.healthy, func(t HealthyText) bool { return t.Type == typ })
	if i < 0 {
		return HealthyText{}, false
	}
	return c.healthy[i], true
}

// Get is the definition of kind.
func (c *Catalogue) Get(kind Kind) (Definition, bool) {
	i, ok := c.index[kind]
	if !ok {
		return Definition{}, false
	}
	return c.defs[i], true
}

// All are the definitions, in order. The caller must not change them.
func (c *Catalogue) All() []Definition { return c.defs }

// Conditions are the NodeCondition types, in order of first appearance.
func (c *Catalogue) Conditions() []string {
	var types []string
	seen := map[string]bool{"": true}
	add := func(typ string) {
		if !seen[typ] {
			seen[typ] = true
			types = append(types, typ)
		}
	}
	for _, d := range c.defs {
		add(d.Condition)
	}
	for _, t := range c.healthy {
		add(t.Type)
	}
	return types
}

// Effects are the kinds that kind may bring about.
func (c *Catalogue) Effects(kind Kind) []Kind {
	var effects []Kind
	for _, d := range c.defs {
		for _, e := range d.Causes {
			if e.Kind == kind {
				effects = append(effects, d.Kind)
				break
			}
		}
	}
	return effects
}
