// Package netfilter fills the packet filters of network namespaces of its own, and
// checks that the agent understands their rules.
package netfilter

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/netfilter"
)

// namespace puts the test, and no other, into a network namespace of its own, and
// returns a host for it.
func namespace(t *testing.T) *host.Host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root: it makes a network namespace and fills its packet filter")
	}
	runtime.LockOSThread() // for good: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("SKIPPED: no network namespace can be made: %v", err)
	}
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "proc/net"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/loadavg"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// copyNames gives the host the names of the tables that there are: /proc/net
// itself is that of the process's first thread.
func copyNames(t *testing.T, h *host.Host) {
	t.Helper()
	for _, name := range []string{"ip_tables_names", "ip6_tables_names"} {
		raw, err := os.ReadFile("/proc/thread-self/net/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.Path("/proc/net/"+name), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// iptables runs a program of the iptables family, with words; what the kernel
// cannot do skips the test.
func iptables(t *testing.T, program, words string) {
	t.Helper()
	out, err := exec.Command(program, strings.Fields(words)...).CombinedOutput()
	if err != nil {
		t.Skipf("SKIPPED: %s %s: %v: %s", program, words, err, out)
	}
}

// dockerRules are like those of docker, kube-proxy and a network plugin; RANGE and
// CONTAINER stand for addresses.
var dockerRules = []string{
	"-P FORWARD DROP",
	"-N DOCKER",
	"-A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
	"-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
	"-A FORWARD -i cali+ -j DOCKER",
	"-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
	"-A FORWARD -m mark ! --mark 0x1 -j ACCEPT",
	"-A FORWARD -s RANGE -j ACCEPT",
	"-A FORWARD ! -d RANGE -p tcp --dport 80 -j ACCEPT",
	"-A FORWARD -m state --state NEW -j REJECT",
	"-A FORWARD -p udp -m multiport --dports 53,54",
	"-A FORWARD -m conntrack ! --ctstate NEW -j DROP",
	"-A FORWARD -g DOCKER",
	"-A DOCKER -d CONTAINER -p tcp -m tcp --dport 80 -m comment --comment hello -j ACCEPT",
	"-A DOCKER -p icmp -j RETURN",
}

func addresses(from, to string, not bool) netfilter.Addresses {
	return netfilter.Addresses{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Not: not}
}

// TestIptables: the rules are understood, and the same by the older iptables and
// by the newer one, for both families.
func TestIptables(t *testing.T) {
	for _, f := range []struct {
		family                 int
		legacy, nft            string
		network, first, last   string
		container, icmp, table string
	}{
		{unix.AF_INET, "iptables-legacy", "iptables-nft", "10.244.0.0/16", "10.244.0.0", "10.244.255.255", "172.17.0.2", "icmp", "ip"},
		{unix.AF_INET6, "ip6tables-legacy", "ip6tables-nft", "fd00:10::/64", "fd00:10::", "fd00:10::ffff:ffff:ffff:ffff", "fd01::7", "icmpv6", "ip6"},
	} {
		want := map[string][]netfilter.Rule{
			"FORWARD": {
				{Action: netfilter.Accept, In: netfilter.Interface{Name: "docker0"}, Out: netfilter.Interface{Name: "docker0", Not: true}},
				{Action: netfilter.Accept, Out: netfilter.Interface{Name: "docker0"}, States: 1<<1 | 1<<2},
				{Action: netfilter.Jump, Chain: "DOCKER", In: netfilter.Interface{Name: "cali", Prefix: true}},
				{Action: netfilter.Accept, Mark: netfilter.Mark{Value: 0x4000, Mask: 0x4000}},
				{Action: netfilter.Accept, Mark: netfilter.Mark{Value: 1, Mask: ^uint32(0), Not: true}},
				{Action: netfilter.Accept, Src: addresses(f.first, f.last, false)},
				{Action: netfilter.Accept, Dst: addresses(f.first, f.last, true), Protocol: unix.IPPROTO_TCP, Ports: true},
				{Action: netfilter.Drop, States: netfilter.StateNew},
				{Protocol: unix.IPPROTO_UDP, Ports: true},
				{Action: netfilter.Drop, States: ^netfilter.StateNew},
				{Action: netfilter.Jump, Chain: "DOCKER"},
			},
			"DOCKER": {
				{Action: netfilter.Accept, Dst: addresses(f.container, f.container, false), Protocol: unix.IPPROTO_TCP, Ports: true},
				{Protocol: map[string]uint8{"icmp": unix.IPPROTO_ICMP, "icmpv6": unix.IPPROTO_ICMPV6}[f.icmp]},
			},
		}
		for _, program := range []string{f.legacy, f.nft} {
			t.Run(program, func(t *testing.T) {
				h := namespace(t)
				none(t, h, f.family)
				for _, words := range dockerRules {
					words = strings.NewReplacer("RANGE", f.network, "CONTAINER", f.container, "icmp", f.icmp).Replace(words)
					iptables(t, program, words)
				}
				found := forward(t, h, f.family)
				table := "nftables " + f.table + " filter"
				if program == f.legacy {
					table = "iptables-legacy filter"
				}
				if len(found) != 1 || found[0].Table != table || found[0].Chain != "FORWARD" || !found[0].Drop ||
					found[0].Dropped == nil || *found[0].Dropped != 0 {
					t.Fatalf("%+v, want one that drops and has dropped nothing", found)
				}
				for chain, rules := range want {
					got, err := found[0].Rules(chain)
					if err != nil {
						t.Fatal(err)
					}
					if program == f.legacy && chain == "DOCKER" { // ends with a return
						got = got[:len(got)-1]
					}
					for i := range max(len(got), len(rules)) {
						if i >= len(got) || i >= len(rules) || !reflect.DeepEqual(got[i], rules[i]) {
							t.Fatalf("chain %s, rule %d: got\n%+v, want\n%+v", chain, i, got, rules)
						}
					}
				}
				iptables(t, program, "-P FORWARD ACCEPT")
				if found = forward(t, h, f.family); len(found) != 1 || found[0].Drop {
					t.Errorf("with the policy ACCEPT: %+v", found)
				}
			})
		}
	}
}

// none checks that nothing is found, and that asking has made nothing.
func none(t *testing.T, h *host.Host, family int) {
	t.Helper()
	for range 2 {
		if found := forward(t, h, family); len(found) != 0 {
			t.Fatalf("a new namespace has %+v", found)
		}
	}
}

func forward(t *testing.T, h *host.Host, family int) []netfilter.Forward {
	t.Helper()
	copyNames(t, h)
	legacy, err := netfilter.Legacy(h, family)
	if err != nil {
		t.Fatal(err)
	}
	nft, err := netfilter.Nftables(h, family)
	if err != nil {
		t.Fatal(err)
	}
	return append(legacy, nft...)
}

// TestNftables: what nftables' own syntax makes of a firewall, with sets and maps.
func TestNftables(t *testing.T) {
	h := namespace(t)
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	drop := nftables.ChainPolicyDrop
	table := conn.AddTable(&nftables.Table{Name: "firewall", Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{
		Name: "routed", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	conn.AddChain(&nftables.Chain{ // another hook is none of ours
		Name: "local", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	set := func(s *nftables.Set, elements ...nftables.SetElement) *nftables.Set {
		t.Helper()
		s.Table, s.Anonymous, s.Constant = table, true, true
		if err := conn.AddSet(s, elements); err != nil {
			t.Fatal(err)
		}
		return s
	}
	rule := func(exprs ...expr.Any) {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
	}
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	native := binaryutil.NativeEndian.PutUint32

	// ct state vmap { established : accept, invalid : drop }
	states := set(&nftables.Set{IsMap: true, KeyType: nftables.TypeCTState, DataType: nftables.TypeVerdict},
		nftables.SetElement{Key: native(1 << 1), VerdictData: accept},
		nftables.SetElement{Key: native(1 << 0), VerdictData: &expr.Verdict{Kind: expr.VerdictDrop}})
	rule(&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Lookup{SourceRegister: 1, DestRegister: 0, IsDestRegSet: true, SetName: states.Name, SetID: states.ID})
	// ip saddr { 10.0.0.0/8 } accept
	networks := set(&nftables.Set{KeyType: nftables.TypeIPAddr, Interval: true},
		nftables.SetElement{Key: []byte{10, 0, 0, 0}}, nftables.SetElement{Key: []byte{11, 0, 0, 0}, IntervalEnd: true})
	ipv4 := []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}}}
	rule(append(ipv4, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: networks.Name, SetID: networks.ID}, accept)...)
	// ip daddr 192.168.0.0/16 accept: nft loads the first two bytes only
	rule(append(ipv4, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{192, 168}}, accept)...)
	// iif 1 ct state new tcp dport 22 accept
	rule(&expr.Meta{Key: expr.MetaKeyIIF, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: native(1)},
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(uint32(netfilter.StateNew)), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native(0)},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 22}}, accept)
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}

	found := forward(t, h, unix.AF_INET)
	if len(found) != 1 || found[0].Table != "nftables inet firewall" || !found[0].Drop || found[0].Dropped != nil {
		t.Fatalf("%+v", found)
	}
	got, err := found[0].Rules(found[0].Chain)
	if err != nil {
		t.Fatal(err)
	}
	want := []netfilter.Rule{
		{Action: netfilter.Drop, States: 1 << 0},
		{Action: netfilter.Accept, States: 1 << 1},
		{Action: netfilter.Accept, Src: addresses("10.0.0.0", "10.255.255.255", false)},
		{Action: netfilter.Accept, Dst: addresses("192.168.0.0", "192.168.255.255", false)},
		{Action: netfilter.Accept, In: netfilter.Interface{Index: 1}, States: netfilter.StateNew, Protocol: unix.IPPROTO_TCP, Ports: true},
	}
	if len(got) > 1 && got[0].Action == netfilter.Accept { // a set has no order
		got[0], got[1] = got[1], got[0]
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
	for _, f := range forward(t, h, unix.AF_INET6) { // the same chain, of which two rules are for the other family
		rules, err := f.Rules(f.Chain)
		if err != nil || len(rules) != 5 || !rules[2].Never || !rules[3].Never || rules[4].Never {
			t.Errorf("for IPv6: %+v, %v", rules, err)
		}
	}
}

// TestWithoutCapability: a process that may not read the packet filter is told so.
func TestWithoutCapability(t *testing.T) {
	h := namespace(t)
	iptables(t, "iptables-legacy", "-P FORWARD DROP")
	copyNames(t, h)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &data[0]); err != nil { // of this thread, which ends with the test
		t.Fatal(err)
	}
	if _, err := netfilter.Legacy(h, unix.AF_INET); !errors.Is(err, netfilter.ErrPermission) {
		t.Errorf("iptables-legacy: %v", err)
	}
	if _, err := netfilter.Nftables(h, unix.AF_INET); !errors.Is(err, netfilter.ErrPermission) {
		t.Errorf("nftables: %v", err)
	}
	if err := netfilter.EachFlow(h, func(netip.Addr) bool { return true }); !errors.Is(err, netfilter.ErrPermission) {
		t.Errorf("ctnetlink: %v", err)
	}
	if _, err := netfilter.Drops(h); !errors.Is(err, netfilter.ErrPermission) {
		t.Errorf("ctnetlink statistics: %v", err)
	}
}
