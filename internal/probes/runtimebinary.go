package probes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// RuntimeBinary sees whether the runtime that runs is the one that is installed,
// and whether two of them work on the same folder.
type RuntimeBinary struct{}

// NewRuntimeBinary is the probe.
func NewRuntimeBinary() *RuntimeBinary { return &RuntimeBinary{} }

// Name implements Probe.
func (*RuntimeBinary) Name() string { return "runtimebinary" }

// Kinds implements Probe.
func (*RuntimeBinary) Kinds() []problem.Kind { return []problem.Kind{problem.RuntimeBinaryMismatch} }

// runtimeDaemons are the command names of the runtimes themselves.
func runtimeDaemons() []string { return []string{"containerd", "dockerd", "cri-dockerd", "crio"} }

// Run implements Probe.
func (p *RuntimeBinary) Run(ctx context.Context, n *Node) (problem.Result, error) {
	found, err := process.Find(ctx, n.Host, runtimeDaemons()...)
	if err != nil && len(found) == 0 {
		return problem.Result{}, err
	}
	var daemons []runtimeDaemon
	for _, d := range found {
		o := n.Owners.OfPID(d.PID)
		if o.Scope() == problem.PodScope {
			continue // docker in docker is that pod's own affair
		}
		rd := runtimeDaemon{Process: d, owner: o.String(), refs: append(o.Refs(), problem.NewRef(problem.RefProcess, d.Comm))}
		if rd.exe, rd.err = os.Readlink(n.Host.Path(fmt.Sprintf("/proc/%d/exe", d.PID))); errors.Is(rd.err, fs.ErrNotExist) {
			continue // it has ended
		}
		daemons = append(daemons, rd)
	}
	if len(daemons) == 0 && err == nil {
		return problem.Result{}, problem.NotApplicablef("no container runtime of its own runs here")
	}
	for i := range daemons {
		// One alone shares its folder with nobody.
		if d := &daemons[i]; slices.ContainsFunc(daemons, func(o runtimeDaemon) bool { return o.Comm == d.Comm && o.PID != d.PID }) {
			d.databases = databases(n.Host, d.PID)
		}
	}
	r := problem.Result{Verdicts: evaluateRuntimeDaemons(daemons)}
	if err != nil {
		r.Partial = err.Error()
	}
	return r, nil
}

// runtimeDaemon is a running runtime.
type runtimeDaemon struct {
	process.Process
	owner     string
	refs      []problem.Ref
	exe       string // as the kernel has it: with " (deleted)" behind it if it is gone
	err       error
	databases []database
}

// database is a file that a daemon has open. Which it is, its inode says: on nodes
// in containers of one machine each runtime has one of the same name.
type database struct {
	path string
	inode
}

func evaluateRuntimeDaemons(daemons []runtimeDaemon) []problem.Verdict {
	var vs []problem.Verdict
	for i, d := range daemons {
		v := problem.Verdict{
			Kind: problem.RuntimeBinaryMismatch, Subject: d.Comm, State: problem.Wrong, Severity: problem.Info, Touches: d.refs,
			Holders: []problem.Holder{{Owner: d.owner, Process: d.Comm, PID: d.PID, Amount: 1, Unit: problem.Processes}},
		}
		if d.err != nil {
			v = problem.Verdict{Kind: problem.RuntimeBinaryMismatch, Subject: d.Comm, State: problem.Unknown, Message: d.err.Error()}
			vs = append(vs, v)
			continue
		}
		if file, gone := strings.CutSuffix(d.exe, " (deleted)"); gone {
			v.Message = fmt.Sprintf("%s runs from a file that was replaced or removed since: it was updated and not restarted", d.Comm)
			v.Evidence = []string{fmt.Sprintf("/proc/%d/exe: %s (deleted)", d.PID, file)}
			vs = append(vs, v)
		}
		for _, other := range daemons[:i] {
			for _, db := range d.databases {
				if other.Comm == d.Comm && slices.ContainsFunc(other.databases, func(o database) bool { return o.inode == db.inode }) {
					v.Message = fmt.Sprintf("two %s work on the same folder: processes %d and %d", d.Comm, other.PID, d.PID)
					v.Evidence = []string{fmt.Sprintf("/proc/%d/fd and /proc/%d/fd: %s", other.PID, d.PID, db.path)}
					vs = append(vs, v)
					break
				}
			}
		}
	}
	return vs
}

// databases are the databases that a daemon has open: containerd keeps meta.db below
// its root, dockerd several. A second daemon opens it before it waits for its lock.
func databases(h *host.Host, pid int) []database {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	var files []database
	_ = h.EachName(dir, func(fd string) bool { // what may not be read is not known to be shared
		link := h.Path(dir + "/" + fd)
		file, err := os.Readlink(link)
		if err != nil || !strings.HasSuffix(file, ".db") {
			return true
		}
		var st unix.Statx_t
		// It may be on a file system that hangs: of that only what the kernel has at hand.
		if unix.Statx(unix.AT_FDCWD, link, unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st) == nil {
			files = append(files, database{file, inode{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}})
		}
		return true
	})
	return files
}
