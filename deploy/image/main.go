// Command image packs the static binary into an OCI image without any tool: an
// image layout (github.com/opencontainers/image-spec, image-layout.md) in one tar
// archive, which podman, skopeo, ctr and kind load, with one image a platform.
// The same binaries give the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	out := flag.String("o", "", "archive to write")
	version := flag.String("version", "dev", "version, the image's tag")
	flag.Parse()
	if err := run(*out, *version, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run packs the binaries, each given as ARCH=FILE.
func run(out, version string, binaries []string) (err error) {
	if out == "" || len(binaries) == 0 {
		return fmt.Errorf("usage: image -o ARCHIVE [-version V] ARCH=BINARY…")
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	l := layout{w: tar.NewWriter(f)}
	for _, b := range binaries {
		arch, file, ok := strings.Cut(b, "=")
		if !ok {
			return fmt.Errorf("%q is not ARCH=BINARY", b)
		}
		binary, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := l.add(arch, binary); err != nil {
			return err
		}
	}
	return l.finish(version)
}

// Media types of the OCI image specification.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// layout is an image layout that is being written.
type layout struct {
	w      *tar.Writer
	images []descriptor
	blobs  []string
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// add adds the image of one platform: a layer with the binary, and nothing else.
func (l *layout) add(arch string, binary []byte) error {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err := w.WriteHeader(&tar.Header{Name: "agent", Mode: 0o755, Size: int64(len(binary)), Format: tar.FormatUSTAR})
	if err == nil {
		_, err = w.Write(binary)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed) // without a date, so that the same binary gives the same layer
	if _, err := z.Write(layer.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	layerDesc, err := l.blob(typeLayer, packed.Bytes())
	if err != nil {
		return err
	}
	p := platform{Architecture: arch, OS: "linux"}
	config, err := l.json(typeConfig, map[string]any{
		"architecture": p.Architecture, "os": p.OS,
		"config": map[string]any{"Entrypoint": []string{"/agent"}, "User": "0"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(layer.Bytes())}},
	})
	if err != nil {
		return err
	}
	manifest, err := l.json(typeManifest, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": []descriptor{layerDesc},
	})
	manifest.Platform = &p
	l.images = append(l.images, manifest)
	return err
}

// finish writes what names the images, and the end of the archive.
func (l *layout) finish(version string) error {
	index, err := l.json(typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": l.images})
	if err != nil {
		return err
	}
	index.Annotations = map[string]string{
		"org.opencontainers.image.ref.name": version,
		"io.containerd.image.name":          "ghcr.io/nodevitals/nodevitals:" + version,
	}
	top, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{index}})
	if err != nil {
		return err
	}
	if err := l.file("index.json", top); err != nil {
		return err
	}
	if err := l.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	return l.w.Close()
}

func (l *layout) json(mediaType string, v any) (descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return l.blob(mediaType, b)
}

// digestOf names content.
func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// blob writes content under its digest, once.
func (l *layout) blob(mediaType string, b []byte) (descriptor, error) {
	d := descriptor{MediaType: mediaType, Digest: digestOf(b), Size: len(b)}
	if slices.Contains(l.blobs, d.Digest) {
		return d, nil
	}
	l.blobs = append(l.blobs, d.Digest)
	return d, l.file("blobs/"+strings.Replace(d.Digest, ":", "/", 1), b)
}

func (l *layout) file(name string, b []byte) error {
	if err := l.w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err := io.Copy(l.w, bytes.NewReader(b))
	return err
}
