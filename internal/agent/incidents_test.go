package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

// This file plays the incidents of test/incidents through the agent on a clock of
// its own: log lines through the rules, what probes saw through the tracker, all
// through the diagnosis and the reporters. test/incidents/README.md describes the
// files; incidents_test.go's golden files stand beside them.

// incident is what happened, as an incident's file tells it. Times are counted
// from when the agent was started.
type incident struct {
	About string `yaml:"about"`
	// Node is the recorded node that it happens on; Runs are the probes that look
	// at that node themselves, with Config.
	Node string `yaml:"node"`
	// Root is the folder with the files that are otherwise there: root by default.
	Root   string   `yaml:"root"`
	Runs   []string `yaml:"runs"`
	Config string   `yaml:"config"`
	// Sees is what the other probes found.
	Sees     []sight               `yaml:"sees"`
	Measures []problem.Measurement `yaml:"measures"`
	// Absent are probes to which nothing applies, Blind those that fail, and why.
	Absent map[string]string `yaml:"absent"`
	Blind  map[string]string `yaml:"blind"`
	Logs   []wroteLine       `yaml:"logs"`
	// Look is when the report is made.
	Look time.Duration `yaml:"look"`
}

// sight is a verdict that a probe gives in each run between From and Until.
type sight struct {
	Kind     problem.Kind     `yaml:"kind"`
	Subject  string           `yaml:"subject"`
	State    problem.State    `yaml:"state"`
	Severity problem.Severity `yaml:"severity"`
	Scope    problem.Scope    `yaml:"scope"`
	Message  string           `yaml:"message"`
	Evidence []string         `yaml:"evidence"`
	Holders  []problem.Holder `yaml:"holders"`
	Touches  []problem.Ref    `yaml:"touches"`
	Refused  bool             `yaml:"refused"`
	From     time.Duration    `yaml:"from"`
	Until    time.Duration    `yaml:"until"`
	// Every, if set, has it come and go: it is seen in every second stretch of it.
	Every time.Duration `yaml:"every"`
}

// wroteLine is a line that a program wrote, Times times, Every so often.
type wroteLine struct {
	At    time.Duration `yaml:"at"`
	From  string        `yaml:"from"`
	Line  string        `yaml:"line"`
	Times int           `yaml:"times"`
	Every time.Duration `yaml:"every"`
}

// incidentBoot is when the agent starts: so long after the boot.
const incidentBoot = 26 * time.Hour

// playClock is the node's clock.
type playClock struct{ now time.Duration }

func (c *playClock) Boot() time.Duration { return c.now }
func (c *playClock) Wall() time.Time {
	return time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Add(c.now - incidentBoot)
}

func readIncident(t *testing.T, file string) incident {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	var in incident
	if err := d.Decode(&in); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	in.Node = cmp.Or(in.Node, "healthy-k6.12")
	return in
}

// player is an agent that lives through an incident.
type player struct {
	t       *testing.T
	in      incident
	clock   *playClock
	state   *state
	looked  map[string]problem.Report // of the probes that ran
	history history
}

func newPlayer(t *testing.T, dir string, in incident) *player {
	t.Helper()
	root := fixtures.Node(t, in.Node)
	overlay(t, filepath.Join(dir, cmp.Or(in.Root, "root")), root)
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(dir, []byte("logs: {files: [], journal: [], kmsg: false}\n"+in.Config))
	if err != nil {
		t.Fatal(err)
	}
	p := &player{t: t, in: in, clock: &playClock{incidentBoot}, looked: map[string]problem.Report{}}
	h.Clock = p.clock
	a := New(h, c, "test")
	a.facts = problem.HostFacts{Node: "node-1", OS: "Debian GNU/Linux 12 (bookworm)", Kernel: a.facts.Kernel, Cgroup: "v2", CPUs: 8, Memory: 32 << 30, Agent: "test"}
	a.node.Once = true
	for _, spec := range a.specs {
		if slices.Contains(in.Runs, spec.Name()) {
			p.looked[spec.Name()] = p.look(a, spec)
		}
	}
	if len(p.looked) != len(in.Runs) {
		t.Fatalf("of %v only %v are probes", in.Runs, slices.Collect(maps.Keys(p.looked)))
	}
	p.state = a.newState(false)
	p.state.takeIn(logBatch{status: []problem.LogStatus{{Source: "journal"}, {Source: kmsgName}}})
	p.history = history{p: p}
	return p
}

