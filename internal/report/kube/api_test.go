package kube

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// strict decodes with the API's own types, which may not find a field that they do not know.
func strict(t *testing.T, raw []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
}

// TestBodies: what we write means to the API's own types what it means to us.
func TestBodies(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.FixedZone("", 3600))
	b := newBoard(now)
	b.see([]problem.Condition{cond("A", statusTrue, "K", "m")}, now)
	w, err := b.compose(now)
	if err != nil {
		t.Fatal(err)
	}
	var node corev1.Node
	strict(t, w.body, &node)
	c := node.Status.Conditions[0]
	if c.Type != "A" || c.Status != corev1.ConditionTrue || c.Reason != "K" || c.Message != "m" ||
		!c.LastHeartbeatTime.Time.Equal(now.Truncate(time.Second)) || !c.LastTransitionTime.Time.Equal(now.Truncate(time.Second)) {
		t.Errorf("%+v", c)
	}
	e := telling{told: told{eventKey: eventKey{Kind: "K", Pod: "ns/p"}, Namespace: "ns", Last: now, Count: 3}, create: true, note: "n", pod: "ns/p", podUID: "u"}
	raw, err := e.body(ourNode{name: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	var ev eventsv1.Event
	strict(t, raw, &ev)
	if !ev.EventTime.Time.Equal(now.Truncate(time.Microsecond)) || ev.Regarding.UID != "u" || ev.Related.Name != "n1" || ev.Namespace != "ns" ||
		ev.Reason != "K" || ev.Note != "n" || ev.Type != corev1.EventTypeWarning || ev.ReportingInstance != "n1" || ev.Name != e.Name {
		t.Errorf("%+v", ev)
	}
	e.create = false
	if raw, err = e.body(ourNode{name: "n1"}); err != nil {
		t.Fatal(err)
	}
	strict(t, raw, &ev)
	if ev.Series.Count != 3 || !ev.Series.LastObservedTime.Time.Equal(now.Truncate(time.Microsecond)) {
		t.Errorf("%+v", ev.Series)
	}
	var own ownNode
	strict(t, []byte(`{"status":{"conditions":[{"type":"A","lastHeartbeatTime":null,"lastTransitionTime":"2026-01-02T02:04:05Z"}]}}`), &own)
	if got := own.Status.Conditions[0]; !got.LastHeartbeatTime.IsZero() || !got.LastTransitionTime.Equal(now.Truncate(time.Second)) {
		t.Errorf("%+v", got)
	}
}

func FuzzKubeconfig(f *testing.F) {
	f.Add([]byte("current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://h', certificate-authority-data: YQ==}}]\nusers: [{name: u, user: {token: SECRET, client-key-data: '!'}}]"))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := parseKubeconfig(raw, "/etc/kubernetes")
		if err == nil && (e.server == nil || e.server.Host == "" || e.proxy == nil) {
			t.Errorf("a way to nowhere: %+v", e)
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("a key is told: %v", err)
		}
	})
}

func TestParseKubeconfig(t *testing.T) {
	const good = `current-context: c
contexts: [{name: other, context: {cluster: x}}, {name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://h:6443/base", tls-server-name: api, proxy-url: "http://p:8080", certificate-authority: ca.crt}}]
users: [{name: u, user: {tokenFile: /abs/token, as: someone, as-groups: [g]}}]`
	e, err := parseKubeconfig([]byte(good), "/dir")
	if err != nil {
		t.Fatal(err)
	}
	proxy, _ := e.proxy(nil)
	if e.server.String() != "https://h:6443/base" || proxy.String() != "http://p:8080" || e.config.TLS.CAFile != "/dir/ca.crt" ||
		e.config.TLS.ServerName != "api" || e.config.BearerTokenFile != "/abs/token" || e.config.Impersonate.UserName != "someone" {
		t.Errorf("%+v", e)
	}
	for change, want := range map[string]string{
		"current-context: c|current-context: d":                         "no current context",
		"name: c, cluster|name: d, cluster":                             "names no cluster",
		"https://h:6443/base|h:6443":                                    "no usable server",
		"https://h:6443/base|ftp://h":                                   "no usable server",
		"http://p:8080|::":                                              "no usable proxy-url",
		"certificate-authority: ca.crt|certificate-authority-data: '?'": "not base64",
		"users: [|users: {[":                                            "not a kubeconfig",
	} {
		from, to, _ := strings.Cut(change, "|")
		if _, err := parseKubeconfig([]byte(strings.Replace(good, from, to, 1)), "/dir"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", change, err, want)
		}
	}
}
