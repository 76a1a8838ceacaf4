package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/journal/journalfile"
	"github.com/nodevitals/nodevitals/test/journald"
)

// live is a journald of our own, for one test.
type live struct {
	t *testing.T
	*journald.Server
}

func startJournald(t *testing.T, storage string) *live {
	t.Helper()
	s, err := journald.Start(t.Context(), storage)
	if errors.Is(err, journald.ErrUnavailable) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("journald: %s", s.Log())
		}
	})
	return &live{t, s}
}

// await polls until ok, which must become true before long.
func (j *live) await(what string, ok func() bool) {
	j.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			j.t.Fatalf("waited a minute for %s", what)
		}
	}
}

func (j *live) send(message string) {
	j.t.Helper()
	if err := j.Send(message); err != nil {
		j.t.Fatal(err)
	}
}

func (j *live) signal(s syscall.Signal) {
	j.t.Helper()
	if err := j.Signal(s); err != nil {
		j.t.Fatal(err)
	}
}

// files counts the files of both folders whose names match.
func (j *live) files(pattern string) int {
	n := 0
	for _, d := range j.Dirs() {
		m, err := filepath.Glob(filepath.Join(d, "*", pattern))
		if err != nil {
			j.t.Fatal(err)
		}
		n += len(m)
	}
	return n
}

// collector keeps the messages of the test.
type collector struct{ got []string }

func (c *collector) visit(r *journal.Record) error {
	if r.Identifier == journald.Identifier {
		c.got = append(c.got, string(r.Message))
	}
	return nil
}

// TestLiveJournald: 500 messages through a real journald come once each and in
// order, over two rotations, to a reader that follows and to one that is started
// anew for each look. In the second case journald moves its journal from memory
// to the disk meanwhile, which copies what was read already.
func TestLiveJournald(t *testing.T) {
	for _, storage := range []string{"volatile", "auto"} {
		t.Run(storage, func(t *testing.T) {
			j := startJournald(t, storage)
			r := journalfile.NewReader(j.Dirs(), journalfile.Options{})
			defer r.Close()
			var follower, restarted collector
			state := []byte("{}")
			poll := func() {
				if _, err := r.Next(follower.visit); err != nil {
					t.Fatal(err)
				}
				var c journalfile.Cursor
				if err := json.Unmarshal(state, &c); err != nil {
					t.Fatal(err)
				}
				anew := journalfile.NewReader(j.Dirs(), journalfile.Options{})
				defer anew.Close()
				anew.SeekCursor(c)
				if _, err := anew.Next(restarted.visit); err != nil {
					t.Fatal(err)
				}
				var err error
				if state, err = json.Marshal(anew.Cursor()); err != nil {
					t.Fatal(err)
				}
			}
			var want []string
			say := func(n int) {
				for range n {
					m := fmt.Sprintf("message %d %s", len(want), strings.Repeat("x", len(want)%50*20))
					want = append(want, m)
					j.send(m)
					if len(want)%7 == 0 {
						poll()
					}
				}
			}
			say(150)
			if storage == "auto" {
				j.signal(syscall.SIGUSR1) // flush
				j.await("the journal on disk", func() bool {
					poll()
					persistent, err := filepath.Glob(filepath.Join(j.Dirs()[0], "*", "system.journal"))
					return err == nil && len(persistent) == 1
				})
			}
			archived := j.files("system@*.journal")
			for range 2 {
				say(125)
				j.signal(syscall.SIGUSR2) // rotate
				archived++
				say(25)
				j.await("the rotation", func() bool { poll(); return j.files("system@*.journal") >= archived })
			}
			say(50)
			j.await("the last message", func() bool {
				poll()
				return len(follower.got) >= len(want) && len(restarted.got) >= len(want)
			})
			poll()
			for name, c := range map[string]*collector{"follower": &follower, "restarted": &restarted} {
				if !slices.Equal(c.got, want) {
					t.Errorf("%s: %d messages, want %d once each and in order: %.400q", name, len(c.got), len(want), c.got)
				}
			}
			h := r.Health(time.Now())
			if h.Blind != "" || h.Loss != (journalfile.Loss{}) {
				t.Errorf("%+v", h)
			}
			t.Logf("%d messages; %+v", len(want), h)
			if len(want) != 500 {
				t.Fatalf("%d messages", len(want))
			}
		})
	}
}
