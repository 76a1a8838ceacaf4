// Package journalfile reads the files of systemd-journald without libsystemd:
// every layout that systemd 246 and later write (regular and compact, keyed
// hashes or not; zstd, lz4, xz or nothing), live ones too, from damaged ones
// what can be saved.
//
// File reads one file. Reader follows folders of them: every record once,
// across rotation and restarts. Read looks back, through the files' indexes.
//
// The format is described in https://systemd.io/JOURNAL_FILE_FORMAT/ and in
// systemd's src/libsystemd/sd-journal/journal-def.h. The files are read with
// pread(2) and never mapped: a page fault on a hung disk would stop the whole
// process, and on a truncated file kill it. They are polled, since journald
// itself delays its change notifications by 250 ms, and since inotify may be
// the very thing that is exhausted.
//
// A File, a Reader and what they hand over belong to one goroutine.
package journalfile
