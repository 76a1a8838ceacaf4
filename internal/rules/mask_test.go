package rules

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestSecretsAreMasked(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		// URLs.
		{`Get "https://bob:hunter2@registry.example.com/v2/": EOF`, `Get "https://***@registry.example.com/v2/": EOF`},
		{`clone https://ghs_0123456789abcdef0123456789@github.com/x`, `clone https://***@github.com/x`},
		{`dial proxy http://u:p@ss:word@10.0.0.1:3128: refused`, `dial proxy http://***@10.0.0.1:3128: refused`},
		{`https://x.blob.core.windows.net/a?sv=2020&sig=AbC%2Bd/e=&se=2026`, `https://x.blob.core.windows.net/a?sv=2020&sig=***&se=2026`},
		{`https://s3/x?X-Amz-Credential=AKIA/2026&X-Amz-Signature=0a1b&X-Amz-Date=1`, `https://s3/x?X-Amz-Credential=***&X-Amz-Signature=***&X-Amz-Date=1`},
		// Headers.
		{`request failed: Authorization: Bearer abc.def-ghi, retrying`, `request failed: Authorization: ***, retrying`},
		{`headers map[Authorization:[Basic dXNlcjpwYXNz] Accept:[*/*]]`, `headers map[Authorization:[***] Accept:[*/*]]`},
		{`{\"Authorization\":\"Bearer abcdefgh\"}`, `{\"Authorization\":\"***\"}`},
		{`sent bearer 0123456789abcdef to the API`, `sent bearer *** to the API`},
		{`X-Vault-Token: s.AbCdEf`, `X-Vault-Token: ***`},
		// Keys and values.
		{`mount -t cifs -o username=bob,password=hunter2,vers=3.0 //nas/x`, `mount -t cifs -o username=bob,password=***,vers=3.0 //nas/x`},
		{`env AWS_SECRET_ACCESS_KEY=abc/def PGPASSWORD='hunter2' HOME=/root`, `env AWS_SECRET_ACCESS_KEY=*** PGPASSWORD='***' HOME=/root`},
		{`conn "Server=db;User Id=sa;Password=hunter2;"`, `conn "Server=db;User Id=sa;Password=***;"`},
		{`{"client_secret":"s3cr3t","user":"bob"}`, `{"client_secret":"***","user":"bob"}`},
		{`err="{\"password\": \"hunter2\"}"`, `err="{\"password\": \"***\"}"`},
		{`err="x: {\\\"apiKey\\\":\\\"k-123\\\"}"`, `err="x: {\\\"apiKey\\\":\\\"***\\\"}"`},
		{`db password: hunter2`, `db password: ***`},
		{`kubeadm join 10.0.0.1:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash sha256:1`, `kubeadm join 10.0.0.1:6443 --token *** --discovery-token-ca-cert-hash sha256:1`},
		{`token id abcdef.0123456789abcdef is unknown`, `token id abcdef.*** is unknown`},
		// By their looks.
		{`got eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrOHMifQ.c2lnbmF0dXJl from x`, `got *** from x`},
		{`key AKIAIOSFODNN7EXAMPLE is not valid`, `key *** is not valid`},
		{`-----BEGIN RSA PRIVATE KEY----- MIIE`, `-----BEGIN RSA PRIVATE KEY-----***`},
		// What a person needs to see, and is no secret.
		{`Couldn't get secret payments/app-secret: failed to sync secret cache: timed out waiting for the condition`, ""},
		{`MountVolume.SetUp failed for volume "default-token-x7k2p" : secret "default-token-x7k2p" not found`, ""},
		{`secretName=tls tokenExpirationSeconds=3607 monkey=1`, ""},
		{`Failed to create token: the server is down; key: value`, ""},
		{`Get "https://10.0.0.1:6443/api/v1/nodes?limit=500": dial tcp 10.0.0.1:6443: i/o timeout`, ""},
		{`authentication failed: password authentication is off`, ""},
		{`lookup registry.k8s.io on 10.96.0.10:53: no such host`, ""},
		{`cgroup: fork rejected by pids controller in /kubepods.slice/kubepods-pod5382cf41_7a0b.slice`, ""},
		{`user@example.com at http://example.com/a@b`, ""},
	} {
		want := tc.want
		if want == "" {
			want = tc.line
		}
		if got := string(mask([]byte(tc.line))); got != want {
			t.Errorf("%s\n%s, want\n%s", tc.line, got, want)
		}
	}
}

