package kubelet

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
)

var update = flag.Bool("update", false, "write the golden files anew")

func read(t *testing.T, root string) (Settings, error) {
	t.Helper()
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	return Read(h)
}

// Each folder of testdata is a setup: root is the node's files, want.json what is
// read from them.
func TestSetups(t *testing.T) {
	wants, err := filepath.Glob("testdata/*/root")
	if err != nil || len(wants) < 15 {
		t.Fatalf("%d setups, %v", len(wants), err)
	}
	for _, root := range wants {
		dir := filepath.Dir(root)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			s, err := read(t, root)
			got := struct {
				Error    string `json:",omitempty"`
				Settings Settings
			}{Settings: s}
			if err != nil {
				got.Error = err.Error()
			}
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(got); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join(dir, "want.json")
			if *update {
				if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), want) {
				t.Errorf("got %s\nwant %s", b.Bytes(), want)
			}
		})
	}
}

// What kubelet wants to have reclaimed is part of both thresholds of a signal; 0 is allowed.
func TestMinimumReclaim(t *testing.T) {
	s, err := read(t, "testdata/minimum-reclaim/root")
	want := map[string]Threshold{
		"memory.available": {Signal: "memory.available", Quantity: 500 << 20},
		"nodefs.available": {Signal: "nodefs.available", Percent: 10, ReclaimQuantity: 2 << 30},
		"pid.available":    {Signal: "pid.available", Quantity: 1000, ReclaimPercent: 3},
	}
	if err != nil || !reflect.DeepEqual(s.EvictionHard, want) {
		t.Errorf("%v, %+v", err, s.EvictionHard)
	}
	if soft := s.EvictionSoft["nodefs.available"]; soft.ReclaimQuantity != 2<<30 || soft.Grace != time.Minute {
		t.Errorf("%+v", soft)
	}
}

// What the golden files must say, whoever updates them.
func TestWhatCounts(t *testing.T) {
	hard := func(pairs ...any) map[string]Threshold {
		m := map[string]Threshold{}
		for i := 0; i < len(pairs); i += 2 {
			l, err := parseLimit(pairs[i+1].(string))
			if err != nil {
				t.Fatal(err)
			}
			signal := pairs[i].(string)
			m[signal] = Threshold{Signal: signal, Quantity: l.quantity, Percent: l.percent}
		}
		return m
	}
	for setup, want := range map[string]map[string]Threshold{
		"kubeadm": hard("memory.available", "100Mi", "nodefs.available", "10%", "nodefs.inodesFree", "5%",
			"imagefs.available", "15%", "imagefs.inodesFree", "5%"),
		// Some thresholds set: the others are off.
		"partial-eviction-hard": hard("memory.available", "500Mi", "pid.available", "1000"),
		"merge-default-eviction": hard("memory.available", "100Mi", "nodefs.available", "20Gi", "nodefs.inodesFree", "5%",
			"imagefs.available", "15%", "imagefs.inodesFree", "5%"),
		// Drop-ins merge by key; null takes away.
		"drop-in-dir": hard("memory.available", "750Mi", "nodefs.available", "10%", "nodefs.inodesFree", "3%"),
		// A flag clears what the config has, and adds to itself.
		"flags-only":   hard("nodefs.available", "5%", "memory.available", "200Mi", "imagefs.available", "8%"),
		"k3s":          hard("imagefs.available", "5%", "nodefs.available", "5%"),
		"k3s-drop-ins": hard("memory.available", "300Mi"),
		"microk8s":     hard("memory.available", "100Mi", "nodefs.available", "1Gi", "imagefs.available", "1Gi"),
	} {
		s, err := read(t, filepath.Join("testdata", setup, "root"))
		if err != nil || !s.Found || !reflect.DeepEqual(s.EvictionHard, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", setup, err, s.EvictionHard, want)
		}
	}
}

func TestErrorsNameTheFileAndLine(t *testing.T) {
	for setup, want := range map[string][]string{
		"broken-yaml":        {"/var/lib/kubelet/config.yaml", "line 4"},
		"broken-quantity":    {"/var/lib/kubelet/config.yaml", "line 4", "100MiB"},
		"garbage":            {"/var/lib/kubelet/config.yaml"},
		"broken-flag":        {"/etc/systemd/system/kubelet.service", "--healthz-port", "many"},
		"broken-k3s":         {"/etc/rancher/k3s/config.yaml", "line"},
		"soft-without-grace": {"/etc/systemd/system/kubelet.service", "memory.available", "grace period"},
		"config-missing":     {"/etc/kubernetes/gone.yaml", "no such file"},
	} {
		s, err := read(t, filepath.Join("testdata", setup, "root"))
		if err == nil || !s.Found || s.Distribution == "" {
			t.Errorf("%s: found %v (%s), error %v", setup, s.Found, s.Distribution, err)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %q does not say %q", setup, err, w)
			}
		}
	}
}

func TestNoKubeletIsNoError(t *testing.T) {
	s, err := read(t, "testdata/no-kubelet/root")
	if err != nil || !reflect.DeepEqual(s, Settings{}) {
		t.Errorf("%+v, %v", s, err)
	}
}

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	files["proc/loadavg"] = ""
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestHugeFileIsRefused(t *testing.T) {
	root := tree(t, map[string]string{"var/lib/kubelet/config.yaml": strings.Repeat("# padding\n", maxFile/10+1)})
	if _, err := read(t, root); err == nil || !strings.Contains(err.Error(), "config.yaml: larger than 1 MiB") {
		t.Errorf("error %v", err)
	}
}

func TestCircleOfLinksEnds(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet --config-dir=/etc/conf.d --config=/etc/a\n",
		"etc/conf.d/x.conf":                  "kind: KubeletConfiguration\n",
	})
	for link, target := range map[string]string{"etc/a": "/etc/b", "etc/b": "/etc/a", "etc/conf.d/self": "/etc/conf.d"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := read(t, root); err == nil || !strings.Contains(err.Error(), "/etc/a") {
		t.Errorf("a circle of links: error %v", err)
	}
	if err := os.Remove(filepath.Join(root, "etc/a")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/a"), []byte("kind: KubeletConfiguration"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, root); err == nil || !strings.Contains(err.Error(), "folders deep") {
		t.Errorf("a folder within itself: error %v", err)
	}
}

func TestLinksStayBelowTheRoot(t *testing.T) {
	root := tree(t, map[string]string{"data/f": "inside", "x/y/z": ""})
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{h: h}
	for link, target := range map[string]string{"abs": "/data/f", "up": "../../../../data/f", "x/y/rel": "../../data", "chain": "/abs"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"/abs": "/data/f", "/up": "/data/f", "/x/y/rel/f": "/data/f", "/chain": "/data/f",
		"/data/f": "/data/f", "/absent/x": "/absent/x", "data/f": "/data/f", "/": "/",
	} {
		if got := h.Resolve(name); got != want {
			t.Errorf("Resolve(%q) = %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"/abs", "/up", "/x/y/rel/f", "data/f"} {
		if b, err := r.read(name); string(b) != "inside" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestReadOnThisHost(t *testing.T) {
	h, err := host.New("/")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Read(h)
	if err != nil {
		t.Skipf("this machine's own kubelet is set up in a way that cannot be read: %v", err)
	}
	if s.Found != (s.Distribution != "") {
		t.Errorf("found %v, but distribution %q", s.Found, s.Distribution)
	}
}
