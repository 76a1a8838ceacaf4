package limits

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// A file system runs out of space: first low, then full, then emptied.
func TestFilesystemSpace(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) string{
		"ext4":  func(t *testing.T) string { dir := t.TempDir(); ext4(t, dir, ""); return dir },
		"tmpfs": func(t *testing.T) string { return tmpfs(t, "size=16m") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := make(t)
			n, p := node(t), probes.NewFilesystems()
			p.Thresholds.Paths = []string{dir}
			silent(t, look(t, p, n), problem.FilesystemSpaceLow, dir)

			file := filepath.Join(dir, "big")
			total := usage(t, dir).Avail
			fill(t, file, total*13/100)
			v := wrong(look(t, p, n), problem.FilesystemSpaceLow, dir)
			if v == nil || v.Severity != problem.Warning || v.Refused {
				t.Fatalf("with some 12 %% left: %+v", v)
			}

			fill(t, file, 0)
			r := look(t, p, n)
			for _, kind := range []problem.Kind{problem.FilesystemSpaceLow, problem.NoSpaceLeft} {
				v = wrong(r, kind, dir)
				if v == nil || v.Severity != problem.Critical || !v.Refused || !slices.Contains(v.Touches, problem.NewRef(problem.RefMount, dir)) {
					t.Errorf("%s when full: %+v", kind, v)
				}
			}
			if want := dir + " (" + dir + ") has nothing of its "; !strings.Contains(v.Message, want) {
				t.Errorf("%q, want %q", v.Message, want)
			}
			for _, m := range r.Measurements {
				if u := usage(t, dir); m.Resource == "filesystem_bytes" && m.Subject == dir && (m.Used != float64(u.Size-u.Free) || m.Max != m.Used) {
					t.Errorf("measured %+v of %+v", m, u)
				}
			}

			remove(t, file)
			r = look(t, p, n)
			silent(t, r, problem.FilesystemSpaceLow, dir)
			silent(t, r, problem.NoSpaceLeft, dir)
		})
	}
}

// A file system with room for data runs out of inodes.
func TestFilesystemInodes(t *testing.T) {
	dir := tmpfs(t, "size=16m,nr_inodes=200")
	n, p := node(t), probes.NewFilesystems()
	p.Thresholds.Paths = []string{dir}
	silent(t, look(t, p, n), problem.FilesystemInodesLow, dir)
	made := 0
	for ; ; made++ {
		err := os.WriteFile(filepath.Join(dir, fmt.Sprint(made)), nil, 0o644)
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		if err != nil || made > 200 {
			t.Fatal(made, err)
		}
	}
	r := look(t, p, n)
	for _, kind := range []problem.Kind{problem.FilesystemInodesLow, problem.NoSpaceLeft} {
		if v := wrong(r, kind, dir); v == nil || v.Severity != problem.Critical || !v.Refused || !strings.Contains(v.Message, "nothing of its 200 inodes left") {
			t.Errorf("%s without inodes: %+v", kind, v)
		}
	}
	silent(t, r, problem.FilesystemSpaceLow, dir)
	for i := range made {
		remove(t, filepath.Join(dir, fmt.Sprint(i)))
	}
	silent(t, look(t, p, n), problem.FilesystemInodesLow, dir)
}

// A pod's volume fills up, below kubelet's folder: the pod's trouble and not the node's.
func TestVolumeSpace(t *testing.T) {
	needRoot(t)
	const root, uid = "/var/lib/kubelet", "0c1d2e3f-4a5b-6c7d-8e9f-0a1b2c3d4e5f"
	if inside, _ := os.ReadDir(root); len(inside) > 0 {
		t.Skipf("SKIPPED: %s is somebody's, and is not to be touched", root)
	}
	dir := root + "/pods/" + uid + "/volumes/kubernetes.io~csi/data/mount"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // mounts are gone by then; of a file system that is not, nothing is removed
		remove(t, filepath.Dir(dir)+"/vol_data.json")
		remove(t, root+"/config.yaml")
		for d := dir; d != "/var/lib"; d = filepath.Dir(d) {
			remove(t, d)
		}
	})
	put(t, root, "config.yaml", "kind: KubeletConfiguration\n")
	put(t, filepath.Dir(dir), "vol_data.json", `{"specVolID":"pvc-42","volumeHandle":"vol-1"}`)
	ext4(t, dir, "")
	n, p := node(t), probes.NewVolumes()
	const subject = "volume pvc-42"
	silent(t, look(t, p, n), problem.VolumeSpaceLow, subject)
	fill(t, dir+"/big", 0)
	v := wrong(look(t, p, n), problem.VolumeSpaceLow, subject)
	if v == nil || v.Severity != problem.Critical || v.Scope != problem.PodScope || !v.Refused ||
		!slices.Contains(v.Touches, problem.NewRef(problem.RefPod, uid)) || !strings.Contains(v.Message, "volume pvc-42 of pod uid "+uid+" has nothing of its ") {
		t.Errorf("when full: %+v", v)
	}
	remove(t, dir+"/big")
	silent(t, look(t, p, n), problem.VolumeSpaceLow, subject)
}
