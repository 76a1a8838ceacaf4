package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

// What a pod reads in its own cgroup namespace resolves to the node's paths.
func TestContainerView(t *testing.T) {
	const state = "container-view-k6.12"
	var own string
	for line := range strings.Lines(string(fixtures.File(t, state, "inodes.txt"))) {
		if p, ok := strings.CutPrefix(line, "node /kubepods"); ok {
			own, _, _ = strings.Cut("/kubepods"+p, " ")
		}
	}
	if own == "" {
		t.Fatal("inodes.txt does not say where the pod is")
	}
	h := &hierarchy{mount: defaultMount, v2: true, own: own}
	const (
		burstable = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
		batch     = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod008ba0b976575161f797f9efd81e89b9.slice/"
	)
	want := map[string]string{
		"1":    "/init.scope",
		"2":    "/",
		"435":  "/system.slice/kubelet.service",
		"707":  burstable + "be5db35861ac2a7b1886bc3f26bc3a2b.slice/cri-containerd-cba8680550f6f33d25e144a8118716ae874a6e75d57bb0f7323175725df8835b.scope",
		"694":  batch + "cri-containerd-5857f0d92b0e1c95ff304c54facc3e4ac5f72aee5b886b051dfa4831089263f0.scope",
		"779":  "/kubepods.slice/kubepods-poda95ca866cfdd06d63248f5abce05d49d.slice/cri-containerd-81415abcce4a80353fe203fcaebd877170c062239c540ca36672552386dcc272.scope",
		"4243": parent(own) + "/cri-containerd-396459da25e376e3986918709caab0b55aefb1a768c9f0a490485c095dfc2db8.scope",
		"4521": own,
	}
	lines := 0
	for line := range strings.Lines(string(fixtures.File(t, state, "proc-pid-cgroup-from-inside.txt"))) {
		f := strings.Fields(line)
		raw, ok := findPlace([]byte(f[2]+"\n"), "")
		if !ok {
			t.Fatalf("no place in %q", line)
		}
		got, err := h.resolve(raw)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if strings.Contains(got, "..") || f[1] == "worker" && !strings.HasPrefix(got, "/kubepods.slice/kubepods-") {
			t.Errorf("%s resolves to %s", line, got)
		}
		if w, ok := want[f[0]]; ok {
			lines++
			if got != w {
				t.Errorf("pid %s is in %s, want %s", f[0], got, w)
			}
		}
	}
	if lines != len(want) {
		t.Errorf("%d of %d processes found", lines, len(want))
	}
}

// A process has a line for each hierarchy, on a node with both kinds in any order.
func TestFindPlace(t *testing.T) {
	const lines = "12:cpu,cpuacct:/c\nno line\n3:pids:/p:q\n1:name=systemd:/s\n0::/u\n"
	for c, want := range map[Controller]string{"": "/u", "cpuacct": "/c", "pids": "/p:q", "memory": ""} {
		if got, ok := findPlace([]byte(lines), c); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", c, got, ok, want)
		}
	}
}

// The container's mount table says that its namespace is its own.
func TestContainerMounts(t *testing.T) {
	raw := fixtures.File(t, "container-view-k6.12", "self-mountinfo.txt")
	inside, err := parseMounts("mountinfo", raw)
	if err != nil || len(inside) != 1 || inside[0].point != defaultMount || inside[0].relative {
		t.Errorf("its own mount: %+v, %v", inside, err)
	}
	table, err := mounts.Parse("mountinfo", raw)
	if err != nil {
		t.Error(err)
	}
	for _, line := range table.Mounts {
		m, ok := hierarchyOf(line)
		if ok && m.point == "/host/sys/fs/cgroup" && (!m.relative || m.top != "") {
			t.Errorf("the node's mount: %+v", m)
		}
	}
}

