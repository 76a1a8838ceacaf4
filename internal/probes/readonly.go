package probes

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Readonly watches for file systems on block devices that take no more writes.
// It reads the mount table alone and touches no file system.
type Readonly struct {
	last    map[device]blockFS // of the last run; nil before the first
	flipped map[device]bool    // was writable once, and is read-only since
}

// NewReadonly is the probe; it has no thresholds.
func NewReadonly() *Readonly { return &Readonly{flipped: map[device]bool{}} }

// Name implements Probe.
func (*Readonly) Name() string { return "readonly" }

// Kinds implements Probe.
func (*Readonly) Kinds() []problem.Kind { return []problem.Kind{problem.ReadonlyFilesystem} }

// Run implements Probe.
func (p *Readonly) Run(_ context.Context, n *Node) (problem.Result, error) {
	table, err := mounts.Read(n.Host)
	if len(table.Mounts) == 0 {
		return problem.Result{}, err
	}
	var r problem.Result
	if err != nil {
		r.Partial = err.Error()
	} else if table.Fallback && !n.Host.Own() {
		r.Partial = "/proc/1/mountinfo cannot be read: mounts that only the node sees are missing"
	}
	cur := blockFileSystems(table)
	p.flipped = flips(p.last, cur, p.flipped)
	p.last = cur
	settings, err := kubelet.Read(n.Host)
	root := kubeletRoot(settings, err)
	v := &mountView{host: n.Host, table: table}
	for _, f := range sortedFS(cur) {
		why := f.wrong(p.flipped[deviceOf(f.mounts[0])])
		if why == "" {
			continue
		}
		verdict := judgeReadonly(f, why, root, table.From, n)
		verdict.Touches = append(verdict.Touches, v.deviceRefs(f.mounts[0])...)
		verdict.Evidence = append(verdict.Evidence, ext4Errors(n.Host, f, verdict.Touches)...)
		r.Verdicts = append(r.Verdicts, verdict)
	}
	return r, nil
}

// blockFS is a file system on a block device and its mount points, in the kernel's
// order.
type blockFS struct {
	order  int
	mounts []mounts.Mount
}

func blockFileSystems(t mounts.Table) map[device]blockFS {
	all := map[device]blockFS{}
	for i, m := range t.Mounts {
		if !m.Block() || m.FUSE() {
			continue
		}
		f, known := all[deviceOf(m)]
		if !known {
			f.order = i
		}
		f.mounts = append(f.mounts, m)
		all[deviceOf(m)] = f
	}
	return all
}

// sortedFS is the file systems in the order of the table.
func sortedFS(all map[device]blockFS) []blockFS {
	var list []blockFS
	for _, f := range all {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b blockFS) int { return a.order - b.order })
	return list
}

// readonly tells whether the file system takes no writes, wherever it is mounted.
func (f blockFS) readonly() bool { return f.mounts[0].Readonly() }

// same tells whether two looks at one device saw the same file system: device
// numbers are used again, mostly for another mount.
func (f blockFS) same(g blockFS) bool {
	if f.mounts[0].FSType != g.mounts[0].FSType || f.mounts[0].Source != g.mounts[0].Source {
		return false
	}
	return slices.ContainsFunc(f.mounts, func(a mounts.Mount) bool {
		return slices.ContainsFunc(g.mounts, func(b mounts.Mount) bool { return a.ID == b.ID && a.Point == b.Point })
	})
}

// flips are the file systems that were writable at some look and are read-only
// since. One that was first seen read-only is so by design.
func flips(prev, cur map[device]blockFS, before map[device]bool) map[device]bool {
	now := map[device]bool{}
	for d, f := range cur {
		last, known := prev[d]
		if known && f.readonly() && last.same(f) && (before[d] || !last.readonly()) {
			now[d] = true
		}
	}
	return now
}

// wrong says in which way the file system is read-only without anybody's having
// asked for it; empty if it is not.
func (f blockFS) wrong(flipped bool) string {
	m := f.mounts[0]
	switch {
	case m.HasSuperOption("shutdown"):
		return "has shut itself down: it neither reads nor writes"
	case m.HasSuperOption("emergency_ro"):
		return "takes no more writes after an error (emergency_ro)"
	case flipped:
		return "has become read-only (it was writable before)"
	case m.HasSuperOption("ro") && f.wantedWritable():
		return "is read-only although it was mounted to be written to"
	}
	return ""
}

// wantedWritable tells whether its first mount was made writable. On an error the
// kernel makes the file system read-only (errors=remount-ro) and leaves the mounts
// alone, while who mounts it read-only makes both so. File systems that can only
// be read do not care how they are mounted: for them it says nothing. Nor do later
// mounts of the same one, which may be bound with any option.
func (f blockFS) wantedWritable() bool {
	switch f.mounts[0].FSType {
	case "ext2", "ext3", "ext4", "btrfs", "vfat", "f2fs", "jfs", "nilfs2":
		return !slices.Contains(strings.Split(f.mounts[0].Options, ","), "ro")
	}
	return false
}

func judgeReadonly(f blockFS, why, kubeletRoot, from string, n *Node) problem.Verdict {
	m := f.mounts[0]
	v := problem.Verdict{
		Kind: problem.ReadonlyFilesystem, Subject: m.Point, State: problem.Wrong, Severity: problem.Critical,
		Message:  fmt.Sprintf("%s (%s on %s) %s", m.Point, m.FSType, m.Source, why),
		Evidence: []string{fmt.Sprintf("%s: %s - %s %s %s", from, m.Point, m.FSType, m.Source, m.SuperOptions)},
		Scope:    problem.PodScope,
		Refused:  true, // each write to it fails
	}
	for _, m := range f.mounts {
		v.Touches = append(v.Touches, problem.NewRef(problem.RefMount, m.Point))
		if !within(m.Point, path.Join(kubeletRoot, "pods")) && !within(m.Point, path.Join(kubeletRoot, "plugins")) {
			v.Scope = problem.NodeScope
		}
		if vm, ok := parseVolumePath(kubeletRoot, m.Point); ok && vm.pod != "" {
			v.Touches = append(v.Touches, n.Owners.OfPod(vm.pod).Refs()...)
		}
	}
	return v
}

// ext4Errors is what ext4 itself counted, as further evidence
// (Documentation/ABI/testing/sysfs-fs-ext4).
func ext4Errors(h *host.Host, f blockFS, touches []problem.Ref) []string {
	if f.mounts[0].FSType != "ext4" {
		return nil
	}
	for _, ref := range touches {
		if ref.Type() != problem.RefDevice {
			continue
		}
		file := "/sys/fs/ext4/" + ref.ID() + "/errors_count"
		if n, err := readUint(h, file); err == nil {
			return []string{fmt.Sprintf("%s: %d", file, n)}
		}
	}
	return nil
}
