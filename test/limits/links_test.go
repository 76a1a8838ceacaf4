package limits

import (
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// TestDefaultRoute takes a node's default route away.
func TestDefaultRoute(t *testing.T) {
	h := startNetworked(t)
	silent(t, lookInside(t, h, "routes"), problem.DefaultRouteMissing, "IPv4")
	h.say("route del")
	r := lookInside(t, h, "routes")
	if v := wrong(r, problem.DefaultRouteMissing, "IPv4"); v == nil || v.Severity != problem.Critical {
		t.Errorf("the default route is gone: %+v", r.Verdicts)
	}
	if wrong(r, problem.DefaultRouteMissing, "API server") == nil {
		t.Errorf("nothing leads to the API server: %+v", r.Verdicts)
	}

	// The look-alike: another table has one.
	for _, words := range []string{"ip route add default via 192.0.2.2 table 100", "ip rule add from all lookup 100"} {
		if answer := h.say("run " + words); answer != "" {
			t.Fatalf("%s: %s", words, answer)
		}
	}
	allSilent(t, lookInside(t, h, "routes"))
	h.say("run ip rule del from all lookup 100")
	if r := lookInside(t, h, "routes"); wrong(r, problem.DefaultRouteMissing, "IPv4") == nil {
		t.Errorf("it is gone again: %+v", r.Verdicts)
	}
	h.say("route add")
	allSilent(t, lookInside(t, h, "routes"))
}

// TestDefaultRouteNeverThere: a node that has none, by design, has lost none; the
// route to the API server is what it needs.
func TestDefaultRouteNeverThere(t *testing.T) {
	h := startNetworked(t)
	h.say("route del")
	r := lookInside(t, h, "routes")
	silent(t, r, problem.DefaultRouteMissing, "IPv4")
	if wrong(r, problem.DefaultRouteMissing, "API server") == nil {
		t.Errorf("nothing leads to the API server: %+v", r.Verdicts)
	}
	if answer := h.say("run ip route add 198.51.100.0/24 via 192.0.2.2"); answer != "" {
		t.Fatal(answer)
	}
	allSilent(t, lookInside(t, h, "routes"))
}

// TestLinkFlaps has the carrier of a node's uplink come and go. A pod's link that
// does the same is none of the node's.
func TestLinkFlaps(t *testing.T) {
	h := startNetworked(t)
	allSilent(t, lookInside(t, h, "links"))
	h.say("flap 1")
	allSilent(t, lookInside(t, h, "links"))
	h.say("flap 1")
	r := lookInside(t, h, "links")
	if v := wrong(r, problem.LinkFault, "eth0"); v == nil || v.Severity != problem.Warning {
		t.Errorf("it flapped twice: %+v", r.Verdicts)
	}
	if m := measured(t, r, "link_carrier_changes", "eth0"); m.Used != 4 || m.Max != 4 {
		t.Errorf("measured %+v", m)
	}
	for _, name := range []string{"vethpod", "cni0", "docker0", "lo"} {
		silent(t, r, problem.LinkFault, name)
	}
}

// TestLinkWithoutCarrier unplugs a node's uplink, and plugs it in again.
func TestLinkWithoutCarrier(t *testing.T) {
	h := startNetworked(t)
	h.say("outside down")
	if r := lookInside(t, h, "links"); wrong(r, problem.LinkFault, "eth0") == nil {
		t.Errorf("it has no carrier: %+v", r.Verdicts)
	}
	h.say("outside up")
	allSilent(t, lookInside(t, h, "links"))
}

// TestPodLinkFlaps: the look-alike, a pod that goes and comes.
func TestPodLinkFlaps(t *testing.T) {
	h := startNetworked(t)
	allSilent(t, lookInside(t, h, "links"))
	for range 4 {
		for _, state := range []string{"down", "up"} {
			if answer := h.say("run ip link set vethpod " + state); answer != "" {
				t.Fatal(answer)
			}
		}
	}
	allSilent(t, lookInside(t, h, "links"))
}