// TestNoClaimShowsASecret: neither the line nor what was taken out of it.
func TestNoClaimShowsASecret(t *testing.T) {
	set, err := Compile(BuiltinUnits(), []Rule{{
		Kind: "Mine", Pattern: `login with (?P<what>\S+) and password=(?P<device>\S+) failed`,
		Subject: "{device}", Message: "{device} of {what}", Touches: []string{"mount:{device}"},
		Logs: problem.Count{N: 2, Distinct: "device"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := journal.Record{Source: "x", Message: []byte("\x1b]0;login with https://a:hunter2@b/ and password=hunter2 failed " + strings.Repeat("x", 20000))}
	cs := set.Match(&r)
	if len(cs) != 1 {
		t.Fatalf("%+v", cs)
	}
	c := cs[0]
	if c.Subject != "***" || c.Message != "*** of https://***@b/" {
		t.Errorf("%q, %q", c.Subject, c.Message)
	}
	noSecret(t, c, "hunter2")
	buffer, err := parseNPD(t, `{"plugin":"journald","pluginConfig":{"source":"app"},"rules":[{"type":"temporary","reason":"R","pattern":"a(.*\\n)+b.*"}]}`).Buffer(BuiltinUnits())
	if err != nil {
		t.Fatal(err)
	}
	buffer.Add(&journal.Record{Identifier: "app", Message: []byte("a token=hunter2 x")}, nil, now)
	for _, c := range buffer.Add(&journal.Record{Identifier: "app", Message: []byte("b password=hunter2")}, nil, now) {
		noSecret(t, c, "hunter2")
	}
}

func noSecret(t *testing.T, c problem.Claim, secret string) {
	t.Helper()
	all := c.Line + c.Message + c.Subject + c.Site + c.Value + c.Source
	for _, r := range c.Touches {
		all += string(r)
	}
	if strings.Contains(all, secret) {
		t.Errorf("%+v shows %q", c, secret)
	}
	if len(c.Line) > maxLine+len("…") || !utf8.ValidString(all) || strings.ContainsAny(all, "\x00\x1b\x07\u009b") {
		t.Errorf("%q is not safe to show", all)
	}
}

// leaks are shapes of secrets, whose secret is hunter2hunter2 or tells by its looks
// what it is.
func leaks() []string {
	return []string{
		"password=%s", "PGPASSWORD='%s'", `"client_secret":"%s"`, `{\"apiKey\": \"%s\"}`, "Authorization: Bearer %s", "Authorization:[Basic %s]",
		"https://bob:%s@registry.example.com/v2/", "https://%s@github.com/x", "--token %s", "X-Vault-Token: %s", "AWS_SECRET_ACCESS_KEY=%s",
		"?X-Amz-Signature=%s&x=1", "-----BEGIN PRIVATE KEY----- %s",
	}
}

// FuzzMask: whatever stands around a secret, it is not shown.
func FuzzMask(f *testing.F) {
	for i := range leaks() {
		f.Add([]byte("Authorization: "), []byte(" https://x:y@z"), uint8(i))
		f.Add([]byte(`{"a":"b`), []byte(`"}`), uint8(i))
		f.Add([]byte("--token "), []byte("\xff\xfe=@"), uint8(i))
	}
	const secret = "hunter2hunter2"
	f.Fuzz(func(t *testing.T, before, after []byte, shape uint8) {
		if bytes.Contains(before, []byte(secret)) || bytes.Contains(after, []byte(secret)) {
			return
		}
		leak := fmt.Sprintf(leaks()[int(shape)%len(leaks())], secret)
		line := bytes.Join([][]byte{before, []byte(" " + leak + " "), after}, nil)
		if got := mask(line); bytes.Contains(got, []byte(secret)) {
			t.Errorf("%q shows it: %q", line, got)
		}
		shown := printable(mask(line), maxLine)
		if len(shown) > maxLine+len("…") || !utf8.ValidString(shown) || strings.ContainsAny(shown, "\x00\x1b\u009b\x7f") {
			t.Errorf("%q is not safe to show", shown)
		}
	})
}