// look has a probe look at the recording, twice if it compares, some seconds apart.
func (p *player) look(a *Agent, spec probes.Spec) problem.Report {
	if spec.Counters {
		p.clock.now = incidentBoot - 10*time.Second
		a.run(context.Background(), spec)
		p.clock.now = incidentBoot
	}
	r, _ := a.run(context.Background(), spec)
	return r
}

// overlay copies an incident's own files over the recorded ones.
func overlay(t *testing.T, from, to string) {
	t.Helper()
	if _, err := os.Stat(from); err != nil {
		return
	}
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		inner, _ := filepath.Rel(from, path)
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		full := filepath.Join(to, inner)
		return errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, raw, 0o644))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// moment is something that happens at a time.
type moment struct {
	at time.Duration
	do func()
}

// play lets time pass until the report is due, and makes it.
func (p *player) play() *problem.Snapshot {
	p.t.Helper()
	var all []moment
	for _, spec := range p.state.agent.specs {
		for at := time.Duration(0); at <= p.in.Look; at += spec.Period {
			all = append(all, moment{at, func() { p.state.observe(p.report(spec)) }})
		}
	}
	r := resolver{node: p.state.agent.node}
	for _, l := range p.in.Logs {
		for i := range max(l.Times, 1) {
			all = append(all, moment{l.At + time.Duration(i)*l.Every, func() { p.write(&r, l) }})
		}
	}
	p.checkSights()
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	for _, m := range all {
		if m.at > p.in.Look {
			break
		}
		p.clock.now = incidentBoot + m.at
		m.do()
		p.state.tracker.Tick(p.clock.now)
		p.history.note()
	}
	p.clock.now = incidentBoot + p.in.Look
	p.state.tracker.Tick(p.clock.now)
	p.history.note()
	return p.state.snapshot()
}

// report is what a probe says now.
func (p *player) report(spec probes.Spec) problem.Report {
	now := p.clock.now - incidentBoot
	r, ran := p.looked[spec.Name()]
	if !ran {
		r = problem.Report{Probe: spec.Name(), Kinds: spec.Kinds(), Period: spec.Period}
	}
	r.Begun, r.Ended = p.clock.now, p.clock.now
	r.Result.Verdicts = slices.Clone(r.Result.Verdicts)
	if why := p.in.Absent[spec.Name()]; why != "" {
		r.Err = problem.NotApplicablef("%s", why)
	}
	if why := p.in.Blind[spec.Name()]; why != "" {
		r.Err = errors.New(why)
	}
	for _, s := range p.in.Sees {
		if !slices.Contains(spec.Kinds(), s.Kind) || now < s.From || s.Until > 0 && now >= s.Until || s.Every > 0 && (now-s.From)/s.Every%2 == 1 {
			continue
		}
		r.Result.Verdicts = append(r.Result.Verdicts, problem.Verdict{
			Kind: s.Kind, Subject: s.Subject, State: cmp.Or(s.State, problem.Wrong), Severity: cmp.Or(s.Severity, problem.Critical), Scope: s.Scope,
			Message: s.Message, Evidence: s.Evidence, Holders: s.Holders, Touches: s.Touches, Refused: s.Refused,
		})
	}
	for _, m := range p.in.Measures {
		if p.measurer(m.Resource) == spec.Name() {
			r.Result.Measurements = append(slices.Clone(r.Result.Measurements), m)
		}
	}
	return r
}

