package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/journal"
	"github.com/nodevitals/nodevitals/internal/journal/journalfile"
	"github.com/nodevitals/nodevitals/internal/rules"
)

// cursors say how far each log has been read, so that a restart goes on there.
type cursors struct {
	Journal *journalfile.Cursor           `json:"journal,omitempty"`
	Kmsg    uint64                        `json:"kmsg,omitempty"` // of this boot only
	Text    map[string]journal.TextCursor `json:"text,omitempty"`
}

// logSource is one place that log records come from.
type logSource interface {
	name() string
	// poll hands over what is new. text says that the record's message is a line as
	// it stands in a file, whose prefix has not been read yet. It ends with visit's
	// error, if that has one.
	poll(visit func(r *journal.Record, text bool) error) error
	// blind says why records are missing that are being written now.
	blind(now time.Time) string
	// save notes how far it has read.
	save(c *cursors)
	close()
}

// journalSource reads systemd's journal files.
type journalSource struct {
	reader *journalfile.Reader
	kernel bool // hand over the kernel's records, too
}

func newJournalSource(h *host.Host, dirs []string, kernel bool, since time.Time, from *journalfile.Cursor) *journalSource {
	var paths []string
	for _, d := range dirs {
		paths = append(paths, h.Locate(d))
	}
	s := &journalSource{reader: journalfile.NewReader(paths, journalfile.Options{}), kernel: kernel}
	if from != nil {
		s.reader.SeekCursor(*from)
	} else {
		s.reader.SeekTime(since)
	}
	return s
}

// mayHoldJournal reports whether there are journal files in a folder, or in the
// folders in it (one a machine id); or whether we may not even look.
func mayHoldJournal(dir string, below int) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return strings.HasSuffix(e.Name(), ".journal") || below > 0 && e.IsDir() && mayHoldJournal(filepath.Join(dir, e.Name()), below-1)
	})
}

func (*journalSource) name() string { return "journal" }

func (s *journalSource) poll(visit func(*journal.Record, bool) error) error {
	_, err := s.reader.Next(func(r *journal.Record) error {
		if r.Kernel && !s.kernel {
			return nil // /dev/kmsg has it, too
		}
		return visit(r, false)
	})
	return err
}

func (s *journalSource) blind(now time.Time) string { return s.reader.Health(now).Blind }

func (s *journalSource) save(c *cursors) {
	cursor := s.reader.Cursor()
	c.Journal = &cursor
}

func (s *journalSource) close() { s.reader.Close() }

// kmsgSource reads the kernel's own log.
type kmsgSource struct {
	kmsg  *journal.Kmsg
	boot  string
	since time.Duration // records before it, in boot time, do not matter
	err   error
}

// openKmsg opens the kernel's log, where that is this host's and we may.
func openKmsg(h *host.Host, boot string, since time.Duration, after uint64) (*kmsgSource, error) {
	k, err := journal.OpenKmsg(h.Path("/dev/kmsg"), after)
	if err != nil {
		return nil, err
	}
	return &kmsgSource{kmsg: k, boot: boot, since: since}, nil
}

// kmsgName is the source of the records that the kernel itself hands out.
const kmsgName = "kmsg"

func (*kmsgSource) name() string { return kmsgName }

func (s *kmsgSource) poll(visit func(*journal.Record, bool) error) error {
	var failed error
	s.err = s.kmsg.Poll(func(r *journal.Record) {
		if failed == nil && r.Boot >= s.since {
			r.BootID = s.boot
			failed = visit(r, false)
		}
	})
	return failed
}

func (s *kmsgSource) blind(time.Time) string {
	if s.err != nil {
		return s.err.Error()
	}
	return ""
}

func (s *kmsgSource) save(c *cursors) { c.Kmsg = s.kmsg.Last() }
func (s *kmsgSource) close()          { s.kmsg.Close() }

