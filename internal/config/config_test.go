package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestParse(t *testing.T) {
	c, err := Parse("my.yaml", []byte(`
listen: 127.0.0.1:9999
logs:
  files: [/var/log/mine]
conditions:
  minSeverity: warning
probes:
  files:
    period: 30s
    thresholds:
      table: {warning: 50}
  threads:
    enabled: false
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:9999" || c.MinSeverity != problem.Warning || len(c.LogFiles) != 1 {
		t.Errorf("%+v", c)
	}
	for _, p := range c.Probes {
		switch p.Name() {
		case "files":
			if p.Period != 30*time.Second || !p.Enabled {
				t.Errorf("files: %+v", p)
			}
		case "threads":
			if p.Enabled {
				t.Error("threads is enabled")
			}
		default:
			if !p.Enabled {
				t.Errorf("%s is disabled", p.Name())
			}
		}
	}
}

// TestOverwritesOnlyWhatIsSet: the critical level that the file does not name
// keeps its default.
func TestOverwritesOnlyWhatIsSet(t *testing.T) {
	c, err := Parse("x", []byte("probes: {files: {thresholds: {table: {warning: 50}}}}"))
	if err != nil {
		t.Fatal(err)
	}
	table := lookup(t, c, "files", "table")
	if table != "{50 95}" {
		t.Errorf("table %s", table)
	}
}

func TestMistakesNameFileAndLine(t *testing.T) {
	for _, tc := range []struct{ name, yaml, want string }{
		{"misspelt key", "listen: x\nprobess: {}\n", `f.yaml:2: unknown key "probess"`},
		{"unknown probe", "probes:\n  files: {}\n  threadz: {}\n", `f.yaml:3: unknown key "threadz"`},
		{"unknown threshold", "probes:\n  files:\n    thresholds:\n      tabel: {warning: 1}\n", `f.yaml:4: unknown key "tabel"`},
		{"wrong type", "probes:\n  files:\n    enabled: perhaps\n", "f.yaml:3: must be true or false, not `perhaps`"},
		{"no duration", "probes:\n  files:\n    period: soon\n", "f.yaml:3: must be a duration, such as 10s or 5m, not `soon`"},
		{"a bare number is no duration", "probes:\n  files:\n    period: 10\n", "f.yaml:3: must be a duration, such as 10s or 5m, not `10`"},
		{"one text in a list's place", "logs:\n  files: /var/log/x\n", "f.yaml:2: must be a list, not `/var/log/x`"},
		{"a list in a mapping's place", "logs: []\n", "f.yaml:1: must be a mapping of keys to values"},
		{"a level that is no number", "probes: {files: {thresholds: {table: {warning: high}}}}\n", "f.yaml:1: must be a number that fits, not `high`"},
		{"no port", "listen: localhost\n", "f.yaml:1: listen: address localhost: missing port in address"},
		{"too high a port", "listen: :99999\n", `f.yaml:1: listen: "99999" is no port`},
		{"a look into the future", "logs:\n  lookBack: -5m\n", "f.yaml:2: logs.lookBack: lies in the future"},
		{"a relative path", "logs:\n  files:\n    - /var/log/x\n    - mine.log\n", `f.yaml:4: logs.files.1: "mine.log" is no absolute path`},
		{"a state file somewhere", "stateFile: state.json\n", `f.yaml:1: stateFile: "state.json" is no absolute path`},
		{"no folder at all", "runDir: ''\n", `f.yaml:1: runDir: "" is no absolute path`},
		{"quiet before the line", "npd: {quiet: -1h}\n", "f.yaml:1: npd.quiet: is less than nothing"},
		{"a period too short", "probes:\n  files:\n    period: 10ms\n", "f.yaml:3: probes.files.period: 10ms is shorter than 1s"},
		{"a timeout too short", "probes:\n  files:\n    timeout: 10ms\n", "f.yaml:3: probes.files.timeout: 10ms is shorter than 100ms"},
		{"no Node's name", "kubernetes: {nodeName: Node_1}\n", "f.yaml:1: kubernetes.nodeName: is no name of a Node"},
		{"levels the wrong way round", "probes:\n  files:\n    thresholds:\n      table:\n        warning: 99\n        critical: 90\n", "f.yaml:4: probes.files.thresholds.table: warning (99 %) lies above critical (90 %)"},
		{"a share above 100", "probes:\n  files:\n    thresholds:\n      table: {critical: 950}\n", "f.yaml:4: probes.files.thresholds.table"},
		{"no severity", "conditions:\n  minSeverity: high\n", "f.yaml:2: conditions.minSeverity: is none of info, warning, critical"},
		{"broken YAML", "probes:\n  files: [\n", "f.yaml:"},
		{"two documents", "listen: a\n---\nlisten: b\n", "more than one YAML document"},
		{"not a mapping", "- a\n", "f.yaml:1: must be a mapping of keys to values"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(tc.yaml))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

// TestQuiet: how long after its last line a kind is over can be changed, whoever it comes from.
func TestQuiet(t *testing.T) {
	c, err := Parse("f.yaml", []byte("logs: {quiet: {PLEGUnhealthy: 20s, MyFault: 2h}}\nrules: [{kind: MyFault, pattern: broke}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[problem.Kind]time.Duration{
		problem.PLEGUnhealthy: 20 * time.Second, "MyFault": 2 * time.Hour, problem.QOSCgroupFailure: 15 * time.Minute,
	} {
		if d, _ := c.Catalogue.Get(kind); d.QuietTime() != want {
			t.Errorf("%s: %v, want %v", kind, d.QuietTime(), want)
		}
	}
	if d, _ := problem.Builtin().Get(problem.PLEGUnhealthy); d.QuietTime() != 15*time.Minute {
		t.Errorf("the built-in catalogue has become %v", d.QuietTime())
	}
}

// TestOwnRules: users' rules and node-problem-detector's files are read; their
// mistakes name the file, the line and the rule.
func TestOwnRules(t *testing.T) {
	dir := t.TempDir()
	good, ownLog, bad := filepath.Join(dir, "good.json"), filepath.Join(dir, "log.json"), filepath.Join(dir, "bad.json")
	for file, text := range map[string]string{
		good: `{"plugin": "kmsg", "logPath": "/dev/kmsg", "source": "kernel-monitor", "rules": [
			{"type": "temporary", "reason": "OddThing", "pattern": "odd thing .*"}]}`,
		ownLog: `{"plugin": "filelog", "logPath": "/var/log/acme.log", "source": "acme-monitor",
			"pluginConfig": {"timestamp": "^time=\"(\\S*)\"", "message": "msg=\"([^\"]*)\"", "timestampFormat": "2006-01-02T15:04:05Z07:00"},
			"rules": [{"type": "temporary", "reason": "AcmeThing", "pattern": "acme thing .*"}]}`,
		bad: `{"plugin": "kmsg", "rules": [
			{"type": "permament", "reason": "OddThing", "pattern": "odd"}]}`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Parse("f.yaml", []byte("rules:\n  - {kind: MyFault, condition: MyCondition, severity: critical, pattern: 'my (?P<device>sd.) broke', subject: '{device}', message: '{device} broke'}\nnpd: {configs: ["+good+", "+ownLog+"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := c.Catalogue.Get("MyFault"); !ok || d.Condition != "MyCondition" {
		t.Errorf("MyFault: %+v", d)
	}
	if set := c.FileRules["/var/log/acme.log"]; !slices.Contains(c.LogFiles, "/var/log/acme.log") || set == nil || len(c.FileRules) != 1 {
		t.Errorf("the log that a file names is not read with its rules: %q, %v", c.LogFiles, c.FileRules)
	}
	for kind, r := range map[problem.Kind]*journal.Record{
		"MyFault":           {Message: []byte("my sda broke")},
		"OddThing":          {Message: []byte("an odd thing happened"), Kernel: true, Source: "kmsg"},
		problem.ForkRefused: {Message: []byte("fork/exec /usr/bin/runc: resource temporarily unavailable"), Unit: "containerd.service"},
	} {
		if claims := c.Rules.Match(r); len(claims) != 1 || claims[0].Kind != kind {
			t.Errorf("%s: %+v", kind, claims)
		}
	}
	for _, tc := range []struct{ yaml, want string }{
		{"rules:\n  - kind: A\n    pattern: a\n  - kind: B\n    pattern: '('\n", "f.yaml:5: rules.1.pattern: rule B: "},
		{"rules:\n  - {kind: A, patern: a}\n", `f.yaml:2: unknown key "patern"`},
		{"npd: {configs: [" + bad + "]}\n", bad + ":2"},
		{"npd: {configs: [/no/such.json, " + bad + ", " + good + ", /nor/such.json]}\n", "npd.configs.3: open /nor/such.json"},
		{"logs: {quiet: {A: 1m, B: 1m}}\n", "logs.quiet.B: there is no such kind"},
		{"npd:\n  configs:\n    - /no/such.json\n", "f.yaml:3: npd.configs.0: open /no/such.json"},
		{"logs:\n  quiet:\n    PLEGUnhealty: 1m\n", "f.yaml:3: logs.quiet.PLEGUnhealty: there is no such kind"},
		{"logs: {quiet: {KubeletMemoryHigh: 1m}}\n", "f.yaml:1: logs.quiet.KubeletMemoryHigh: no log line tells of KubeletMemoryHigh"},
		{"logs: {quiet: {PLEGUnhealthy: 0s}}\n", "f.yaml:1: logs.quiet.PLEGUnhealthy: 0s is no time to be quiet for"},
		{"logs: {quiet: {PLEGUnhealthy: soon}}\n", "f.yaml:1: must be a duration, such as 10s or 5m, not `soon`"},
		{"logs:\n  units:\n    mine: kublet\n", `f.yaml:3: logs.units.mine: unknown source "kublet"`},
	} {
		if _, err := Parse("f.yaml", []byte(tc.yaml)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: error %v, want %q", tc.yaml, err, tc.want)
		}
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	_, err := Parse("f.yaml", []byte("a: 1\nb: 2\nprobes:\n  c: {}\n"))
	if err == nil || strings.Count(err.Error(), "unknown key") != 3 {
		t.Errorf("error %v, want three unknown keys", err)
	}
}

func TestEmptyFileMeansDefaults(t *testing.T) {
	for _, raw := range []string{"", "# nothing\n", "probes: {}\n", "probes:\n"} {
		if c, err := Parse("x", []byte(raw)); err != nil || c.Listen != ":20258" || len(c.Probes) == 0 {
			t.Errorf("%q: %v, %+v", raw, err, c)
		}
	}
}

func TestLoadMissing(t *testing.T) {
	if _, err := Load(t.TempDir() + "/absent.yaml"); err == nil {
		t.Error("a file that was asked for and is absent is an error")
	}
	file := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(file, []byte("listen: :1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(file); err != nil || c.Listen != ":1" {
		t.Errorf("%v, %+v", err, c.Listen)
	}
}

// TestDefaultsAreSound: every probe's own defaults pass the checks that a
// user's values must pass.
func TestDefaultsAreSound(t *testing.T) {
	c := Default()
	if bad := c.check(); len(bad) > 0 {
		t.Errorf("%+v", bad)
	}
	if !c.Kmsg || c.LookBack != 10*time.Minute || !c.Kube.Publish || !c.Kube.Events {
		t.Errorf("the defaults are others than the documentation's: %+v", c)
	}
	names := map[string]bool{}
	for _, p := range c.Probes {
		if names[p.Name()] {
			t.Errorf("two probes are called %s", p.Name())
		}
		names[p.Name()] = true
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("probes: {files: {thresholds: {table: {warning: 50}}}}"))
	f.Add([]byte("listen: [\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := Parse("f", raw); err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("error does not name the file: %v", err)
		}
	})
}

// lookup is a probe's threshold as it prints.
func lookup(t *testing.T, c Config, probe, key string) string {
	t.Helper()
	for _, p := range c.Probes {
		if p.Name() != probe {
			continue
		}
		v := reflect.ValueOf(p.Thresholds).Elem()
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("yaml") == key {
				return fmt.Sprint(v.Field(i).Interface())
			}
		}
	}
	t.Fatalf("no threshold %s of probe %s", key, probe)
	return ""
}

// TestNames: what may be a Node's name, and what may stand before a condition's.
func TestNames(t *testing.T) {
	long := strings.Repeat("a", 300)
	for name, want := range map[string]bool{
		"n": true, "node-1.example.com": true, long[:253]: true,
		"": false, "-n": false, "n.": false, "N": false, "a/b": false, "a\n": false, long[:254]: false,
	} {
		if ValidNodeName(name) != want {
			t.Errorf("node %.20q of %d bytes: %t", name, len(name), !want)
		}
	}
	for prefix, want := range map[string]bool{
		"": true, "Vitals": true, "example.com/": true, "example.com/Vitals": true, long[:202] + "/V" + long[:60]: true,
		"vitals": false, "/": false, "example.com/vitals": false, "a-/": false, "V/": false,
		long[:203] + "/": false, "V" + long[:61]: false,
	} {
		if validPrefix(prefix) != want {
			t.Errorf("prefix %.20q of %d bytes: %t", prefix, len(prefix), !want)
		}
	}
}
