package netfilter

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// recorded is a table that a kernel (6.18, amd64) handed out, once it was filled by
// test/netfilter's rules: what the option for its head says, and then its entries.
func recorded(t testing.TB, name string) (info, entries []byte) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw[:infoSize], raw[infoSize:]
}

func addresses(from, to string, not bool) Addresses {
	return Addresses{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Not: not}
}

func TestRecordedTable(t *testing.T) {
	info, entries := recorded(t, "iptables-legacy")
	f, err := parseTable(layoutOf(unix.AF_INET), info, entries)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := f.Rules("FORWARD")
	if err != nil || !f.Drop || len(rules) != 11 || rules[5].Src != addresses("10.244.0.0", "10.244.255.255", false) {
		t.Errorf("%+v, %+v, %v", f, rules, err)
	}
	for cut := range entries {
		if f, err := parseTable(layoutOf(unix.AF_INET), info, entries[:cut]); err == nil {
			if _, err := f.Rules("FORWARD"); err == nil && cut%8 != 0 {
				t.Fatalf("cut at %d: no error", cut)
			}
		}
	}
}

func FuzzTable(f *testing.F) {
	for _, name := range []string{"iptables-legacy", "ip6tables-legacy"} {
		info, entries := recorded(f, name)
		f.Add(info, entries)
	}
	f.Fuzz(func(_ *testing.T, info, entries []byte) {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			if table, err := parseTable(layoutOf(family), info, entries); err == nil {
				_, _ = table.Rules("FORWARD")
			}
		}
	})
}

// message is a netlink message, with a length of its own.
func message(typ uint16, body ...byte) []byte {
	m := make([]byte, headerSize, headerSize+len(body))
	binary.NativeEndian.PutUint32(m, uint32(headerSize+len(body)))
	binary.NativeEndian.PutUint16(m[4:], typ)
	return append(m, body...)
}

func TestEachMessage(t *testing.T) {
	errno := func(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(-n)) }
	data := message(0xa03, 2, 0, 0, 0)
	for name, c := range map[string]struct {
		piece   []byte
		handed  int
		more    bool
		errored bool
	}{
		"two of more":      {append(data, data...), 2, true, false},
		"the end":          {append(data, message(unix.NLMSG_DONE, errno(0)...)...), 1, false, false},
		"the end, failed":  {message(unix.NLMSG_DONE, errno(5)...), 0, false, true},
		"refused":          {message(unix.NLMSG_ERROR, errno(1)...), 0, false, true},
		"cut":              {data[:len(data)-1], 0, false, true},
		"no header":        {data[:7], 0, false, true},
		"nothing of ours":  {message(0xa03), 0, false, true},
		"length 0":         {make([]byte, 64), 0, false, true},
		"nothing to do":    {message(unix.NLMSG_NOOP), 0, true, false},
		"a longer padding": {append(message(0xa03, 2, 0, 0, 0, 1), 0, 0, 0), 1, true, false},
	} {
		handed := 0
		more, err := eachMessage(c.piece, func([]byte) bool { handed++; return true })
		if handed != c.handed || more != c.more || (err != nil) != c.errored {
			t.Errorf("%s: %d handed on, more %t, %v", name, handed, more, err)
		}
	}
}

// What the dump of one CPU's counters says; those before and behind are others.
func TestStatsDrop(t *testing.T) {
	m := message(0x104, 2, 0, 0, 3, 8, 0, 9, 0, 0, 0, 0, 5, 8, 0, 10, 0, 0, 0, 1, 2, 8, 0, 11, 0, 0, 0, 0, 6)
	if n := statsDrop(m); n != 0x102 {
		t.Errorf("%d", n)
	}
	if n := statsDrop(message(0x104, 2, 0, 0, 3, 99, 0, 10, 0)); n != 0 {
		t.Errorf("garbled: %d", n)
	}
}

