package systemd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/nodevitals/nodevitals/internal/host"
)

// rooted makes a host root, with systemd's folder or without.
func rooted(t testing.TB, systemd bool) *host.Host {
	t.Helper()
	root, err := os.MkdirTemp("", "sd") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	dirs := []string{"/proc"}
	if systemd {
		dirs = append(dirs, booted)
	}
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "/proc/loadavg"), []byte("0 0 0 1/1 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// serve has a server at systemd's private socket, which treats each connection so.
func serve(t testing.TB, h *host.Host, treat func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", h.Path(private))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				treat(c)
			}()
		}
	}()
}

// authenticate is the server's part of the handshake.
func authenticate(c net.Conn) bool {
	in := bufio.NewReader(c)
	for _, answer := range []string{"REJECTED EXTERNAL\r\n", "OK 0123456789abcdef0123456789abcdef\r\n", ""} {
		if _, err := in.ReadString('\n'); err != nil {
			return false
		}
		if _, err := c.Write([]byte(answer)); err != nil {
			return false
		}
	}
	return true
}

func repeat(c net.Conn, s string) {
	for {
		if _, err := c.Write([]byte(s)); err != nil {
			return
		}
	}
}

// signal is a JobRemoved signal without the arguments that it should have.
func signal() []byte {
	m := godbus.Message{Type: godbus.TypeSignal, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldPath:      godbus.MakeVariant(godbus.ObjectPath("/org/freedesktop/systemd1")),
		godbus.FieldInterface: godbus.MakeVariant("org.freedesktop.systemd1.Manager"),
		godbus.FieldMember:    godbus.MakeVariant("JobRemoved"),
	}}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// answer is a reply of these values to the call with that serial number.
func answer(serial uint32, body ...any) []byte {
	m := godbus.Message{Type: godbus.TypeMethodReply, Body: body, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldReplySerial: godbus.MakeVariant(serial),
		godbus.FieldSignature:   godbus.MakeVariant(godbus.SignatureOf(body...)),
	}}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestAbsent(t *testing.T) {
	if _, err := Look(t.Context(), rooted(t, false), "kubelet.service"); !errors.Is(err, ErrAbsent) {
		t.Errorf("no systemd: %v", err)
	}
	_, err := Look(t.Context(), rooted(t, true), "kubelet.service")
	if err == nil || errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), private) || !strings.Contains(err.Error(), bus) {
		t.Errorf("no socket of systemd: %v", err)
	}
}

// TestBadServers: whatever sits at the socket, a look ends with an error, soon, and
// leaves nothing behind.
func TestBadServers(t *testing.T) {
	for name, treat := range map[string]func(net.Conn){
		"closes":       func(net.Conn) {},
		"silent":       func(c net.Conn) { _, _ = c.Read(make([]byte, 100)); _, _ = c.Read(make([]byte, 100)); hold(c) },
		"HTTP":         func(c net.Conn) { repeat(c, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		"endless line": func(c net.Conn) { repeat(c, strings.Repeat("x", 4096)) },
		"rejects":      func(c net.Conn) { repeat(c, "REJECTED EXTERNAL\r\n") },
		"zeroes":       func(c net.Conn) { authenticate(c); repeat(c, strings.Repeat("\x00", 4096)) },
		"l":            func(c net.Conn) { authenticate(c); repeat(c, strings.Repeat("l", 4096)) },
		"then silent":  func(c net.Conn) { authenticate(c); hold(c) },
		"then closes":  func(c net.Conn) { authenticate(c) },
		"signals":      func(c net.Conn) { authenticate(c); repeat(c, string(signal())) },
		"other answers": func(c net.Conn) {
			authenticate(c)
			repeat(c, string(answer(1, "x", uint32(7)))+string(answer(2, int64(1))))
		},
		"huge": func(c net.Conn) {
			authenticate(c)
			repeat(c, "l\x02\x00\x01\xff\xff\xff\x07\x01\x00\x00\x00\x08\x00\x00\x00\x05\x01u\x00\x01\x00\x00\x00")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := rooted(t, true)
			serve(t, h, treat)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			before := runtime.NumGoroutine()
			if units, err := Look(ctx, h, "kubelet.service"); err == nil {
				t.Errorf("no error: %+v", units)
			}
			awaitGoroutines(t, before)
		})
	}
}

// hold keeps a connection open until the other side ends it.
func hold(c net.Conn) {
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

// awaitGoroutines waits until no more goroutines run than before.
func awaitGoroutines(t testing.TB, before int) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for runtime.NumGoroutine() > before {
		select {
		case <-tick.C:
		case <-deadline:
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// FuzzAnswers: what comes after the handshake may be anything.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte{})
	f.Add(signal())
	f.Add(append(answer(1), answer(2, [][]any{})...))
	f.Add(append(signal(), answer(1, map[string]godbus.Variant{"a": godbus.MakeVariant("b")})...))
	f.Fuzz(func(t *testing.T, data []byte) {
		h := rooted(t, true)
		serve(t, h, func(c net.Conn) {
			if authenticate(c) {
				_, _ = c.Write(data)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, _ = Look(ctx, h, "kubelet.service")
	})
}

func TestUnit(t *testing.T) {
	for _, tc := range []struct {
		unit             Unit
		running, enabled bool
		end              string
	}{
		{Unit{ActiveState: "active", FileState: "enabled"}, true, true, ""},
		{Unit{ActiveState: "reloading", FileState: "static"}, true, false, ""},
		{Unit{ActiveState: "failed", FileState: "enabled-runtime", ExitCode: 255}, false, true, "exit code 255"},
		{Unit{ActiveState: "activating", SubState: "auto-restart", ExitCode: 9, Signalled: true}, false, false, "signal 9"},
	} {
		if u := tc.unit; u.Running() != tc.running || u.Enabled() != tc.enabled || u.End() != tc.end {
			t.Errorf("%+v: running %t, enabled %t, end %q", u, u.Running(), u.Enabled(), u.End())
		}
	}
}
