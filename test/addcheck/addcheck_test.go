// Package addcheck adds two checks as docs/contributing.md says, to a copy of the
// project, and counts what had to be touched: a log rule that recognises one more
// wording, and a probe with a kind of its own.
package addcheck

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/test/checkout"
)

// edit puts text into a file of the project, behind the only place where after
// stands. Without after the file is a new one.
type edit struct{ file, after, text string }

func TestAddALogRule(t *testing.T) {
	p := newCopy(t)
	p.apply([]edit{
		{"internal/rules/builtin_clock.go", "	return []Rule{\n", `		{
			Kind: problem.ClockJumped, Name: "openntpd", Sources: Systemd,
			Pattern: "set local clock to .* [(]offset (?P<seconds>[-+]?[0-9]+)",
			Message: "the system's clock was set by {seconds} s",
		},
`},
		{"internal/rules/testdata/lines/clock.txt", "look-alikes (-) of the rules about jumps of the clock.\n", `
[ClockJumped/openntpd]
+ Nov 22 10:00:00 n1 ntpd[400]: set local clock to Sun Nov 22 11:00:00 UTC 2026 (offset 3600.123s)
+ Nov 22 10:00:00 n1 ntpd[400]: set local clock to Sun Nov 22 09:00:00 UTC 2026 (offset -3600.123s)
+ 2026-11-22T10:00:00.123456+00:00 n1 ntpd[400]: set local clock to Sun Nov 22 11:00:00 UTC 2026 (offset 3600.123s)
- Nov 22 10:00:00 n1 ntpd[400]: adjusting local clock by 0.123456s
- Nov 22 10:00:00 n1 ntpd[400]: clock is now synced
`},
	})
	p.touched(2)
	p.run("go", "test", "./internal/rules", "-run", "TestWordings|TestEveryLogKindHasARule|TestOrdinaryLinesClaimNothing|TestMessagesAreFilled|TestNoBuiltinRuleReadsEveryLine")
	// It is known where people ask.
	if out := p.run("go", "run", "./cmd/agent", "match"); !strings.Contains(out, "ClockJumped\t") {
		t.Errorf("agent match does not know the line:\n%s", out)
	}
}

func TestAddAProbe(t *testing.T) {
	p := newCopy(t)
	sample := func(name string) string {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	p.apply([]edit{
		{file: "internal/probes/keys.go", text: sample("keys.go.txt")},
		{file: "internal/probes/keys_test.go", text: sample("keys_test.go.txt")},
		{"internal/probes/list.go", "	specs := []Spec{\n", "		{Probe: keys, Period: time.Minute, Thresholds: &keys.Thresholds},\n"},
		{"internal/probes/list.go", "func All() []Spec {\n", "	keys := NewKeys()\n"},
		{"internal/problem/catalogue_runtime.go", "	RuntimeBinaryMismatch   Kind = \"RuntimeBinaryMismatch\"\n", "	KeyQuotaNearLimit       Kind = \"KeyQuotaNearLimit\"\n"},
		{"internal/problem/catalogue_runtime.go", "func runtimeKinds() []Definition {\n	return []Definition{\n", `		{
			Kind: KeyQuotaNearLimit, Condition: ContainerRuntimeUnhealthy,
			Scope: NodeScope, Severity: Critical, Sources: Level,
			Resources: []string{"kernel_keys"},
			Summary:   "Root's quota of kernel keys is nearly used up.",
			Meaning:   "At the quota no container starts: runc cannot make its session keyring (disk quota exceeded).",
			Evidence:  []string{"cat /proc/key-users", "cat /proc/sys/kernel/keys/root_maxkeys"},
			LookAlike: "\"Disk quota exceeded\" of a file system.",
			Remedy:    "Raise kernel.keys.root_maxkeys, and look for containers that are made and never removed.",
			Next:      "cat /proc/key-users",
		},
`},
		{"internal/problem/catalogue_builtin_test.go", "			\"ContainerRuntimeUnhealthy\", \"", "KeyQuotaNearLimit "},
		{"internal/problem/catalogue_builtin_test.go", "const resources = \"", "kernel_keys "},
	})
	p.touched(5)
	// What is made of the code comes by itself.
	for _, g := range []string{"./docs/gen", "./deploy/alerts", "./deploy/schema"} {
		p.run("go", "run", g)
	}
	p.run("go", "vet", "./internal/problem", "./internal/probes")
	p.run("go", "test", "./internal/problem", "./internal/config", "./docs/gen", "./deploy/alerts", "./deploy/schema")
	p.run("go", "test", "./internal/probes", "-run", "TestEvaluateKeys|FuzzParseKeyUsers")
	p.run("go", "test", "./test", "-run", "TestLayers|TestReadme|TestProbesAndCatalogueAgree")
	if out := p.run("go", "run", "./cmd/agent", "explain", "KeyQuotaNearLimit"); !strings.Contains(out, "runc cannot make its session keyring") {
		t.Errorf("agent explain does not know it:\n%s", out)
	}
}

// project is a copy of this one.
type project struct {
	t     *testing.T
	dir   string
	files []string // that were touched
}

func newCopy(t *testing.T) *project {
	t.Helper()
	return &project{t: t, dir: checkout.Copy(t, "../..")}
}

func (p *project) apply(edits []edit) {
	p.t.Helper()
	for _, e := range edits {
		file := filepath.Join(p.dir, e.file)
		old, err := os.ReadFile(file)
		if err != nil && e.after != "" {
			p.t.Fatal(err)
		}
		before, behind, found := strings.Cut(string(old), e.after)
		if !found || e.after != "" && strings.Contains(behind, e.after) {
			p.t.Fatalf("%s has no single %q any more: put the sample check elsewhere", e.file, e.after)
		}
		if err := os.WriteFile(file, []byte(before+e.after+e.text+behind), 0o644); err != nil {
			p.t.Fatal(err)
		}
		if !slices.Contains(p.files, e.file) {
			p.files = append(p.files, e.file)
		}
	}
}

// touched: a check takes no more files than this.
func (p *project) touched(most int) {
	p.t.Helper()
	if len(p.files) > most {
		p.t.Errorf("%d files must be touched, %d are allowed: %q", len(p.files), most, p.files)
	}
}

// run runs a command in the copy. Its standard input is the rule's line.
func (p *project) run(args ...string) string {
	p.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = p.dir, checkout.Environ()
	cmd.Stdin = strings.NewReader("Nov 22 10:00:00 n1 ntpd[400]: set local clock to Sun Nov 22 11:00:00 UTC 2026 (offset 3600.123s)\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s: %v\n%.4000s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