func TestResolve(t *testing.T) {
	unknown := errors.New("unknown")
	for _, c := range []struct {
		h    hierarchy
		raw  string
		want string
		err  error
	}{
		{raw: "/", want: "/"},
		{raw: "/a/b", want: "/a/b"},
		{raw: "/a (deleted)", want: "/a"},
		{raw: "/../a", err: ErrOutside},
		{h: hierarchy{own: "/a/b"}, raw: "/", want: "/a/b"},
		{h: hierarchy{own: "/a/b"}, raw: "/c", want: "/a/b/c"},
		{h: hierarchy{own: "/a/b"}, raw: "/../..", want: "/"},
		{h: hierarchy{own: "/a/b"}, raw: "/../../../x", err: ErrOutside},
		{h: hierarchy{ownErr: unknown}, raw: "/x", err: unknown},
		{h: hierarchy{top: "/docker/1"}, raw: "/docker/1/x", want: "/x"},
		{h: hierarchy{top: "/docker/1"}, raw: "/docker/1", want: "/"},
		{h: hierarchy{top: "/docker/1"}, raw: "/docker/12", err: ErrOutside},
	} {
		got, err := c.h.resolve(c.raw)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%+v %q: %q, %v; want %q, %v", c.h, c.raw, got, err, c.want, c.err)
		}
	}
}

func TestFindOwn(t *testing.T) {
	top := t.TempDir()
	mine := filepath.Join(top, "a", "b", "mine")
	for _, d := range []string{mine, filepath.Join(top, "a", "c"), filepath.Join(top, "d")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := findOwn(top, mine); err != nil || got != "/a/b/mine" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := findOwn(top, top); err == nil {
		t.Errorf("found %q, though we see the root and cannot tell where we are", got)
	}
	if got, err := findOwn(filepath.Join(top, "d"), mine); err == nil {
		t.Errorf("found %q, which is not below", got)
	}
	if _, err := findOwn(top, filepath.Join(top, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func FuzzFindPlace(f *testing.F) {
	f.Add([]byte("12:cpu,cpuacct:/c\n3:pids:/p:q\n0::/../x\n"), "pids", "/a/b")
	f.Add([]byte("0::/../../../../x (deleted)"), "", "/a/b")
	f.Fuzz(func(t *testing.T, b []byte, c, own string) {
		raw, ok := findPlace(b, Controller(c))
		if !ok {
			return
		}
		if !strings.HasPrefix(raw, "/") {
			t.Fatalf("%q is not absolute", raw)
		}
		got, err := (&hierarchy{own: own}).resolve(raw)
		if err != nil {
			return
		}
		for e := range strings.SplitSeq(got, "/") {
			if e == ".." || !strings.HasPrefix(got, "/") {
				t.Fatalf("%q in %q is %q", raw, own, got)
			}
		}
	})
}

func FuzzParseMounts(f *testing.F) {
	f.Add([]byte(v1Mountinfo + unifiedMountinfo))
	f.Add([]byte(v2Mountinfo))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := parseMounts("mountinfo", b)
		if err != nil && len(found) > 0 {
			t.Fatal("both mounts and an error")
		}
		seen := map[string]bool{}
		for _, m := range found {
			key := fmt.Sprint(m.v2, fmt.Sprintf("%q", m.controllers))
			if seen[key] || strings.HasPrefix(m.top, "/../") {
				t.Fatalf("%+v in %q", m, b)
			}
			seen[key] = true
		}
	})
}

func FuzzParsePressure(f *testing.F) {
	f.Add([]byte("some avg10=0.12 avg60=0.03 avg300=0.00 total=2519252\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1861038\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePressure(b)
		if err != nil {
			return
		}
		for _, s := range []Stall{p.Some, p.Full} {
			if !(s.Avg10 >= 0 && s.Avg60 >= 0 && s.Avg300 >= 0) || s.Total < 0 {
				t.Fatalf("%+v from %q", p, b)
			}
		}
	})
}

func FuzzFlat(f *testing.F) {
	f.Add([]byte("max 23\n"))
	f.Add([]byte("low 0\nhigh 0\nmax 18\noom 1\noom_kill 2\noom_group_kill 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines := 0
		if err := parseFlat(b, func(string, uint64) { lines++ }); err == nil && lines > strings.Count(string(b), "\n")+1 {
			t.Fatalf("%d lines from %q", lines, b)
		}
		if n, err := parseValue(b); err == nil && n >= noLimitFrom && n != NoLimit {
			t.Fatalf("%d from %q", n, b)
		}
		if pids, err := parseProcs(b); err == nil {
			for _, p := range pids {
				if p <= 0 {
					t.Fatalf("pid %d from %q", p, b)
				}
			}
		}
	})
}

func FuzzDirent(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x18\x00\x04abc\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := parseDirent(b)
		if ok && (e.size <= 0 || e.size > len(b) || strings.ContainsRune(e.name(), 0)) {
			t.Fatalf("%+v from %q", e, b)
		}
	})
}
