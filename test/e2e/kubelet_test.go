package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/cluster"
)

// This file: kubelet, the agent and a third program write the same Node at once.

const (
	kubeletWritesWanted, agentWritesWanted = 12, 4
	strategicMerge                         = "application/strategic-merge-patch+json"
	// third is a condition that is written 20 times a second, so that the others' writes
	// meet one that comes between.
	third = "example.com/Third"
	// turning is the kind of a user's rule that is over 20 s after its last line, which is longer
	// than the agent may wait between two writes.
	turning = "TurnsOften"
)

// kubelets are the conditions that kubelet writes.
func kubelets() []string { return []string{"MemoryPressure", "DiskPressure", "PIDPressure", "Ready"} }

// writers checks that each change of a Node's conditions is the work of one writer,
// who has left everybody else's as they were.
type writers struct {
	last   map[string]dated
	counts map[string]int
}

// dated is a condition with its dates.
type dated struct {
	condition
	LastHeartbeatTime, LastTransitionTime string
}

// see takes in the next version of the conditions.
func (w *writers) see(all []dated) error {
	now := map[string]dated{}
	for _, c := range all {
		now[c.Type] = c
	}
	if len(now) != len(all) {
		return fmt.Errorf("a type stands twice: %+v", all)
	}
	defer func() { w.last = now }()
	if w.last == nil {
		return nil
	}
	by := ""
	for name, types := range map[string][]string{"kubelet": kubelets(), "the agent": problem.Builtin().Conditions(), "the third": {third}} {
		changed := false
		for _, typ := range types {
			before, after := w.last[typ], now[typ]
			changed = changed || before != after
			switch {
			case before.Type == "":
			case after.Type == "":
				return fmt.Errorf("%s is lost", typ)
			case name == "kubelet" && (before.Status != after.Status || before.Reason != after.Reason):
				return fmt.Errorf("kubelet's condition is changed: %+v, was %+v", after, before)
			case after.LastHeartbeatTime < before.LastHeartbeatTime, after.LastTransitionTime < before.LastTransitionTime:
				return fmt.Errorf("an older state has come back: %+v, was %+v", after, before)
			case before.Status == after.Status && before.LastTransitionTime != after.LastTransitionTime:
				// A new status may have the date of the one before: dates are whole seconds.
				return fmt.Errorf("%+v, was %+v: a new date, and no new status", after, before)
			}
		}
		if changed && by != "" {
			return fmt.Errorf("one write has changed what is %s's and %s's: %+v, was %+v", by, name, now, w.last)
		}
		if changed {
			by = name
			w.counts[name]++
		}
	}
	return nil
}

// everybodyWrites: while the agent's condition turns as often as it may be written,
// kubelet writes every 4 s, and a third program all the time, nobody's conditions are
// changed by anybody else, and none is lost.
func everybodyWrites(w *world) {
	ctx, stop := context.WithCancel(w.t.Context())
	defer stop()
	seen := make(chan string, 1) // why the watch has ended; empty for enough
	go func() { seen <- w.watch(ctx) }()
	thirdEnded := make(chan error, 1)
	go func() { thirdEnded <- w.writeThird(ctx) }()
	for wrong := true; ; wrong = !wrong {
		want := "False"
		if wrong {
			want = "True"
			w.kubeletSays(`E%s      11 kubelet.go:1] "`+turning+` once more"`, 1)
		}
		w.await("KubeletUnhealthy turns", func() error { return w.has("node-a", "KubeletUnhealthy", want) })
		if wrong || len(seen) == 0 {
			continue
		}
		if why := <-seen; why != "" {
			w.t.Fatal(why)
		}
		break
	}
	stop()
	w.must(<-thirdEnded)
	_, err := w.Do(http.MethodPatch, "/api/v1/nodes/node-a/status", strategicMerge, `{"status":{"conditions":[{"$patch":"delete","type":"`+third+`"}]}}`)
	w.must(err)
	w.well()
}

// kubeletSays writes a line, in which %s is the time, to node-a's log of kubelet.
func (w *world) kubeletSays(line string, times int) {
	w.t.Helper()
	line = fmt.Sprintf(line, time.Now().UTC().Format("0102 15:04:05.000000"))
	_, err := w.in("node-a", "sh", "-c", `for i in $(seq $1); do printf '%s\n' "$0" >> `+kubeletLog+`; done`, line, fmt.Sprint(times))
	w.must(err)
}

// writeThird writes the third program's condition until ctx ends.
func (w *world) writeThird(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		_, err := w.Do(http.MethodPatch, "/api/v1/nodes/node-a/status", strategicMerge,
			fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":"False","reason":"Counts","message":"%d"}]}}`, third, n))
		if err != nil {
			return err
		}
	}
}

// watch follows node-a until everybody has written often enough. It returns what was
// wrong.
func (w *world) watch(ctx context.Context) string {
	admin, err := w.Client(cluster.User{Name: "watcher", Group: cluster.Admin().Group})
	if err != nil {
		return err.Error()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+"/api/v1/nodes?watch=1&fieldSelector=metadata.name=node-a", nil)
	if err != nil {
		return err.Error()
	}
	resp, err := admin.Do(req)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	all := &writers{counts: map[string]int{}}
	for events := json.NewDecoder(resp.Body); ; {
		var e struct {
			Object struct {
				Status struct{ Conditions []dated }
			}
		}
		if err := events.Decode(&e); err != nil {
			return "the watch: " + err.Error()
		}
		if err := all.see(e.Object.Status.Conditions); err != nil {
			return err.Error()
		}
		if all.counts["kubelet"] >= kubeletWritesWanted && all.counts["the agent"] >= agentWritesWanted {
			w.say(fmt.Sprintf("writes, none of which has touched another's conditions: %v", all.counts))
			return ""
		}
	}
}

// TestWriters: the check itself.
func TestWriters(t *testing.T) {
	c := func(typ, status, beat, turned string) dated {
		return dated{condition{typ, status, "R", ""}, beat, turned}
	}
	ready, ours, third0 := c("Ready", "True", "1", "1"), c("MountHung", "False", "1", "1"), c(third, "False", "1", "1")
	start := []dated{ready, ours, third0}
	for name, x := range map[string]struct {
		next []dated
		want string
	}{
		"nothing":        {start, ""},
		"kubelet writes": {[]dated{c("Ready", "True", "2", "1"), ours, third0}, ""},
		"ours turns":     {[]dated{ready, c("MountHung", "True", "2", "2"), third0}, ""},
		"kubelet's turn": {[]dated{c("Ready", "False", "2", "2"), ours, third0}, "kubelet's condition is changed"},
		"ours is lost":   {[]dated{c("Ready", "True", "2", "1"), third0}, "MountHung is lost"},
		"ours is old":    {[]dated{ready, c("MountHung", "False", "0", "1"), third0}, "an older state"},
		"both at once":   {[]dated{c("Ready", "True", "2", "1"), c("MountHung", "False", "2", "1"), third0}, "one write has changed"},
		"twice":          {append(slices.Clone(start), ours), "stands twice"},
		"in one second":  {[]dated{ready, c("MountHung", "True", "2", "1"), third0}, ""},
		"a new date":     {[]dated{ready, c("MountHung", "False", "2", "2"), third0}, "no new status"},
	} {
		w := &writers{counts: map[string]int{}}
		if err := w.see(start); err != nil {
			t.Fatal(err)
		}
		if err := w.see(x.next); (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
}
