package probes

// This file: what kubelet's folders tell of a volume: the path of its mount point,
// and the file that it keeps beside.

import (
	"encoding/json"
	"path"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
)

// volumeMount is one of its mount points, and what its path says.
type volumeMount struct {
	mounts.Mount
	pod  string // uid; empty at the node's one mount for all pods
	name string // empty if the path has none
	data string // kubelet's file about it, if a CSI driver made it
}

// parseVolumePath reads the mount point of a volume, as kubelet makes them:
//
//	pods/UID/volumes/PLUGIN/NAME, and for CSI NAME/mount
//	plugins/kubernetes.io/csi/DRIVER/HASH/globalmount (before 1.24: csi/pv/NAME/globalmount)
//	plugins/kubernetes.io/PLUGIN/mounts/…/ID (before CSI; aws-ebs: mounts/aws/ZONE/vol-…)
//
// The name of a pod's volume there is its PersistentVolume's, or the volume's in
// the pod's spec if it has none.
func parseVolumePath(root, point string) (volumeMount, bool) {
	rel, ok := strings.CutPrefix(point, strings.TrimSuffix(root, "/")+"/")
	if !ok {
		return volumeMount{}, false
	}
	f := strings.Split(rel, "/")
	switch {
	case len(f) >= 5 && f[0] == "pods" && f[2] == "volumes":
		m := volumeMount{pod: f[1], name: f[4]}
		if f[3] == "kubernetes.io~csi" {
			m.data = path.Join(root, path.Join(f[:5]...), "vol_data.json")
		}
		return m, true
	case len(f) >= 6 && f[0] == "plugins" && f[1] == "kubernetes.io" && f[2] == "csi":
		m := volumeMount{data: path.Join(path.Dir(point), "vol_data.json")}
		if f[3] == "pv" {
			m.name = f[4]
		}
		return m, true
	case len(f) >= 5 && f[0] == "plugins" && f[1] == "kubernetes.io" && f[3] == "mounts":
		return volumeMount{name: path.Base(point)}, true
	}
	return volumeMount{}, false
}

// volumeData is what kubelet keeps beside a CSI volume (pkg/volume/csi/csi_util.go).
type volumeData struct {
	SpecVolID    string `json:"specVolID"`
	VolumeHandle string `json:"volumeHandle"`
}

// volumeData reads kubelet's file; not ok if there is none of use: it gives a name,
// and no verdict hangs on it.
func (v *mountView) volumeData(file string) (volumeData, bool) {
	if m, ok := v.table.At(file); !ok || !v.mayTouch(m) {
		return volumeData{}, false
	}
	raw, err := v.host.ReadFile(file)
	if err != nil {
		return volumeData{}, false
	}
	return parseVolumeData(raw)
}

func parseVolumeData(raw []byte) (d volumeData, ok bool) {
	if json.Unmarshal(raw, &d) != nil {
		return volumeData{}, false
	}
	return d, plain(d.SpecVolID) || plain(d.VolumeHandle)
}

// plain tells whether a name from outside can be shown: not empty, of printable
// ASCII without spaces, and no longer than a Kubernetes name.
func plain(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
