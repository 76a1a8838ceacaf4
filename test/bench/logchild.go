package main

// This file goes through a journal in one way, in a process of its own, so that
// its memory and CPU are those of nothing else.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/journal/journalfile"
	"github.com/nodevitals/nodevitals/internal/rules"
)

// logChildCommand is the first argument of such a process: WAY DIR follow.
const logChildCommand = "log-child"

// The ways to go through a journal.
const (
	wayRead  = "read"
	wayMatch = "match, messages in memory"
	wayBoth  = "read and match"
	wayPlain = "every regexp on every line (plain)"
)

const (
	// kept is how many records are held in memory at most, and gone through
	// again and again.
	kept = 100_000
	// plainLines are enough for the plain way, which takes a ms for each.
	plainLines = 2000
)

// passage is one way through the records.
type passage struct {
	Records, Matches int
	Wall, CPU        time.Duration
	Resident         uint64 // VmHWM in bytes; 0 where it tells nothing
}

func logChild(w io.Writer, args []string) error {
	if len(args) != 2 {
		return errors.New("log-child takes a way and a folder")
	}
	p, err := goWay(args[0], args[1])
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(p)
}

func goWay(way, dir string) (passage, error) {
	set, err := rules.Compile(rules.BuiltinUnits(), rules.Builtin())
	if err != nil {
		return passage{}, err
	}
	switch way {
	case wayRead:
		return timed(true, func(p *passage) error {
			p.Matches = -1
			return read(dir, func(*journal.Record) error { p.Records++; return nil })
		})
	case wayBoth:
		return timed(true, func(p *passage) error {
			return read(dir, func(r *journal.Record) error {
				p.add(len(set.Match(r)) > 0)
				return nil
			})
		})
	case wayMatch:
		records, total, err := inMemory(dir, kept)
		if err != nil {
			return passage{}, err
		}
		return timed(false, func(p *passage) error {
			for p.Records < total {
				for i := range records {
					p.add(len(set.Match(&records[i])) > 0)
				}
			}
			return nil
		})
	case wayPlain:
		records, _, err := inMemory(dir, plainLines)
		if err != nil {
			return passage{}, err
		}
		all := plainRules()
		return timed(false, func(p *passage) error {
			for i := range records {
				p.add(matchPlain(all, records[i].Message))
			}
			return nil
		})
	}
	return passage{}, fmt.Errorf("no way %q", way)
}

func (p *passage) add(matches bool) {
	p.Records++
	if matches {
		p.Matches++
	}
}

// timed measures f; memory says whether its memory tells something.
func timed(memory bool, f func(*passage) error) (passage, error) {
	var p passage
	start, cpu := time.Now(), cpuClock(unix.CLOCK_PROCESS_CPUTIME_ID)
	err := f(&p)
	p.Wall, p.CPU = time.Since(start), cpuClock(unix.CLOCK_PROCESS_CPUTIME_ID)-cpu
	if err == nil && p.Records == 0 {
		err = errors.New("there are no records")
	}
	if err == nil && memory {
		p.Resident, err = highWater(os.Getpid())
	}
	return p, err
}

// read hands over all records as the daemon gets them.
func read(dir string, visit func(*journal.Record) error) error {
	r := journalfile.NewReader([]string{dir}, journalfile.Options{})
	defer r.Close()
	if _, err := r.Next(visit); err != nil {
		return err
	}
	if h := r.Health(time.Now()); h.Loss != (journalfile.Loss{}) {
		return fmt.Errorf("%s: lost %+v", dir, h.Loss)
	}
	return nil
}

// inMemory returns the first n records, and how many there are.
func inMemory(dir string, n int) (records []journal.Record, total int, err error) {
	err = read(dir, func(r *journal.Record) error {
		if total++; total <= n {
			c := *r
			c.Message = bytes.Clone(r.Message)
			records = append(records, c)
		}
		return nil
	})
	return records, total, err
}

// plainRule is a rule as anyone would write it first.
type plainRule struct{ pattern, exclude *regexp.Regexp }

func plainRules() []plainRule {
	var all []plainRule
	for _, r := range rules.Builtin() {
		p := plainRule{pattern: regexp.MustCompile(r.Pattern)}
		if r.Exclude != "" {
			p.exclude = regexp.MustCompile(r.Exclude)
		}
		all = append(all, p)
	}
	return all
}

// matchPlain searches for every pattern, as each may claim another kind.
func matchPlain(all []plainRule, line []byte) bool {
	found := false
	for _, r := range all {
		if r.pattern.Match(line) && (r.exclude == nil || !r.exclude.Match(line)) {
			found = true
		}
	}
	return found
}

// highWater is the most memory that a process ever had resident, in bytes
// (VmHWM, proc_pid_status(5)).
func highWater(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := parseHighWater(b)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

func parseHighWater(b []byte) (uint64, error) {
	for line := range bytes.Lines(b) {
		value, ok := bytes.CutPrefix(line, []byte("VmHWM:"))
		if !ok {
			continue
		}
		number, ok := bytes.CutSuffix(bytes.TrimSpace(value), []byte(" kB"))
		if !ok {
			break
		}
		// 32 bits of KiB are more than any machine has.
		n, err := strconv.ParseUint(string(number), 10, 32)
		return n << 10, err
	}
	return 0, errors.New("no VmHWM in kB")
}