// measurer is the probe that decides the kind to which a resource belongs.
func (p *player) measurer(resource string) string {
	for _, d := range p.state.agent.catalogue.All() {
		if !slices.Contains(d.Resources, resource) {
			continue
		}
		for _, spec := range p.state.agent.specs {
			if slices.Contains(spec.Kinds(), d.Kind) {
				return spec.Name()
			}
		}
	}
	p.t.Fatalf("nobody measures %q", resource)
	return ""
}

// checkSights: each verdict is one that some probe may give.
func (p *player) checkSights() {
	p.t.Helper()
	for _, s := range p.in.Sees {
		if !slices.ContainsFunc(p.state.agent.specs, func(spec probes.Spec) bool { return slices.Contains(spec.Kinds(), s.Kind) }) {
			p.t.Fatalf("no probe decides %s", s.Kind)
		}
		if s.Message == "" {
			p.t.Fatalf("%s says nothing", s.Kind)
		}
	}
}

// write has a program write a line, and the rules read it.
func (p *player) write(r *resolver, l wroteLine) {
	p.t.Helper()
	rec, ok := writers()[l.From]
	if !ok {
		p.t.Fatalf("nobody is called %q", l.From)
	}
	rec.Message, rec.Time, rec.Boot = []byte(l.Line), p.clock.Wall(), p.clock.now
	var b logBatch
	for _, c := range p.state.agent.rules.Match(&rec) {
		b.claims = append(b.claims, claimAt{p.clock.now, r.resolve(c)})
	}
	p.state.takeIn(b)
}

// writers are the programs whose lines are read, as the journal has them.
func writers() map[string]journal.Record {
	unit := func(name string) journal.Record {
		return journal.Record{Source: "journal", Unit: name + ".service", Identifier: name, PID: 900}
	}
	pod := func(name, container string) journal.Record {
		return journal.Record{Source: "/var/log/containers/" + name + "_kube-system_" + container + ".log", Pod: "kube-system/" + name, Container: container}
	}
	return map[string]journal.Record{
		"kernel":     {Source: kmsgName, Kernel: true, Identifier: "kernel"},
		"systemd":    {Source: "journal", Unit: "init.scope", Identifier: "systemd", PID: 1},
		"chronyd":    unit("chronyd"),
		"journald":   unit("systemd-journald"),
		"kubelet":    unit("kubelet"),
		"containerd": unit("containerd"),
		"dockerd":    {Source: "journal", Unit: "docker.service", Identifier: "dockerd", PID: 900},
		"cri-o":      unit("crio"),
		"sshd":       {Source: "journal", Unit: "ssh.service", Identifier: "sshd", PID: 900},
		"payments":   {Source: "/var/log/containers/worker-7c9_payments_app.log", Pod: "payments/worker-7c9", Container: "app"},
		"coredns":    pod("coredns-5d78c9869d-8xk2p", "coredns"),
		"kube-proxy": pod("kube-proxy-zx7ql", "kube-proxy"),
	}
}

// history is when problems came and went, and what was published of it.
type history struct {
	p    *player
	told []string
	b    strings.Builder
}

func (h *history) note() {
	var now []string
	for _, a := range h.p.state.tracker.Active() {
		now = append(now, fmt.Sprintf("%s %s", strings.TrimSpace(string(a.Kind)+" "+a.Subject), a.Severity))
	}
	if slices.Equal(now, h.told) {
		return
	}
	at := h.p.clock.now - incidentBoot
	for _, was := range h.told {
		if !slices.Contains(now, was) {
			fmt.Fprintf(&h.b, "%-8s - %s\n", at, was)
		}
	}
	for _, is := range now {
		if !slices.Contains(h.told, is) {
			fmt.Fprintf(&h.b, "%-8s + %s\n", at, is)
		}
	}
	h.told = now
}
