package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/journal"
)

// TestLogFile: which links a log file may be, on a host with its root elsewhere.
func TestLogFile(t *testing.T) {
	id := strings.Repeat("c0de", 16)
	docker := "/data/docker/containers/" + id + "/" + id + "-json.log"
	pod := "/var/log/pods/kube-system_dns_uid/coredns"
	root := t.TempDir()
	files := []string{"/proc/loadavg", "/etc/shadow", "/disk/log/messages", docker, pod + "/7.log", "/srv/app/today.log"}
	links := map[string]string{
		"/var/log/messages": "/disk/log/messages", pod + "/0.log": docker, pod + "/1.log": "/etc/shadow", pod + "/2.log": "../../../../../etc/shadow",
		pod + "/3.log": "7.log", "/var/log/pods/kube-system_dns_uid/evil": "/etc", "/srv/app/app.log": "today.log", "/srv/app/bad.log": "/etc/shadow",
		"/var/log/containers/x.log": pod + "/7.log", "/var/spool": "/disk",
	}
	for _, f := range files {
		make1(t, root, f, func(p string) error { return os.WriteFile(p, []byte("a line\n"), 0o600) })
	}
	for l, to := range links {
		make1(t, root, l, func(p string) error { return os.Symlink(to, p) })
	}
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{ // empty: refused
		pod + "/7.log":              pod + "/7.log",
		pod + "/0.log":              docker,
		pod + "/1.log":              "",
		pod + "/2.log":              "",
		pod + "/3.log":              pod + "/7.log",
		"/var/log/messages":         "",
		"/disk/log/messages":        "/disk/log/messages",
		"/var/spool/log/messages":   "/disk/log/messages",
		"/srv/app/app.log":          "/srv/app/today.log",
		"/srv/app/bad.log":          "",
		"/var/log/containers/x.log": pod + "/7.log",
		"/var/log/absent":           "/var/log/absent",
		"/var/log/pods/kube-system_dns_uid/evil/shadow": "",
	} {
		got, err := logFile(h, p)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v; want %q", p, got, err, want)
		}
	}

	// A link that is put there after the look is not followed either.
	real := filepath.Join(root, pod, "1.log")
	if l, err := journal.NewTextLog(real, 1<<20); err == nil {
		t.Errorf("%s was opened", real)
		l.Close()
	}
	// Nor one on the way.
	if l, err := journal.NewTextLog(filepath.Join(root, "var/spool/log/messages"), 1<<20); err == nil {
		t.Error("a folder that is a link was followed")
		l.Close()
	}
}

func make1(t *testing.T, root, p string, put func(string) error) {
	t.Helper()
	full := filepath.Join(root, p)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := put(full); err != nil {
		t.Fatal(err)
	}
}

// TestLogThatBecomesALink: a log file that is replaced by a link to what is none
// of the agent's business is told of, and not read.
func TestLogThatBecomesALink(t *testing.T) {
	root := t.TempDir()
	make1(t, root, "/proc/loadavg", func(p string) error { return os.WriteFile(p, nil, 0o600) })
	make1(t, root, "/etc/secret", func(p string) error { return os.WriteFile(p, []byte("secret\n"), 0o600) })
	make1(t, root, "/var/log/app.log", func(p string) error { return os.WriteFile(p, []byte("one\n"), 0o600) })
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openText(h, "/var/log/app.log", nil, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var read []string
	poll := func() {
		_ = s.poll(func(r *journal.Record, _ bool) error { read = append(read, string(r.Message)); return nil })
	}
	poll()
	log := filepath.Join(root, "var/log/app.log")
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../etc/secret", log); err != nil {
		t.Fatal(err)
	}
	poll()
	if len(read) != 1 || read[0] != "one" || s.err == nil {
		t.Errorf("read %q, error %v", read, s.err)
	}
	if err := s.relink(h); err == nil || !strings.Contains(err.Error(), "is a link to /etc/secret") {
		t.Errorf("%v", err)
	}
	// As log shippers rotate: the link goes on to another file in the folder.
	make1(t, root, "/var/log/app-2.log", func(p string) error { return os.WriteFile(p, []byte("two\n"), 0o600) })
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("app-2.log", log); err != nil {
		t.Fatal(err)
	}
	if err := s.relink(h); err != nil {
		t.Fatal(err)
	}
	poll()
	if len(read) != 2 || read[1] != "two" {
		t.Errorf("read %q", read)
	}
}
