package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// readerOn reads the container logs of a host whose root is a folder.
func readerOn(t *testing.T, root string) *logReader {
	t.Helper()
	make1(t, root, "/proc/loadavg", func(p string) error { return os.WriteFile(p, nil, 0o600) })
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("test", []byte("logs: {files: [], journal: [], kmsg: false}\n"))
	if err != nil {
		t.Fatal(err)
	}
	l := New(h, c, "test").newLogReader(cursors{}, 0, true)
	t.Cleanup(l.close)
	return l
}

// TestJournalBehindALink: a link in the host's root is the host's, also where that is
// mounted elsewhere.
func TestJournalBehindALink(t *testing.T) {
	root := t.TempDir()
	make1(t, root, "/data/log/journal/0123456789abcdef0123456789abcdef/system.journal", func(p string) error { return os.WriteFile(p, []byte("garbage"), 0o600) })
	make1(t, root, "/var/log", func(p string) error { return os.Symlink("/data/log", p) })
	l := readerOn(t, root)
	l.agent.config.JournalDirs = []string{"/var/log/journal"}
	if l.openJournal(); l.journal == nil {
		t.Fatal("it is not found")
	}
	_ = l.journal.poll(func(*journal.Record, bool) error { return nil })
	if blind := l.journal.blind(time.Now()); !strings.Contains(blind, "/data/log/journal/") {
		t.Errorf("it is not read: %q", blind)
	}
}

// TestPodLogTricks: whoever may write below /var/log/pods has nothing else read,
// keeps nobody waiting, and is told of.
func TestPodLogTricks(t *testing.T) {
	const line = `2026-11-22T10:00:00.000000000Z stderr F [ERROR] plugin/errors: 2 secret.example. A: read udp 10.0.0.1:1->10.0.0.2:53: i/o timeout` + "\n"
	root := t.TempDir()
	dir := podLogs + "/kube-system_coredns-1_uid/coredns/"
	write := func(p string) error { return os.WriteFile(p, []byte(line), 0o600) }
	link := func(to string) func(string) error { return func(p string) error { return os.Symlink(to, p) } }
	make1(t, root, "/etc/shadow", write)
	make1(t, root, dir+"0.log", write)
	bad := map[string]func(string) error{
		"1.log": link("/etc/shadow"), "2.log": link("../../../../../etc/shadow"), "3.log": link("/dev/zero"), "4.log": link("/proc/self/environ"),
		"5.log": func(p string) error { return unix.Mkfifo(p, 0o600) }, "6.log": func(p string) error { return os.Mkdir(p, 0o755) },
		"7.log": link("7.log"), "8.log": link("8.log/" + strings.Repeat("x/", 100) + "y"), "9.log": link(strings.Repeat("../", 1000) + "etc/shadow"),
		strings.Repeat("A", 251) + ".log": link("/etc/shadow"), "\x1b[31m\n.log": link("/etc/shadow"),
	}
	for name, put := range bad {
		make1(t, root, dir+name, put)
	}
	if os.Getuid() == 0 { // a device
		make1(t, root, dir+"10.log", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) })
		bad["10.log"] = nil
	}
	// A folder of a pod, and of a container, may be a link as well.
	make1(t, root, "/etc/0.log", write)
	make1(t, root, podLogs+"/kube-system_coredns-2_uid/coredns", link("/etc"))
	l := readerOn(t, root)
	b := l.poll(t.Context(), func(logBatch) {})
	read := map[string]problem.LogStatus{}
	for _, s := range l.statuses() {
		read[s.Source] = s
	}
	if s := read[dir+"0.log"]; s.Records != 1 || s.Blind != "" {
		t.Errorf("the log itself: %+v", s)
	}
	for name := range bad {
		if s, ok := read[dir+name]; ok && (s.Records != 0 || s.Blind == "") {
			t.Errorf("%.20q: %+v", name, s)
		}
	}
	if s := read[podLogs+"/kube-system_coredns-2_uid/coredns/0.log"]; s.Records != 0 {
		t.Errorf("a folder that is a link was followed: %+v", s)
	}
	if len(b.claims) > 1 {
		t.Errorf("lines of other files count: %+v", b.claims)
	}
}

// TestPodLogsAreBounded: no number of files takes more descriptors than are spared
// for them, and what is not read is told.
func TestPodLogsAreBounded(t *testing.T) {
	root := t.TempDir()
	for i := range 10 * maxContainerLogs {
		file := fmt.Sprintf("%s/kube-system_coredns-%d_uid/coredns/0.log", podLogs, i)
		make1(t, root, file, func(p string) error { return os.WriteFile(p, nil, 0o600) })
	}
	l := readerOn(t, root)
	l.poll(t.Context(), func(logBatch) {})
	if len(l.texts) > maxContainerLogs {
		t.Errorf("%d files are open", len(l.texts))
	}
	if l.failed[podLogs] == "" {
		t.Errorf("nobody is told: %v", l.failed)
	}
	// Few are no reason to say anything.
	if err := os.RemoveAll(filepath.Join(root, podLogs)); err != nil {
		t.Fatal(err)
	}
	l.list()
	if len(l.texts) != 0 || len(l.failed) != 0 {
		t.Errorf("%d files, %v", len(l.texts), l.failed)
	}
}
