package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// read unpacks an archive into a map of its files.
func read(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = b
	}
}

// TestImage: every descriptor leads to a blob of its digest and size, down to
// the binary of each platform; and the same binaries give the same archive.
func TestImage(t *testing.T) {
	dir := t.TempDir()
	var args []string
	for _, arch := range []string{"amd64", "arm64"} {
		file := filepath.Join(dir, arch)
		if err := os.WriteFile(file, []byte("binary for "+arch), 0o755); err != nil {
			t.Fatal(err)
		}
		args = append(args, arch+"="+file)
	}
	var archives [2][]byte
	for i := range archives {
		out := filepath.Join(dir, "image.tar")
		if err := run(out, "v1", args); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same binaries give another archive")
	}
	files := read(t, bytes.NewReader(archives[0]))
	if string(files["oci-layout"]) != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout: %s", files["oci-layout"])
	}
	type node struct {
		Manifests []descriptor `json:"manifests"`
		Config    *descriptor  `json:"config"`
		Layers    []descriptor `json:"layers"`
	}
	seen := map[string]string{} // platform → binary
	var named, unpacked []string
	var walk func(b []byte, arch string)
	walk = func(b []byte, arch string) {
		var n node
		if err := json.Unmarshal(b, &n); err != nil {
			t.Fatal(err)
		}
		next := slices.Concat(n.Manifests, n.Layers)
		if n.Config != nil {
			next = append(next, *n.Config)
		}
		for _, d := range next {
			blob, ok := files["blobs/sha256/"+d.Digest[len("sha256:"):]]
			if sum := fmt.Sprintf("sha256:%x", sha256.Sum256(blob)); !ok || sum != d.Digest || len(blob) != d.Size {
				t.Fatalf("%+v leads to %d bytes of %s", d, len(blob), sum)
			}
			if d.Platform != nil {
				arch = d.Platform.Architecture
			}
			switch d.MediaType {
			case typeIndex, typeManifest:
				walk(blob, arch)
			case typeLayer:
				z, err := gzip.NewReader(bytes.NewReader(blob))
				if err != nil {
					t.Fatal(err)
				}
				layer, err := io.ReadAll(z)
				if err != nil {
					t.Fatal(err)
				}
				seen[arch] = string(read(t, bytes.NewReader(layer))["agent"])
				unpacked = append(unpacked, digestOf(layer))
			case typeConfig:
				var c struct {
					RootFS struct {
						DiffIDs []string `json:"diff_ids"`
					} `json:"rootfs"`
				}
				if err := json.Unmarshal(blob, &c); err != nil {
					t.Fatal(err)
				}
				named = append(named, c.RootFS.DiffIDs...)
			}
		}
	}
	walk(files["index.json"], "")
	if !slices.Equal(named, unpacked) { // by what a layer is when it is unpacked
		t.Errorf("the configurations name the layers %q, which are %q", named, unpacked)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if seen[arch] != "binary for "+arch {
			t.Errorf("%s holds %q", arch, seen[arch])
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"amd64"}, {"amd64=/no/such/file"}} {
		if err := run(filepath.Join(t.TempDir(), "x"), "v1", args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
