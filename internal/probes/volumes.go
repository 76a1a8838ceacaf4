package probes

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Volumes watches the pods' volumes that have a file system of their own. Those in
// memory (tmpfs: secrets, ConfigMaps) and folders of the node's own disks are left
// out, and so are those that may hang: how full a file server is, its own
// monitoring says.
type Volumes struct {
	Thresholds VolumesThresholds
	usage      usageFunc // nil: statfs
}

// VolumesThresholds are the thresholds of Volumes.
type VolumesThresholds struct {
	// Space is the share of space that is available, as df shows it.
	Space Room `yaml:"space"`
	// Inodes is the share of inodes that is free.
	Inodes Room `yaml:"inodes"`
}

// NewVolumes is the probe with its default thresholds.
func NewVolumes() *Volumes {
	return &Volumes{Thresholds: VolumesThresholds{
		// Claims are enlarged by hand or by an operator, which takes hours at
		// best; most databases stop writing before the last few percent are gone.
		Space:  Room{Warning: 15, Critical: 5},
		Inodes: Room{Warning: 15, Critical: 5},
	}}
}

// Name implements Probe.
func (*Volumes) Name() string { return "volumes" }

// Kinds implements Probe.
func (*Volumes) Kinds() []problem.Kind { return []problem.Kind{problem.VolumeSpaceLow} }

// Run implements Probe.
func (p *Volumes) Run(_ context.Context, n *Node) (problem.Result, error) {
	v, err := viewMounts(n.Host, p.usage)
	if err != nil {
		return problem.Result{}, err
	}
	settings, err := kubelet.Read(n.Host)
	var r problem.Result
	all := findVolumes(v, kubeletRoot(settings, err), nodeDevices(v, settings, err))
	if len(all) == 0 && err == nil && !settings.Found {
		return r, problem.NotApplicablef("no kubelet is set up on this node")
	}
	for i := range all {
		all[i].describe(v, n)
	}
	r = evaluateVolumes(all, p.Thresholds)
	if r.Partial = v.partial; err != nil {
		r.Partial = fmt.Sprintf("kubelet's settings are not known, and so its folder may be another: %v", err)
	}
	return r, nil
}

// nodeDevices are those of the node's own file systems.
func nodeDevices(v *mountView, s kubelet.Settings, err error) map[device]bool {
	devices := map[device]bool{}
	paths, _ := watchedPaths(s, err, nil)
	for _, p := range paths {
		if m, err := v.place(p.path); err == nil {
			devices[deviceOf(m)] = true
		}
	}
	return devices
}

// volume is one file system that is mounted for pods, once or many times.
type volume struct {
	mounts []volumeMount
	usage  mounts.Usage
	err    error // why usage is not known
	// names are of the PersistentVolumes on it, or of the volumes in the pods'
	// specs where there are none; sorted. Mostly one.
	names   []string
	users   []string // owners of the pods that have it mounted
	touches []problem.Ref
}

// findVolumes finds the file systems mounted below kubelet's root folder, by device.
func findVolumes(v *mountView, root string, exclude map[device]bool) []volume {
	var all []volume
	index := map[device]int{}
	for _, m := range v.table.Mounts {
		if m.FSType == "tmpfs" || m.Pseudo() || v.hang[m.ID] || exclude[deviceOf(m)] {
			continue
		}
		vm, ok := parseVolumePath(root, m.Point)
		if !ok {
			continue
		}
		vm.Mount = m
		i, known := index[deviceOf(m)]
		if !known {
			i = len(all)
			index[deviceOf(m)] = i
			all = append(all, volume{})
		}
		all[i].mounts = append(all[i].mounts, vm)
	}
	return all
}