// textSource reads one plain log file.
type textSource struct {
	path string // on the host
	log  *journal.TextLog
	rec  journal.Record // what is known of every line
	only *rules.Set     // if not nil, the only rules for it
	// first: what is read now was written before we came, at a time that only its
	// own stamp can tell.
	first bool
	// drained is the boot time at which it was last read to its end.
	drained time.Duration
	err     error
	skip    int // polls to leave out, of a file that is not there
}

// absentEvery is every how many polls a file that is not there is looked for:
// once a second. Its first lines wait for it, and are not lost.
const absentEvery = int(time.Second / logPoll)

func (s *textSource) name() string { return s.path }

func (s *textSource) poll(visit func(*journal.Record, bool) error) error {
	if s.skip > 0 {
		s.skip--
		return nil
	}
	var failed error
	s.err = s.log.Poll(func(line []byte) {
		if failed == nil {
			r := s.rec
			r.Message = line
			failed = visit(&r, true)
		}
	})
	s.first = false
	if s.absent() {
		s.skip = absentEvery
	}
	return failed
}

// absent: there is no such file, which says nothing.
func (s *textSource) absent() bool { return errors.Is(s.err, os.ErrNotExist) }

func (s *textSource) blind(time.Time) string {
	if s.err != nil && !s.absent() {
		return s.err.Error()
	}
	return ""
}

func (s *textSource) save(c *cursors) {
	if c.Text == nil {
		c.Text = map[string]journal.TextCursor{}
	}
	if cursor := s.log.Cursor(); cursor != (journal.TextCursor{}) {
		c.Text[s.path] = cursor
	}
}

func (s *textSource) close() { s.log.Close() }

// copiesJournal reports whether a file is one that syslog daemons write: all
// that stands there, the journal has, too.
func copiesJournal(path string) bool {
	return slices.Contains([]string{"/var/log/messages", "/var/log/syslog", "/var/log/kern.log"}, path)
}

// openText follows a log file of the host: from a cursor, or its last `back` bytes.
func openText(h *host.Host, path string, from *journal.TextCursor, back int64) (*textSource, error) {
	s := &textSource{path: path, rec: journal.Record{Source: path}}
	real, err := logFile(h, path)
	if err != nil {
		return nil, err
	}
	if from != nil {
		s.log, err = journal.ResumeTextLog(h.Path(real), *from)
	} else {
		s.first = true
		s.log, err = journal.NewTextLog(h.Path(real), back)
	}
	return s, err
}

// podLogs is kubelet's folder of the containers' logs.
const podLogs = "/var/log/pods"

// maxContainerLogs are more than a node has of these pods: one or two each, of
// kubelet's two newest containers.
const maxContainerLogs = 64

// containerLogs are the log files of the containers whose own words matter to
// the node: DNS and the service proxy. They are found by the names of kubelet's
// folders, namespace_pod_uid/container/N.log; at most maxContainerLogs, each of
// which takes a descriptor.
func containerLogs(h *host.Host) map[string]journal.Record {
	found := map[string]journal.Record{}
	for _, pattern := range []string{
		podLogs + "/kube-system_*/coredns/*.log", podLogs + "/kube-system_*/kubedns/*.log",
		podLogs + "/kube-system_*/kube-proxy/*.log",
	} {
		matches, err := filepath.Glob(h.Path(pattern))
		if err != nil {
			continue // a pattern of ours is never malformed
		}
		for _, m := range matches {
			path := strings.TrimPrefix(m, strings.TrimSuffix(h.Root(), "/"))
			container := filepath.Base(filepath.Dir(path))
			folder := strings.SplitN(filepath.Base(filepath.Dir(filepath.Dir(path))), "_", 3)
			if len(folder) == 3 && len(found) < maxContainerLogs {
				found[path] = journal.Record{Source: path, Pod: fmt.Sprintf("%s/%s", folder[0], folder[1]), Container: container}
			}
		}
	}
	return found
}
