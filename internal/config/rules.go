package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/rules"
)

// ownRules is what the user adds to the built-in rules.
type ownRules struct {
	specs    []rules.RuleSpec
	units    map[string]string        // systemd unit or identifier → source
	quiet    map[string]time.Duration // of kinds
	npd      []string                 // files of node-problem-detector's
	npdQuiet time.Duration
}

// compile makes the rules and the catalogue of the built-in ones and the user's.
func (c *Config) compile(own ownRules) []mistake {
	units, bad := sources(own.units)
	if own.npdQuiet < 0 {
		bad = append(bad, mistake{[]string{"npd", "quiet"}, "is less than nothing"})
	}
	c.Catalogue = problem.Builtin()
	all := rules.Builtin()

	mine, defs, err := rules.FromSpecs(own.specs, c.Catalogue)
	bad = append(bad, ruleMistakes(err)...)
	all = append(all, mine...)
	bad = append(bad, c.extend(defs, []string{"rules"})...)

	byFile := map[string][]rules.Rule{}
	for i, file := range own.npd {
		at := []string{"npd", "configs", strconv.Itoa(i)}
		raw, err := os.ReadFile(file)
		if err != nil {
			bad = append(bad, mistake{at, err.Error()})
			continue
		}
		n, err := rules.ParseNPD(file, raw)
		if err != nil {
			bad = append(bad, mistake{what: err.Error()})
			continue
		}
		kinds, err := n.Kinds(c.Catalogue, own.npdQuiet)
		if err != nil {
			bad = append(bad, mistake{what: err.Error()})
			continue
		}
		bad = append(bad, c.extend(kinds, at)...)
		c.Catalogue = c.Catalogue.WithHealthy(n.Healthy()...)
		c.NPDLookBack = max(c.NPDLookBack, n.Lookback)
		all = append(all, n.Rules()...)
		buffer, err := n.Buffer(units)
		if err != nil {
			bad = append(bad, mistake{at, err.Error()})
		} else if buffer != nil {
			c.Buffers = append(c.Buffers, buffer)
		}
		if n.LogPath == "" {
			continue
		}
		// Its log file is one that must be read, for its own rules' sake.
		if !slices.Contains(c.LogFiles, n.LogPath) {
			c.LogFiles = append(slices.Clone(c.LogFiles), n.LogPath)
		}
		byFile[n.LogPath] = append(byFile[n.LogPath], n.Rules()...)
	}
	bad = append(bad, c.setQuiet(own.quiet)...)
	if len(bad) > 0 {
		return bad
	}
	if c.Rules, err = rules.Compile(units, all); err != nil {
		bad = append(bad, mistake{[]string{"rules"}, err.Error()})
	}
	c.FileRules = map[string]*rules.Set{}
	for path, of := range byFile {
		if c.FileRules[path], err = rules.Compile(units, of); err != nil {
			bad = append(bad, mistake{[]string{"npd"}, err.Error()})
		}
	}
	return bad
}

// extend adds the definitions of the user's own kinds to the catalogue.
func (c *Config) extend(defs []problem.Definition, at []string) []mistake {
	more, err := c.Catalogue.With(defs...)
	if err != nil {
		return []mistake{{at, err.Error()}}
	}
	c.Catalogue = more
	return nil
}

// setQuiet changes how long after their last line kinds are over.
func (c *Config) setQuiet(own map[string]time.Duration) []mistake {
	var bad []mistake
	for _, kind := range slices.Sorted(maps.Keys(own)) {
		more, err := c.Catalogue.WithQuiet(problem.Kind(kind), own[kind])
		if err != nil {
			bad = append(bad, mistake{[]string{"logs", "quiet", kind}, err.Error()})
			continue
		}
		c.Catalogue = more
	}
	return bad
}

// sources reads which program the user's units are.
func sources(own map[string]string) (rules.Units, []mistake) {
	more := rules.Units{}
	var bad []mistake
	for unit, name := range own {
		s, err := rules.ParseSource(name)
		if err != nil {
			bad = append(bad, mistake{[]string{"logs", "units", unit}, err.Error()})
		}
		more[strings.TrimSuffix(unit, ".service")] = s
	}
	return rules.BuiltinUnits().With(more), bad
}

// ruleMistakes takes apart what FromSpecs joined.
func ruleMistakes(err error) []mistake {
	if err == nil {
		return nil
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // its very own type is asked for
		all = joined.Unwrap()
	}
	var bad []mistake
	for _, e := range all {
		var re *rules.RuleError
		if !errors.As(e, &re) {
			bad = append(bad, mistake{[]string{"rules"}, e.Error()})
			continue
		}
		bad = append(bad, mistake{[]string{"rules", strconv.Itoa(re.Index), re.Field}, fmt.Sprintf("rule %s: %v", re.Name, re.Err)})
	}
	return bad
}
