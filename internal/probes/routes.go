package probes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Routes watches that the node can get out: a default route that it once had,
// and a route to the API server. It sends nothing; it asks the kernel which way
// it would go.
type Routes struct {
	had map[string]string // default routes that some run found, by family
	// lookUp asks the kernel for a route to an address, in all of its tables.
	lookUp func(netip.Addr) error
}

// NewRoutes is the probe. It has no thresholds.
func NewRoutes() *Routes { return &Routes{had: map[string]string{}, lookUp: lookUpRoute} }

// Name implements Probe.
func (*Routes) Name() string { return "routes" }

// Kinds implements Probe.
func (*Routes) Kinds() []problem.Kind { return []problem.Kind{problem.DefaultRouteMissing} }

// outside are addresses of the wide world, one of each family, whose routes tell
// whether there is a way out by a rule or table other than the main one. Nothing
// is sent to them. They are those of root name servers (a, b), which no node has
// a route of its own for.
func outside(family string) netip.Addr {
	if family == ipv6 {
		return netip.MustParseAddr("2001:503:ba3e::2:30")
	}
	return netip.MustParseAddr("198.41.0.4")
}

// Run implements Probe.
func (p *Routes) Run(_ context.Context, n *Node) (problem.Result, error) {
	if why := foreignNetwork(n.Host); why != "" {
		return problem.Result{}, errors.New(why)
	}
	routes, err := readDefaultRoutes(n.Host)
	if err != nil {
		return problem.Result{}, err
	}
	live := liveProc(n.Host)
	now := map[string]string{}
	for _, r := range routes {
		now[r.family] = r.link
	}
	for family := range p.had {
		// The main table has none: policy routing may know another.
		if now[family] == "" && live && !noRoute(p.lookUp(outside(family))) {
			now[family] = "another table"
		}
	}
	r := problem.Result{Verdicts: evaluateDefaultRoutes(p.had, now)}
	for family, link := range now {
		p.had[family] = link
	}
	if live {
		r.Verdicts = append(r.Verdicts, p.apiServer(n.Host, now)...)
	}
	return r, nil
}

// apiServer judges the route to the API server's address, if kubelet knows it as
// an address, and the address's family has no default route, which leads there, too.
func (p *Routes) apiServer(h *host.Host, routes map[string]string) []problem.Verdict {
	if routes[ipv4] != "" && routes[ipv6] != "" {
		return nil
	}
	s, err := kubelet.Read(h)
	if err != nil || !s.Found {
		return nil
	}
	server, err := kubelet.APIServer(h, s)
	if err != nil || server == nil {
		return nil // no kubeconfig yet, or none that we may read: kubelet's own kinds tell
	}
	addr, err := netip.ParseAddr(server.Hostname())
	if err != nil || routes[familyOf(addr)] != "" {
		return nil // a name leads anywhere
	}
	if err = p.lookUp(addr); !noRoute(err) {
		return nil
	}
	return []problem.Verdict{{
		Kind: problem.DefaultRouteMissing, Subject: "API server", State: problem.Wrong, Severity: problem.Critical,
		Message:  fmt.Sprintf("the node has no route to the API server at %s", addr),
		Evidence: []string{fmt.Sprintf("ip route get %s: %v", addr, err), "kubelet's kubeconfig: server " + server.String()},
		Touches:  []problem.Ref{problem.RefNode},
		Refused:  true,
	}}
}

// evaluateDefaultRoutes compares the default routes that the node had (by family,
// with their links) with those that it has. A family that has none and never had
// one is as it should be.
func evaluateDefaultRoutes(had, now map[string]string) []problem.Verdict {
	var verdicts []problem.Verdict
	for _, family := range []string{ipv4, ipv6} {
		if had[family] == "" || now[family] != "" {
			continue
		}
		// With a default route of the other family left the node is not cut off.
		sev := problem.Critical
		message := fmt.Sprintf("the node has lost its default route for %s, which went through %s", family, had[family])
		if family == ipv6 && now[ipv4] != "" {
			sev = problem.Warning
		}
		verdicts = append(verdicts, problem.Verdict{
			Kind: problem.DefaultRouteMissing, Subject: family, State: problem.Wrong, Severity: sev,
			Message:  message,
			Evidence: []string{routeFiles()[family] + ": no default route; policy routing knows none either"},
			Touches:  []problem.Ref{problem.RefNode, problem.NewRef(problem.RefLink, had[family])},
			Refused:  true,
		})
	}
	return verdicts
}

// The families of addresses, as they are called in messages.
const (
	ipv4 = "IPv4"
	ipv6 = "IPv6"
)

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

func routeFiles() map[string]string {
	return map[string]string{ipv4: "/proc/net/route", ipv6: "/proc/net/ipv6_route"}
}

// defaultRoute is one that leads somewhere.
type defaultRoute struct{ family, link string }

// readDefaultRoutes finds the default routes of the main table, in the files of
// our network namespace. A family that the kernel does not have has none.
func readDefaultRoutes(h *host.Host) ([]defaultRoute, error) {
	var routes []defaultRoute
	for family, file := range routeFiles() {
		parse := parseIPv4Default
		if family == ipv6 {
			parse = parseIPv6Default
		}
		err := streamLines(h, file, func(line []byte) bool {
			link, ok := parse(string(line))
			if ok {
				routes = append(routes, defaultRoute{family, link})
			}
			return !ok // the first one is enough, and IPv4's stands first
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return routes, nil
}

// parseIPv4Default is the link of a line of /proc/net/route (net/ipv4/fib_trie.c)
// if it is a usable default route:
//
//	Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
//	eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0
func parseIPv4Default(line string) (string, bool) {
	f := strings.Fields(line)
	if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
		return "", false
	}
	return f[0], usableRoute(f[3])
}

// parseIPv6Default is the same for a line of /proc/net/ipv6_route (net/ipv6/route.c):
// destination, its length, source, its length, next hop, metric, references, use,
// flags, link. A kernel without a route answers from one that rejects, on lo.
func parseIPv6Default(line string) (string, bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[1] != "00" || strings.Trim(f[0], "0") != "" || f[3] != "00" {
		return "", false
	}
	return f[9], usableRoute(f[8]) && f[9] != "lo"
}

// usableRoute: RTF_UP, and not RTF_REJECT (include/uapi/linux/route.h).
func usableRoute(flags string) bool {
	const up, reject = 0x0001, 0x0200
	n, err := strconv.ParseUint(flags, 16, 32)
	return err == nil && n&up != 0 && n&reject == 0
}

// noRoute reports whether a look-up found that there is no way: no route at all,
// or one of the types unreachable, prohibit and blackhole (ip-route(8)). Another
// error says nothing about routes.
func noRoute(err error) bool {
	return errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) ||
		errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL)
}

// lookUpRoute asks for the route to addr (RTM_GETROUTE), which needs no privilege
// and sends nothing.
func lookUpRoute(addr netip.Addr) error {
	_, err := netlink.RouteGet(addr.AsSlice())
	return err
}
