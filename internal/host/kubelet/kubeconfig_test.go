package kubelet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host"
)

const kubeconfig = `
apiVersion: v1
kind: Config
current-context: node@b
clusters:
- {name: a, cluster: {server: "https://192.0.2.1:6443"}}
- {name: b, cluster: {server: "https://user:word@[2001:db8::7]:6443/k8s"}}
contexts:
- {name: node@a, context: {cluster: a, user: node}}
- {name: node@b, context: {cluster: b, user: node}}
users:
- {name: node, user: {token: secret-token}}
`

func TestAPIServer(t *testing.T) {
	for name, c := range map[string]struct{ file, want, err string }{
		"the current context's":   {kubeconfig, "2001:db8::7", ""},
		"no such context":         {strings.Replace(kubeconfig, "node@b", "node@c", 1), "", "names no cluster"},
		"no server":               {strings.Replace(kubeconfig, `"https://user:word@[2001:db8::7]:6443/k8s"`, `""`, 1), "", "no usable server"},
		"not YAML, and no secret": {kubeconfig + "\t:secret-token", "", "not a kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for p, content := range map[string]string{"proc/loadavg": "0 0 0 1/1 1\n", "etc/kubelet.conf": c.file} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(root, p)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(root, p), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			h, err := host.New(root)
			if err != nil {
				t.Fatal(err)
			}
			u, err := APIServer(h, Settings{KubeConfig: "/etc/kubelet.conf"})
			switch {
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%v, want an error with %q and no secret", err, c.err)
				}
			case err != nil:
				t.Error(err)
			case u.Hostname() != c.want || u.User != nil:
				t.Errorf("%s, want %s and no user", u, c.want)
			}
		})
	}
	if u, err := APIServer(nil, Settings{}); u != nil || err != nil {
		t.Errorf("without a kubeconfig: %v, %v", u, err)
	}
}

// TestWhoseCertificate: that of the current context's user, who need not be the first.
func TestWhoseCertificate(t *testing.T) {
	const config = `
contexts: [{name: at-a, context: {user: a}}, {name: at-b, context: {user: b}}, {name: at-bad, context: {user: bad}}]
users: [{name: b, user: {client-certificate: /b.crt}}, {name: a, user: {client-certificate-data: QUE=}}, {name: bad, user: {client-certificate-data: "-"}}]
current-context: `
	for current, want := range map[string]string{"at-a": " AA", "at-b": "/b.crt ", "at-c": " ", "": " "} {
		file, data, err := parseKubeConfigUser([]byte(config + current))
		if got := file + " " + string(data); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", current, got, err, want)
		}
	}
	if file, data, err := parseKubeConfigUser([]byte(config + "at-bad")); err == nil {
		t.Errorf("no base64: %q %q", file, data)
	}
}

func FuzzKubeConfig(f *testing.F) {
	f.Add([]byte(kubeconfig))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, err := parseKubeConfig(b); (u == nil) == (err == nil) {
			t.Fatalf("%v, %v", u, err)
		}
	})
}
