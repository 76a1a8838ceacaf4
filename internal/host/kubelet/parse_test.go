package kubelet

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseLimit(t *testing.T) {
	for s, want := range map[string]limit{
		"100Mi": {quantity: 100 << 20}, "1.5Gi": {quantity: 1.5 * (1 << 30)}, "100M": {quantity: 1e8}, "1k": {quantity: 1000},
		"2048": {quantity: 2048}, "1e9": {quantity: 1e9}, "1E3": {quantity: 1000}, "2E": {quantity: 2e18}, "+5": {quantity: 5},
		"500m": {quantity: 0.5}, ".5Ki": {quantity: 512}, "7Ei": {quantity: 7 << 60},
		"10%": {percent: 10}, "0%": {}, "100%": {percent: 100}, "12.5%": {percent: 12.5},
	} {
		if got, err := parseLimit(s); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "%", "-1%", "101%", "NaN%", "Inf%", "1e1%", "0", "-1", "--1", "+", "Mi", "100MiB", "100 Mi", "100mi", "K", "1K",
		"1.2.3", "0x10", "1_000", "Inf", "1e99", "1e", "9Ei", "1e19", "1Mi ", "１",
	} {
		if got, err := parseLimit(s); err == nil {
			t.Errorf("%q is taken for %+v", s, got)
		}
	}
}

func FuzzParseLimit(f *testing.F) {
	for _, s := range []string{"100Mi", "10%", "1e9", "1.5E", "+.", "%", "9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := parseLimit(s)
		if err != nil {
			return
		}
		if l.percent < 0 || l.percent > 100 || l.quantity < 0 || l.quantity > math.MaxInt64 || math.IsNaN(l.percent+l.quantity) {
			t.Fatalf("%q: %+v", s, l)
		}
		if (l.quantity > 0) == strings.HasSuffix(s, "%") {
			t.Fatalf("%q: %+v", s, l)
		}
	})
}

