package limits

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/flows"
)

// flooder is a helper that fills the connection tracking table of a network
// namespace of its own. The limit is the machine's, the table is not.
// Orders: "send N" sends N datagrams to as many addresses of the loopback
// interface and prints how many were refused; "fill N" adds N answered flows of
// one address; "flush" empties the table.
func flooder() {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	var c flows.Netfilter
	if err == nil {
		c, err = flows.Dial()
	}
	if err == nil {
		err = c.Arm()
	}
	if err != nil {
		fail(err)
	}
	next := uint32(0)
	inside(probes.NewConntrack(), map[string]func(string) (string, error){
		"send": func(arg string) (string, error) {
			n, err := flows.Send(&next, number(arg))
			return strconv.Itoa(n), err
		},
		"fill":  func(arg string) (string, error) { return "", c.Add(number(arg)) },
		"flush": func(string) (string, error) { return "", c.Flush() },
	})
}

// TestConntrackFull fills a table twice: with flows that the kernel may evict,
// where nothing is dropped, and with flows that it keeps, where new ones are.
func TestConntrackFull(t *testing.T) {
	raw, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		t.Skipf("SKIPPED: no connection tracking: %v", err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if limit > 300_000 {
		t.Skipf("SKIPPED: it would take too long, and too much memory, to fill a table of %d", limit)
	}
	h := startInside(t, "flooder", unix.CLONE_NEWNET)
	h.say("send 1")
	r := lookInside(t, h)
	allSilent(t, r)
	if m := measured(t, r, "conntrack_entries", ""); m.Used == 0 || m.Max != float64(limit) {
		t.Fatalf("connections are not tracked: %+v", m)
	}

	// The look-alike: full of flows without an answer; they make room for new ones.
	if refused := h.say(fmt.Sprintf("send %d", limit+5000)); refused != "0" {
		t.Fatalf("%s datagrams were refused", refused)
	}
	r = lookInside(t, h)
	if v := wrong(r, problem.ConntrackNearLimit, ""); v == nil || v.Severity != problem.Critical {
		t.Errorf("the table is full: %+v", r.Verdicts)
	}
	silent(t, r, problem.ConntrackDropping, "")

	h.say("flush")
	h.say(fmt.Sprintf("fill %d", limit+100))
	silent(t, lookInside(t, h), problem.ConntrackDropping, "")
	if refused := h.say("send 50"); refused != "50" {
		t.Fatalf("%s of 50 datagrams were refused", refused)
	}
	r = lookInside(t, h)
	dropping, near := wrong(r, problem.ConntrackDropping, ""), wrong(r, problem.ConntrackNearLimit, "")
	if dropping == nil || near == nil {
		t.Fatalf("full and dropping: %+v", r.Verdicts)
	}
	if dropping.Severity != problem.Critical || !dropping.Refused || !near.Refused {
		t.Errorf("dropping %+v, near its limit %+v", *dropping, *near)
	}
	if m := measured(t, r, "conntrack_entries", ""); m.Used != float64(limit) || m.Refused == nil || *m.Refused < 50 {
		t.Errorf("measured %+v", m)
	}
	if len(near.Holders) == 0 || near.Holders[0].Owner != "source "+flows.Greedy {
		t.Errorf("holders %+v, want %s", near.Holders, flows.Greedy)
	}

	notTheNodes(t, h)

	h.say("flush")
	allSilent(t, lookInside(t, h))
}

// notTheNodes: to the agent outside, the kernel's lines are about a namespace that
// it does not look at, and no reason to drain the node.
func notTheNodes(t *testing.T, h *helper) {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", h.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	subject := "network namespace " + strings.Trim(link, "net:[]")
	s, _ := once(t, exec.Command(buildAgent(t), "--once", "-o", "json", "--since", "5m"))
	found := false
	for _, p := range s.Problems {
		if p.Kind != problem.ConntrackDropping {
			continue
		}
		found = found || p.Subject == subject && p.Scope == problem.PodScope
		if p.Subject == "" || p.Scope == problem.NodeScope {
			t.Errorf("the node is blamed: %+v", p)
		}
	}
	if !found && slices.ContainsFunc(s.Logs, func(l problem.LogStatus) bool { return l.Source == "kmsg" && l.Blind == "" }) {
		t.Errorf("no ConntrackDropping of %s: %+v", subject, s.Problems)
	}
}