// describe measures the volume, and finds out its names and who uses it.
func (vol *volume) describe(v *mountView, n *Node) {
	for i, m := range vol.mounts {
		if vol.usage, vol.err = v.usage(m.Mount); vol.err == nil || i == maxTries {
			break
		}
	}
	vol.touches = v.deviceRefs(vol.mounts[0].Mount)
	var handles []string
	for _, m := range vol.mounts {
		name, handle := m.name, ""
		if m.data != "" {
			if d, ok := v.volumeData(m.data); ok {
				name, handle = orElse(d.SpecVolID, name), d.VolumeHandle
			}
		}
		switch {
		case plain(name):
			vol.names = append(vol.names, name)
		case plain(handle):
			handles = append(handles, handle)
		}
		vol.touches = append(vol.touches, problem.NewRef(problem.RefMount, m.Point))
		if m.pod != "" {
			user := n.Owners.OfPod(m.pod)
			vol.users, vol.touches = append(vol.users, user.String()), append(vol.touches, user.Refs()...)
		}
	}
	if len(vol.names) == 0 {
		vol.names = append(handles, "on device "+deviceOf(vol.mounts[0].Mount).String())[:1]
	}
	for _, list := range []*[]string{&vol.names, &vol.users} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	slices.Sort(vol.touches)
	vol.touches = slices.Compact(vol.touches)
}

// maxTries is how many mount points of a volume are tried before it counts as one
// that cannot be measured. If the first few are not visible here, none is.
const maxTries = 3

func evaluateVolumes(all []volume, th VolumesThresholds) problem.Result {
	subjects := volumeSubjects(all)
	var r problem.Result
	for i, vol := range all {
		verdict := problem.Verdict{
			Kind: problem.VolumeSpaceLow, Subject: subjects[i], Scope: problem.PodScope, Touches: vol.touches,
		}
		if vol.err != nil {
			verdict.State, verdict.Message = problem.Unknown, fmt.Sprintf("%s: %v", subjects[i], vol.err)
			r.Verdicts = append(r.Verdicts, verdict)
			continue
		}
		point := vol.mounts[0].Point
		space, inodes := spaceOf(vol.usage), inodesOf(vol.usage)
		if space.total() == 0 || (fileSystem{mount: vol.mounts[0].Mount}).image() {
			continue
		}
		var low []string
		judge := func(left room, levels Room, resource string, unit problem.Unit, command string) {
			r.Measurements = append(r.Measurements, left.measurement(resource, subjects[i], unit, vol.touches))
			sev := levels.Severity(left)
			if sev == 0 {
				return
			}
			verdict.State, verdict.Severity = problem.Wrong, max(verdict.Severity, sev)
			verdict.Refused = verdict.Refused || left.available == 0
			low = append(low, left.left(unit))
			verdict.Evidence = append(verdict.Evidence, fmt.Sprintf("%s %s: %.0f used, %.0f available", command, point, left.used, left.available))
		}
		judge(space, th.Space, "volume_bytes", problem.Bytes, "df -B1")
		if inodes.total() != 0 && (vol.mounts[0].FSType != "xfs" || len(low) == 0) {
			judge(inodes, th.Inodes, "volume_inodes", problem.Inodes, "df -i")
		}
		if len(low) > 0 {
			verdict.Message = fmt.Sprintf("%s has %s left", vol.title(subjects[i]), strings.Join(low, " and "))
			r.Verdicts = append(r.Verdicts, verdict)
		}
	}
	return r
}

// volumeSubjects names each volume by its first name, and also by its pod where
// that would name two: volumes without a PersistentVolume have names of their pod's
// only.
func volumeSubjects(all []volume) []string {
	count := map[string]int{}
	for _, vol := range all {
		count[vol.names[0]]++
	}
	subjects := make([]string, len(all))
	for i, vol := range all {
		subjects[i] = "volume " + vol.names[0]
		if count[vol.names[0]] > 1 {
			user := "device " + deviceOf(vol.mounts[0].Mount).String()
			if len(vol.users) > 0 {
				user = vol.users[0]
			}
			subjects[i] += " of " + user
		}
	}
	return subjects
}

// title is the subject with its users, and the other volumes on the same file system.
func (vol volume) title(subject string) string {
	var b strings.Builder
	b.WriteString(subject)
	if others := len(vol.names) - 1; others > 0 {
		fmt.Fprintf(&b, " (with %d more on the same file system)", others)
	}
	if len(vol.users) > 0 && !strings.HasSuffix(subject, vol.users[0]) {
		b.WriteString(" of " + vol.users[0])
	}
	if more := len(vol.users) - 1; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}