func FuzzDump(f *testing.F) {
	f.Add(append(message(0xa03, 2, 0, 0, 0, 8, 0, 1, 0, 'a', 0, 0, 0), message(unix.NLMSG_DONE, 0, 0, 0, 0)...))
	f.Add(message(0x100, 2, 0, 0, 0, 8, 0, 1, 0x80, 4, 0, 1, 0x80))
	f.Fuzz(func(t *testing.T, piece []byte) {
		_, _ = eachMessage(piece, func(m []byte) bool {
			parseChain(m)
			statsDrop(m)
			if src, ok := flowSource(m); ok && !src.IsValid() {
				t.Fatal("no address, and no refusal")
			}
			return true
		})
	})
}

func FuzzElementVerdict(f *testing.F) {
	f.Add([]byte{8, 0, 1, 0, 0xff, 0xff, 0xff, 0xfd, 8, 0, 2, 0, 'a', 'b', 'c', 0})
	f.Fuzz(func(_ *testing.T, raw []byte) { (&Rule{}).setVerdict(elementVerdict(raw)) })
}

// What the machine's expressions hold is outside data, too: none may be trusted
// to be as long as it should.
func FuzzCompare(f *testing.F) {
	f.Add(uint8(srcField), true, []byte{10}, []byte{0xff, 0, 0, 0})
	f.Add(uint8(stateField), false, []byte{0, 0, 0, 0}, []byte{8, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, kind uint8, not bool, data, mask []byte) {
		op := expr.CmpOpEq
		if not {
			op = expr.CmpOpNeq
		}
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			var r Rule
			r.compare(family, register{field(kind), mask}, op, data)
			r.within(family, register{field(kind), nil}, data, mask)
			for _, name := range []string{"conntrack", "state", "mark", "tcp"} {
				r.addMatch(name, uint32(kind%4), data)
			}
		}
	})
}

func TestLoaded(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  bool
	}{
		"loaded":            {map[string]string{"proc/modules": "x 1 0 - Live 0x0\nnf_tables 300 0 - Live 0x0\n"}, true},
		"another's name":    {map[string]string{"proc/modules": "my_nf_tables 300 0 - Live 0x0\n", "lib/modules/6.1/modules.builtin": ""}, false},
		"built in":          {map[string]string{"proc/modules": "", "lib/modules/6.1/modules.builtin": "kernel/net/netfilter/nf_tables.ko\n"}, true},
		"not loaded":        {map[string]string{"proc/modules": "", "lib/modules/6.1/modules.builtin": "kernel/fs/ext4/ext4.ko\n"}, false},
		"no list":           {map[string]string{"proc/modules": ""}, true},
		"no modules at all": {nil, true},
	} {
		root := t.TempDir()
		files := map[string]string{"proc/loadavg": "", "proc/sys/kernel/osrelease": "6.1\n"}
		for p, content := range c.files {
			files[p] = content
		}
		for p, content := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, p)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, p), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		h, err := host.New(root)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := loaded(h, "nf_tables"); got != c.want || err != nil {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
}

func TestMaskedPrefix(t *testing.T) {
	for _, c := range []struct {
		data, mask []byte
		want       Addresses
	}{
		{[]byte{10}, nil, addresses("10.0.0.0", "10.255.255.255", false)},
		{[]byte{10, 244, 0, 0}, []byte{255, 252, 0, 0}, addresses("10.244.0.0", "10.247.255.255", false)},
		{[]byte{10, 244, 0, 0}, []byte{255, 0, 255, 0}, Addresses{}}, // nobody makes such
		{[]byte{0, 0, 0, 0}, []byte{0, 0, 0, 0}, Addresses{}},
		{[]byte{10, 244, 0, 0, 1}, nil, Addresses{}},
	} {
		if got := comparedAddresses(unix.AF_INET, c.data, c.mask, false); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v/%v: %+v, want %+v", c.data, c.mask, got, c.want)
		}
	}
}
