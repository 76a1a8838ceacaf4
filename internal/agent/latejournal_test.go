package agent

import (
	"os"
	"path/filepath"
	"testing"
)

// TestJournalThatComesLater is read from the next look on, and its health told.
func TestJournalThatComesLater(t *testing.T) {
	root := t.TempDir()
	l := readerOn(t, root)
	l.agent.config.JournalDirs = []string{"/var/log/journal"}
	l.poll(t.Context(), func(logBatch) {})
	if l.journal != nil || len(l.statuses()) != 0 {
		t.Fatal("a journal where there is none")
	}
	folder := filepath.Join(root, "var/log/journal/0123456789abcdef0123456789abcdef")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "system.journal"), []byte("not yet one"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.listed = 0 // as if the time to look for new logs had come
	l.poll(t.Context(), func(logBatch) {})
	if all := l.statuses(); len(all) != 1 || all[0].Source != "journal" {
		t.Errorf("statuses are %+v, want the journal's", all)
	}
}
