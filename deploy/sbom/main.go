// Command sbom prints the software bill of materials of Go binaries in the
// CycloneDX format (https://cyclonedx.org/docs/1.5/json/): what their linker has
// recorded of the modules in them.
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom VERSION BINARY...")
		os.Exit(64)
	}
	if err := write(os.Stdout, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

type document struct {
	Format     string      `json:"bomFormat"`
	Spec       string      `json:"specVersion"`
	Version    int         `json:"version"`
	Metadata   metadata    `json:"metadata"`
	Components []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	URL     string `json:"purl"`
}

func write(w io.Writer, version string, binaries []string) error {
	modules := map[string]component{}
	var main, goVersion string
	for _, b := range binaries {
		info, err := buildinfo.ReadFile(b)
		if err != nil {
			return fmt.Errorf("%s: %w", b, err)
		}
		main, goVersion = info.Main.Path, strings.TrimPrefix(info.GoVersion, "go")
		for _, m := range info.Deps {
			c := module(m)
			modules[c.URL] = c
		}
	}
	doc := document{
		Format: "CycloneDX", Spec: "1.5", Version: 1,
		Metadata: metadata{component{"application", main, version, "pkg:golang/" + main + "@" + version}},
	}
	for _, c := range modules {
		doc.Components = append(doc.Components, c)
	}
	doc.Components = append(doc.Components, component{"library", "std", goVersion, "pkg:golang/std@" + goVersion})
	slices.SortFunc(doc.Components, func(a, b component) int { return strings.Compare(a.URL, b.URL) })
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}

// module is one in the binary; one that was replaced is what replaced it. (The sum
// of a module is that of its tree, no hash of a file, so it is not among CycloneDX' hashes.)
func module(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	return component{"library", m.Path, m.Version, "pkg:golang/" + m.Path + "@" + m.Version}
}