func TestSplitWordsAndExpand(t *testing.T) {
	env := map[string]string{"TWO": "--a=1 --b='x y'", "EMPTY": "", "ONE": "1"}
	for line, want := range map[string][]string{
		"":                         nil,
		"  a\tb  ":                 {"a", "b"},
		`a "b c" 'd "e'`:           {"a", "b c", `d "e`},
		`--x="a b",c`:              {"--x=a b,c"},
		`a\ b "c\"d" 'e\f'`:        {"a b", `c"d`, `e\f`},
		`"" ''`:                    {"", ""},
		`"open`:                    {"open"},
		`end\`:                     {"end"},
		"k $TWO z":                 {"k", "--a=1", "--b=x y", "z"},
		"k $EMPTY $ABSENT z":       {"k", "z"},
		"k ${TWO}":                 {"k", "--a=1 --b='x y'"},
		"k --x=${ONE}/${ONE}${NO}": {"k", "--x=1/1"},
		"k '$TWO' --x=$ONE":        {"k", "$TWO", "--x=$ONE"},
		"k $$ONE a$$ $ ${ ${x-y}":  {"k", "$ONE", "a$", "$", "${", "${x-y}"},
	} {
		if got := expand(splitWords(line), env); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestLogicalLines(t *testing.T) {
	in := "# c\n; c\n\na=b \\\n# in between\n  c \\\n;too\n d\r\n\ne\\\n\nf\\"
	want := []string{"a=b  c  d", "e ", "f"}
	if got := logicalLines(in); !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseFlags(t *testing.T) {
	words := strings.Fields("/usr/bin/wrap kubelet --a=1 --b 2 -v 3 --c --d_e --pod-max-pids -1 --rotate-certificates false --x= --last")
	want := []arg{
		{"a", "1", true},
		{"b", "2", true},
		{"v", "3", true},
		{"c", "", false},
		{"d-e", "", false},
		{"pod-max-pids", "-1", true},
		{"rotate-certificates", "", false},
		{"x", "", true},
		{"last", "", false},
	}
	if got := parseFlags(words); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestSetFlagsRefusesNonsense(t *testing.T) {
	for _, f := range []string{
		"--cgroups-per-qos=perhaps", "--pod-max-pids=x", "--healthz-port=", "--eviction-hard=memory.available",
		"--eviction-hard=memory.available<", "--eviction-soft=a<1%,b", "--eviction-soft-grace-period=a=b",
		"--eviction-minimum-reclaim=memory.available", "--eviction-minimum-reclaim=memory.available=-1Gi",
	} {
		var c config
		if err := c.setFlags(parseFlags([]string{f}), "the unit"); err == nil || !strings.HasPrefix(err.Error(), "the unit: flag --") {
			t.Errorf("%s: error %v", f, err)
		}
	}
}

func TestDropInsOfUnits(t *testing.T) {
	root := tree(t, map[string]string{
		"lib/systemd/system/kubelet.service":                     "[Service]\nExecStart=/usr/bin/kubelet\nEnvironment=A=lib B=lib \"C=c d\"\n[Install]\nExecStart=/no\n",
		"usr/lib/systemd/system/kubelet.service.d/20-b.conf":     "[Service]\nExecStart=\nExecStart=/usr/bin/kubelet --cgroup-root=${A}-${B}-${C}\n",
		"etc/systemd/system/kubelet.service.d/10-a.conf":         "[Service]\nEnvironment=A=etc\nEnvironmentFile=/gone\nEnvironmentFile=\nEnvironmentFile=-/etc/env\n",
		"usr/lib/systemd/system/kubelet.service.d/10-a.conf":     "[Service]\nEnvironment=A=hidden\n",
		"run/systemd/system/kubelet.service.d/30-not-a-conf.txt": "[Service]\nExecStart=/no\n",
		"etc/env": "# c\nexport B='of the file'\n",
	})
	s, err := read(t, root)
	if err != nil || s.CgroupRoot != "etc-of the file-c d" {
		t.Errorf("cgroup root %q, %v", s.CgroupRoot, err)
	}
	want := []string{
		"/lib/systemd/system/kubelet.service", "/etc/systemd/system/kubelet.service.d/10-a.conf",
		"/usr/lib/systemd/system/kubelet.service.d/20-b.conf", "/etc/env",
	}
	if !reflect.DeepEqual(s.From, want) {
		t.Errorf("from %q, want %q", s.From, want)
	}
}

func FuzzUnit(f *testing.F) {
	files, err := filepath.Glob("testdata/*/root/etc/systemd/system/*.service")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil { // one is a link to nothing
			f.Add(b, []byte("KUBELET_ARGS=\"--a 'b c'\"\n"))
		}
	}
	f.Add([]byte("[Service]\nExecStart=$A ${A} $$ \\\n\"'\\"), []byte("A=$A\nexport A='x"))
	f.Fuzz(func(t *testing.T, unit, env []byte) {
		svc := service{env: map[string]string{}, specifiers: specifiers("kubelet.service", "node")}
		svc.merge(unit)
		words := expand(splitWords(svc.execStart), parseEnvFile(env))
		flags := parseFlags(words)
		if len(flags) > len(words) {
			t.Fatalf("%d flags from %d words", len(flags), len(words))
		}
		var c config
		if c.setFlags(flags, "unit") == nil {
			var s Settings
			if c.fill(&s) == nil && (s.HealthzPort < 0 || s.HealthzPort > 65535 || s.PodPidsLimit < -1) {
				t.Fatalf("nonsense accepted: %+v", s)
			}
		}
	})
}

func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/*/root/var/lib/kubelet/config.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("kind: KubeletConfiguration\nevictionHard: {a: [1], b: {c: d}, ? [x] : y}\n"))
	f.Add([]byte("kind: KubeletConfiguration\nevictionSoft: &a {x: 1Gi}\nevictionHard: *a\nevictionSoftGracePeriod: null\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c config
		if c.merge(b) != nil {
			return
		}
		if c.Kind != "KubeletConfiguration" {
			t.Fatal("another kind of file was accepted")
		}
		c.defaultEviction()
		var s Settings
		if c.fill(&s) != nil {
			return
		}
		for signal, l := range s.EvictionHard {
			if l.Signal != signal || l.Quantity > 0 == (l.Percent > 0) {
				t.Fatalf("threshold %+v", l)
			}
		}
	})
}

// FuzzCertificates: whatever stands in the files of certificates is told, and no
// more than that.
func FuzzCertificates(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("current-context: a\ncontexts: [{name: a, context: {user: u}}]\nusers: [{name: u, user: {client-certificate-data: TUlJ}}]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if from, until, err := parseCertificate(append([]byte(nil), b...)); err == nil && from.IsZero() && until.IsZero() {
			t.Error("neither a time nor an error")
		}
		if file, data, err := parseKubeConfigUser(b); err != nil && (file != "" || data != nil) {
			t.Errorf("%q %q beside %v", file, data, err)
		}
	})
}

// FuzzParseQuantity: what is taken for a quantity is a number of zero and more that
// the kernel's counters can reach.
func FuzzParseQuantity(f *testing.F) {
	for _, s := range []string{"0", "1.5Gi", "100M", "1e9", "+2048", "5%", "10n", "Inf", "0x1p4", "1_000", "1e999", "-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if q, err := parseQuantity(s); err == nil && !(q >= 0 && q <= math.MaxInt64) {
			t.Errorf("%q is %v", s, q)
		}
		_, _ = parseReclaim(s)
	})
}
