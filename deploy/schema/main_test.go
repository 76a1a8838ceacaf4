package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestChartIsUpToDate(t *testing.T) {
	all, err := files("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range all {
		got, err := os.ReadFile(filepath.Join("../chart/nodevitals", name))
		if err != nil || string(got) != string(want) {
			t.Errorf("deploy/chart/nodevitals/%s is not what the code says (%v): run make generate", name, err)
		}
	}
}
