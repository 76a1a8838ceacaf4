package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// The test's own binary has a list of modules, too.
func TestBillOfABinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := write(&out, "v1", []string{self}); err != nil {
		t.Fatal(err)
	}
	var doc document
	if err := json.Unmarshal([]byte(out.String()), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Format != "CycloneDX" || doc.Metadata.Component.Version != "v1" ||
		!slices.ContainsFunc(doc.Components, func(c component) bool { return c.Name == "std" && c.Version != "" }) {
		t.Errorf("%s", out.String())
	}
}

func TestNoBinary(t *testing.T) {
	if err := write(&strings.Builder{}, "v1", []string{"main.go"}); err == nil || !strings.Contains(err.Error(), "main.go") {
		t.Errorf("err %v, want one that names the file", err)
	}
}
