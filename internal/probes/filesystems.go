package probes

import (
	"context"
	"fmt"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Filesystems watches the space and the inodes of the file systems that the node
// depends on: those of /, kubelet, the runtime and its images, logs and etcd.
type Filesystems struct {
	Thresholds FilesystemsThresholds
	usage      usageFunc // nil: statfs
}

// FilesystemsThresholds are the thresholds of Filesystems.
type FilesystemsThresholds struct {
	// Space is the share of space that is available, as df shows it.
	Space Room `yaml:"space"`
	// Inodes is the share of inodes that is free.
	Inodes Room `yaml:"inodes"`
	// Paths are further paths whose file systems are watched.
	Paths []string `yaml:"paths"`
}

// NewFilesystems is the probe with its default thresholds.
func NewFilesystems() *Filesystems {
	return &Filesystems{Thresholds: FilesystemsThresholds{
		// kubelet begins to remove images at 15 % left and to evict pods at 10 %
		// of the whole disk, which is a little earlier than 10 % of what df counts.
		Space: Room{Warning: 15, Critical: 10},
		// kubelet evicts at 5 %, and nothing that it removes first has many inodes.
		Inodes: Room{Warning: 10, Critical: 5},
	}}
}

// full is what is left of a file system, in bytes, when it refuses to take more:
// the last blocks cannot be had by everyone, and few writes are that small.
const full = 1 << 20

// Name implements Probe.
func (*Filesystems) Name() string { return "filesystems" }

// Kinds implements Probe.
func (*Filesystems) Kinds() []problem.Kind {
	return []problem.Kind{problem.FilesystemSpaceLow, problem.FilesystemInodesLow, problem.NoSpaceLeft}
}

// Run implements Probe.
func (p *Filesystems) Run(_ context.Context, n *Node) (problem.Result, error) {
	_, all, partial, err := p.look(n.Host)
	if err != nil {
		return problem.Result{}, err
	}
	r := evaluateFilesystems(all, p.Thresholds)
	r.Partial = partial
	return r, nil
}

// look measures the watched file systems.
func (p *Filesystems) look(h *host.Host) (v *mountView, all []fileSystem, partial string, err error) {
	if v, err = viewMounts(h, p.usage); err != nil {
		return nil, nil, "", err
	}
	settings, err := kubelet.Read(h)
	paths, partial := watchedPaths(settings, err, p.Thresholds.Paths)
	if partial == "" {
		partial = v.partial
	}
	return v, watchedFileSystems(v, paths), partial, nil
}

func evaluateFilesystems(all []fileSystem, th FilesystemsThresholds) problem.Result {
	var r problem.Result
	var spaces, inodes, unknown int
	for _, f := range all {
		if f.err != nil {
			unknown++
			for _, k := range (*Filesystems)(nil).Kinds() {
				r.Verdicts = append(r.Verdicts, problem.Verdict{
					Kind: k, Subject: f.mount.Point, State: problem.Unknown,
					Message: fmt.Sprintf("%s: %v", f, f.err), Touches: f.touches,
				})
			}
			continue
		}
		space, inode := spaceOf(f.usage), inodesOf(f.usage)
		if f.image() || space.total() == 0 {
			continue
		}
		spaces++
		r.Measurements = append(r.Measurements, space.measurement("filesystem_bytes", f.mount.Point, problem.Bytes, f.touches))
		low := judgeSpace(f, space, th)
		if inode.total() != 0 {
			inodes++
			r.Measurements = append(r.Measurements, inode.measurement("filesystem_inodes", f.mount.Point, problem.Inodes, f.touches))
			// XFS makes inodes of free space, so that a full one has none either:
			// then space is what it lacks.
			if f.mount.FSType != "xfs" || len(low) == 0 {
				low = append(low, judgeInodes(f, inode, th)...)
			}
		}
		r.Verdicts = append(r.Verdicts, withNoSpace(low)...)
	}
	if spaces == 0 && unknown == 0 {
		const why = "all watched file systems are read-only images"
		r.Verdicts = append(r.Verdicts, undecided(problem.NotApplicable, why, problem.FilesystemSpaceLow, problem.NoSpaceLeft)...)
	}
	if inodes == 0 && unknown == 0 {
		const why = "no watched file system that is written to has a fixed number of inodes"
		r.Verdicts = append(r.Verdicts, undecided(problem.NotApplicable, why, problem.FilesystemInodesLow)...)
	}
	return r
}

func judgeSpace(f fileSystem, space room, th FilesystemsThresholds) []problem.Verdict {
	sev := th.Space.Severity(space)
	if sev == 0 {
		return nil
	}
	return []problem.Verdict{{
		Kind: problem.FilesystemSpaceLow, Subject: f.mount.Point, State: problem.Wrong, Severity: sev,
		Message:  fmt.Sprintf("%s has %s left", f, space.left(problem.Bytes)),
		Evidence: []string{fmt.Sprintf("df -B1 %s: %.0f bytes used, %.0f available", f.mount.Point, space.used, space.available)},
		Touches:  f.touches,
		Refused:  space.available < full,
	}}
}

func judgeInodes(f fileSystem, inodes room, th FilesystemsThresholds) []problem.Verdict {
	sev := th.Inodes.Severity(inodes)
	if sev == 0 {
		return nil
	}
	return []problem.Verdict{{
		Kind: problem.FilesystemInodesLow, Subject: f.mount.Point, State: problem.Wrong, Severity: sev,
		Message:  fmt.Sprintf("%s has %s left", f, inodes.left(problem.Inodes)),
		Evidence: []string{fmt.Sprintf("df -i %s: %.0f inodes used, %.0f free", f.mount.Point, inodes.used, inodes.available)},
		Touches:  f.touches,
		Refused:  inodes.available == 0,
	}}
}

// withNoSpace adds to what a file system is low in that one of it is used up:
// writes fail now, whether or not somebody has logged it already.
func withNoSpace(low []problem.Verdict) []problem.Verdict {
	for _, v := range low {
		if v.Refused {
			v.Kind, v.Severity = problem.NoSpaceLeft, problem.Critical
			v.Message = "writes fail with \"no space left on device\": " + v.Message
			return append(low, v)
		}
	}
	return low
}
