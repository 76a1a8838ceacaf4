package diagnosis

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// The kinds of the tests in this file: a Symptom comes of Full, Slow or Blind.
const (
	symptom problem.Kind = "Symptom"
	full    problem.Kind = "Full"
	slow    problem.Kind = "Slow"
	blind   problem.Kind = "Blind"
	itself  problem.Kind = "Itself" // mostly has no cause
	alone   problem.Kind = "Alone"  // has none that anybody knows of
)

func smallCatalogue(t *testing.T) *problem.Catalogue {
	t.Helper()
	c, err := problem.NewCatalogue([]problem.Definition{
		{Kind: symptom, Condition: "Sick", Scope: problem.NodeScope, Next: "look at {subject}", Causes: []problem.Edge{
			{Kind: full, Refused: true}, {Kind: full, Error: problem.ENOSPC}, {Kind: slow}, {Kind: blind},
		}},
		{Kind: full, Condition: "Sick", Scope: problem.NodeScope, Resources: []string{"space"}},
		{Kind: slow, Condition: "Sick", Scope: problem.NodeScope},
		{Kind: blind, Condition: "Sick", Scope: problem.NodeScope, Evidence: []string{"cat /blind"}},
		{Kind: itself, Condition: "Other", Scope: problem.NodeScope, Causes: []problem.Edge{{Kind: slow}}, Itself: true},
		{Kind: alone, Scope: problem.NodeScope},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wrong is a problem of the node that began so many seconds after boot.
func wrong(k problem.Kind, subject string, since int, touches ...problem.Ref) problem.Tracked {
	at := time.Duration(since) * time.Second
	return problem.Tracked{Since: at, Began: at, Period: 10 * time.Second, Verdict: problem.Verdict{
		Kind: k, Subject: subject, Severity: problem.Critical, Scope: problem.NodeScope, Message: strings.ToLower(string(k)), Touches: touches,
	}}
}

func inNetns(t problem.Tracked, scope problem.Scope) problem.Tracked {
	t.Scope, t.Touches = scope, append(t.Touches, problem.NewRef(problem.RefNetns, "1"), "mount:/a")
	return t
}

func refused(t problem.Tracked) problem.Tracked {
	t.Refused = true
	return t
}

func states(of map[problem.Kind]problem.State) []problem.KindStatus {
	var all []problem.KindStatus
	for _, k := range []problem.Kind{full, slow, blind} {
		if s := of[k]; s != 0 {
			all = append(all, problem.KindStatus{Kind: k, State: s, Reason: "nothing is known"})
		}
	}
	return all
}

func space(used, most float64, subject string, touches ...problem.Ref) problem.Measurement {
	return problem.Measurement{Resource: "space", Subject: subject, Used: used, Max: most, Unit: problem.Threads, Touches: touches}
}

// TestWhatIsSaidOfASymptom: its causes, what was looked at and found to be none, and
// where to look next.
func TestWhatIsSaidOfASymptom(t *testing.T) {
	const (
		ok   = problem.Fine
		none = "; cause not found on this node"
	)
	fine := map[problem.Kind]problem.State{full: ok, slow: ok, blind: ok}
	unseen := map[problem.Kind]problem.State{full: ok, slow: ok, blind: problem.Unknown}
	starting := states(unseen)
	starting[2].Starting = true
	of := func(p ...problem.Tracked) []problem.Tracked { return p }
	here := wrong(symptom, "/a", 100, "mount:/a")
	for name, tc := range map[string]struct {
		problems []problem.Tracked // the first is what is asked about
		measured []problem.Measurement
		kinds    []problem.KindStatus
		want     string // causes | examined; note | next
	}{
		"nothing else":       {of(here), nil, states(fine), "| not Full, not Slow, not Blind" + none + " | look at /a"},
		"nothing is decided": {of(here), nil, nil, "|" + none + " | look at /a"},
		"what does not apply is not spoken of": {
			of(here), nil, states(map[problem.Kind]problem.State{full: ok, slow: problem.NotApplicable, blind: ok}), "| not Full, not Blind" + none + " | look at /a",
		},
		"one that cannot be told is the next to look at": {
			of(here), nil, states(unseen),
			"| not Full, not Slow, cannot tell Blind: nothing is known" + none + "; the next to look at is Blind, which could not be told | cat /blind",
		},
		"unless it is about to be told": {of(here), nil, starting, "| not Full, not Slow, cannot tell Blind: nothing is known" + none + " | look at /a"},
		"or nobody knows how to":        {of(here), nil, states(map[problem.Kind]problem.State{slow: problem.Unknown}), "| cannot tell Slow: nothing is known" + none + " | look at /a"},
		"or a cause is known":           {of(here, wrong(slow, "", 100)), nil, states(unseen), "Slow | not Full, cannot tell Blind: nothing is known | look at /a"},
		"by its measurement": {
			of(here),
			[]problem.Measurement{space(0, 0, "x"), {Resource: "other", Used: 99, Max: 100}, space(90, 100, "b", "mount:/b"), space(20, 100, "a", "mount:/a"), space(10, 100, "")},
			states(fine), "| not space of a: 20 % (20 of 100 threads), not Slow, not Blind" + none + " | look at /a",
		},
		"not by one without a limit": {of(here), []problem.Measurement{space(5, 0, "")}, states(fine), "| not Full, not Slow, not Blind" + none + " | look at /a"},
		"the first of two that are as full": {
			of(here), []problem.Measurement{space(0, 100, "c"), space(0, 50, "d")}, states(fine), "| not space of c: 0 % (0 of 100 threads), not Slow, not Blind" + none + " | look at /a",
		},
		"there, and has refused":                   {of(here, refused(wrong(full, "", 100))), nil, states(fine), "Full | not Slow, not Blind | look at /a"},
		"there, and has not refused":               {of(here, wrong(full, "", 100)), nil, states(fine), "| Full is there too, but nothing ties it to this, not Slow, not Blind" + none + " | look at /a"},
		"there, of something else":                 {of(here, wrong(slow, "b", 100)), nil, states(fine), "| not Full, Slow is there too, but nothing ties it to this, not Blind" + none + " | look at /a"},
		"there, of one that is touched":            {of(here, wrong(slow, "b", 100, "mount:/b")), nil, states(fine), "| not Full, Slow is there too, but nothing ties it to this, not Blind" + none + " | look at /a"},
		"there, of the same":                       {of(here, wrong(slow, "a", 100, "mount:/a")), nil, states(fine), "Slow a | not Full, not Blind | look at /a"},
		"seen a period and half a minute later":    {of(here, wrong(slow, "", 140)), nil, states(fine), "Slow | not Full, not Blind | look at /a"},
		"began later":                              {of(here, wrong(slow, "", 141)), nil, states(fine), "| not Full, Slow is there too, but began later, not Blind" + none + " | look at /a"},
		"began later, elsewhere":                   {of(here, wrong(slow, "b", 141)), nil, states(fine), "| not Full, Slow is there too, but nothing ties it to this, not Blind" + none + " | look at /a"},
		"another network's, of the node":           {of(inNetns(here, problem.PodScope), wrong(slow, "", 100, problem.RefNode)), nil, states(unseen), "|" + none + " | look at /a"},
		"another network's, of the same":           {of(inNetns(here, problem.PodScope), wrong(slow, "", 100, "mount:/a")), nil, states(unseen), "Slow | | look at /a"},
		"a pod's that says nothing of its network": {of(func() problem.Tracked { p := here; p.Scope = problem.PodScope; return p }(), wrong(slow, "", 100, problem.RefNode)), nil, states(fine), "Slow | not Full, not Blind | look at /a"},
		"the node's own network":                   {of(inNetns(here, problem.NodeScope), wrong(slow, "", 100, problem.RefNode)), nil, states(fine), "Slow | not Full, not Blind | look at /a"},
		"what mostly stands for itself":            {of(wrong(itself, "", 100)), nil, states(fine), "| not Slow |"},
		"what has no causes":                       {of(wrong(alone, "", 100)), nil, states(fine), "| |"},
	} {
		problems := Diagnose(Input{
			Catalogue: smallCatalogue(t), Problems: tc.problems, Measurements: tc.measured, Kinds: tc.kinds, Wall: func(d time.Duration) time.Time { return time.Unix(0, int64(d)) },
		})
		p := problems[slices.IndexFunc(problems, func(p problem.Problem) bool { return p.Kind == tc.problems[0].Kind })]
		var causes []string
		for _, c := range p.Causes {
			causes = append(causes, title(c.Kind, c.Subject))
		}
		note := p.Note
		if note != "" {
			note = "; " + note
		}
		got := strings.TrimSpace(fmt.Sprintf("%s | %s%s | %s", strings.Join(causes, ", "), strings.Join(p.Examined, ", "), note, p.Next))
		got = strings.ReplaceAll(strings.ReplaceAll(got, "|  |", "| |"), "| ;", "|;")
		if got != tc.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, tc.want)
		}
	}
}

// TestHeadline leads with what a person should mend.
func TestHeadline(t *testing.T) {
	root := problem.Cause{Kind: "DiskHung", Subject: "sda", Message: "sda does not answer"}
	middle := problem.Cause{Kind: "MountNotAnswering", Subject: "/data", Message: "no answer", Causes: []problem.Cause{root}}
	for _, tc := range []struct {
		message, subject string
		causes           []problem.Cause
		want             string
	}{
		{"it hangs", "", nil, "it hangs"},
		{"it hangs", "/data", nil, "it hangs (/data)"},
		{"/data hangs", "/data", nil, "/data hangs"},
		{"it hangs", "/data", []problem.Cause{middle}, "DiskHung: sda does not answer; hence it hangs (/data)"},
		{"it hangs: no answer", "/data", []problem.Cause{{Kind: "MountNotAnswering", Subject: "/data", Message: "no answer"}}, "MountNotAnswering: no answer (/data); hence it hangs"},
	} {
		if got := Headline(problem.Problem{Subject: tc.subject, Message: tc.message, Causes: tc.causes}); got != tc.want {
			t.Errorf("%s, want %s", got, tc.want)
		}
	}
}

// TestNextCommand: a subject is data from elsewhere, and the command is pasted into a shell.
func TestNextCommand(t *testing.T) {
	for subject, want := range map[string]string{
		"":                     "ls ",
		"/az/AZ/09._-:@~":      "ls /az/AZ/09._-:@~",
		"a b":                  "ls 'a b'",
		"x;reboot":             "ls 'x;reboot'",
		"it's":                 `ls 'it'\''s'`,
		"$(x)":                 "ls '$(x)'",
		"a[b":                  "ls 'a[b'",
		"a{b":                  "ls 'a{b'",
		"ä":                    "ls 'ä'",
		"a=b":                  "ls 'a=b'",
		"`x`":                  "ls '`x`'",
		"a\nb":                 "ls 'a\nb'",
		"pod shop/web's \"a\"": `ls 'pod shop/web'\''s "a"'`,
	} {
		if got := next(problem.Definition{Next: "ls {subject}"}, subject); got != want {
			t.Errorf("%q: %s, want %s", subject, got, want)
		}
	}
}

// TestWordsOfACondition: its reason and message, which everyone reads who watches the Node.
func TestWordsOfACondition(t *testing.T) {
	said := func(k problem.Kind, message string, sev problem.Severity) problem.Problem {
		return problem.Problem{Kind: k, Message: message, Severity: sev, Scope: problem.NodeScope}
	}
	status := func(k problem.Kind, s problem.State, reason string) problem.KindStatus {
		return problem.KindStatus{Kind: k, State: s, Reason: reason, Overdue: s == problem.Unknown}
	}
	starting := problem.KindStatus{Kind: slow, State: problem.Unknown, Starting: true}
	other := status(itself, problem.Fine, "")
	for name, tc := range map[string]struct {
		problems []problem.Problem
		kinds    []problem.KindStatus
		want     string
	}{
		"all is fine": {nil, []problem.KindStatus{other, status(full, problem.Fine, ""), status(slow, problem.Fine, "")}, "False Healthy: nothing wrong is seen (2 of 2 checks can tell)"},
		"one does not apply, one is blind": {
			nil,
			[]problem.KindStatus{status(full, problem.NotApplicable, "no disk"), other, status(slow, problem.Fine, ""), {Kind: blind, State: problem.Unknown}},
			"False Healthy: nothing wrong is seen (1 of 2 checks can tell)",
		},
		"some are overdue":    {nil, []problem.KindStatus{status(full, problem.Fine, ""), status(slow, problem.Unknown, "S"), status(blind, problem.Unknown, "B")}, "Unknown CannotTell: Slow: S"},
		"no verdict yet":      {nil, []problem.KindStatus{status(blind, problem.Unknown, "B"), starting}, "Unknown Starting: no verdict yet: Slow"},
		"nobody looks":        {nil, []problem.KindStatus{other}, "Unknown CannotTell: no probe of this build or this node decides it (does not apply)"},
		"nothing applies":     {nil, []problem.KindStatus{status(full, problem.NotApplicable, "no disk"), status(slow, problem.NotApplicable, "no disk"), status(blind, problem.NotApplicable, "no eyes")}, "Unknown CannotTell: no disk; no eyes (does not apply)"},
		"the worst":           {[]problem.Problem{said(itself, "o", problem.Critical), said(slow, "s", problem.Critical), said(full, "f", problem.Critical)}, nil, "True Slow: s"},
		"the first mild one":  {[]problem.Problem{said(slow, "s", problem.Warning), said(full, "f", problem.Warning)}, nil, "False Slow: s"},
		"of the last run":     {[]problem.Problem{said(slow, "s", problem.Critical)}, []problem.KindStatus{starting}, "Unknown Starting: no verdict yet: Slow"},
		"and one of this run": {[]problem.Problem{said(slow, "s", problem.Critical), said(full, "f", problem.Critical)}, []problem.KindStatus{starting}, "True Full: f"},
	} {
		all := Conditions(smallCatalogue(t), tc.problems, tc.kinds, problem.Critical)
		got := fmt.Sprintf("%s %s: %s", all[0].Status, all[0].Reason, all[0].Message)
		if all[0].NotApplicable {
			got += " (does not apply)"
		}
		if all[0].Type != "Sick" || got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestConditionsInWordsOfTheirOwn: those that were taken over from elsewhere.
func TestConditionsInWordsOfTheirOwn(t *testing.T) {
	c := smallCatalogue(t).WithHealthy(problem.HealthyText{Type: "Sick", Reason: "IsWell", Message: "well"}, problem.HealthyText{Type: "Unused", Message: "nothing sets it"})
	blindly := []problem.KindStatus{{Kind: slow, State: problem.Unknown, Reason: "S", Overdue: true}}
	fine := []problem.KindStatus{{Kind: slow, State: problem.Fine}, {Kind: itself, State: problem.Fine}}
	for _, tc := range []struct {
		kinds []problem.KindStatus
		want  []string
	}{
		{fine, []string{"Sick False IsWell: well", "Other False Healthy: nothing wrong is seen (1 of 1 checks can tell)", "Unused False Healthy: nothing sets it"}},
		{blindly, []string{"Sick Unknown CannotTell: Slow: S", "Other Unknown CannotTell: no probe of this build or this node decides it", "Unused False Healthy: nothing sets it"}},
	} {
		var got []string
		for _, cond := range Conditions(c, nil, tc.kinds, problem.Critical) {
			got = append(got, fmt.Sprintf("%s %s %s: %s", cond.Type, cond.Status, cond.Reason, cond.Message))
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

// TestNPDConditions: a type that is about one runtime is not set by another's trouble.
func TestNPDConditions(t *testing.T) {
	problems := []problem.Problem{
		{Kind: problem.FrequentRuntimeRestart, Severity: problem.Warning, Scope: problem.NodeScope, Message: "Containerd was started 5 times"},
		{Kind: problem.ReadonlyFilesystem, Severity: problem.Warning, Scope: problem.NodeScope, Subject: "/", Message: "/ is read-only"},
	}
	var wrong []string
	for _, c := range NPDConditions(problems, nil) {
		if c.Status == problem.ConditionTrue {
			wrong = append(wrong, c.Type)
		}
	}
	if want := []string{"ReadonlyFilesystem", "FrequentContainerdRestart"}; !slices.Equal(wrong, want) {
		t.Errorf("%v, want %v", wrong, want)
	}
}
