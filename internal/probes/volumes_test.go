package probes

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestParseVolumePath(t *testing.T) {
	const root, uid = "/var/lib/kubelet", "0c1d2e3f-4a5b-6c7d-8e9f-0a1b2c3d4e5f"
	for point, want := range map[string]volumeMount{
		root + "/pods/" + uid + "/volumes/kubernetes.io~csi/pvc-1/mount": {
			pod: uid, name: "pvc-1", data: root + "/pods/" + uid + "/volumes/kubernetes.io~csi/pvc-1/vol_data.json",
		},
		root + "/pods/" + uid + "/volumes/kubernetes.io~aws-ebs/pv-2": {pod: uid, name: "pv-2"},
		root + "/plugins/kubernetes.io/csi/ebs.csi.aws.com/5e1f/globalmount": {
			data: root + "/plugins/kubernetes.io/csi/ebs.csi.aws.com/5e1f/vol_data.json",
		},
		root + "/plugins/kubernetes.io/csi/pv/pvc-3/globalmount": {
			name: "pvc-3", data: root + "/plugins/kubernetes.io/csi/pv/pvc-3/vol_data.json",
		},
		root + "/plugins/kubernetes.io/aws-ebs/mounts/aws/us-east-1a/vol-0a1b": {name: "vol-0a1b"},
	} {
		if got, ok := parseVolumePath(root, point); !ok || got != want {
			t.Errorf("%s: %+v %v, want %+v", point, got, ok, want)
		}
	}
	for _, point := range []string{
		"/", root, root + "/pods", root + "/pods/" + uid, root + "/pods/" + uid + "/volumes/kubernetes.io~csi",
		root + "/plugins/kubernetes.io", root + "/plugins/ebs.csi.aws.com/csi.sock", "/var/lib/kubelet2/pods/1/volumes/a/b",
	} {
		if got, ok := parseVolumePath(root, point); ok {
			t.Errorf("%s is a volume: %+v", point, got)
		}
	}
}

const (
	podA = "0c1d2e3f-4a5b-6c7d-8e9f-0a1b2c3d4e5f"
	podB = "1c1d2e3f-4a5b-6c7d-8e9f-0a1b2c3d4e5f"
)

// volumeNode has one CSI volume that is mounted once for the node and in two pods,
// an EBS volume of the old kind, two volumes of the same name, and look-alikes.
func volumeNode(t *testing.T) *Node {
	t.Helper()
	pods, plugins := "/var/lib/kubelet/pods/", "/var/lib/kubelet/plugins/kubernetes.io/"
	return tree(t, map[string]string{
		"/proc/1/mountinfo": strings.Join([]string{
			"20 1 8:1 / / rw - ext4 /dev/sda1 rw",
			"30 20 8:16 / " + plugins + "csi/ebs.csi.aws.com/5e1f/globalmount rw - ext4 /dev/sdb rw",
			"31 20 8:16 / " + pods + podA + "/volumes/kubernetes.io~csi/data/mount rw - ext4 /dev/sdb rw",
			"32 20 8:16 / " + pods + podB + "/volumes/kubernetes.io~csi/data/mount rw - ext4 /dev/sdb rw",
			"33 20 8:32 / " + plugins + "aws-ebs/mounts/aws/us-east-1a/vol-0a1b rw - ext4 /dev/sdc rw",
			"34 20 8:48 / " + pods + podA + "/volumes/kubernetes.io~csi/scratch/mount rw - xfs /dev/sdd rw",
			"35 20 8:64 / " + pods + podB + "/volumes/kubernetes.io~csi/scratch/mount rw - xfs /dev/sde rw",
			// Look-alikes: memory, a folder of the node's own disk, a server.
			"36 20 0:60 / " + pods + podA + "/volumes/kubernetes.io~secret/token rw - tmpfs tmpfs rw,size=4k",
			"37 20 8:1 /srv/local " + pods + podA + "/volumes/kubernetes.io~local-volume/local rw - ext4 /dev/sda1 rw",
			"38 20 0:70 / " + pods + podA + "/volumes/kubernetes.io~nfs/share rw - nfs4 srv:/x rw",
			"",
		}, "\n"),
		"/var/lib/kubelet/config.yaml":                                         "kind: KubeletConfiguration\n",
		pods + podA + "/volumes/kubernetes.io~csi/data/vol_data.json":          `{"specVolID":"pvc-77","volumeHandle":"vol-9"}`,
		plugins + "csi/ebs.csi.aws.com/5e1f/vol_data.json":                     `{"volumeHandle":"vol-9","driverName":"ebs.csi.aws.com"}`,
		pods + podB + "/volumes/kubernetes.io~csi/data/vol_data.json":          `{"specVolID":"pvc-77"}`,
		pods + podA + "/volumes/kubernetes.io~csi/scratch/vol_data.json":       `{`,
		"/var/log/pods/shop_db-0_" + podA + "/postgres/0.log":                  "",
		"/var/log/pods/shop_db-1_" + podB + "/postgres/0.log":                  "",
		pods + podA + "/volumes/kubernetes.io~csi/scratch/mount/placeholder.x": "",
	})
}

func TestVolumesRun(t *testing.T) {
	n := volumeNode(t)
	p := NewVolumes()
	p.usage = func(m mounts.Mount) (mounts.Usage, error) {
		switch m.Minor {
		case 16:
			return gib(4, 50), nil
		case 32:
			return gib(90, 14), nil
		case 48:
			return gib(2, 1), nil
		case 64:
			return mounts.Usage{}, errors.New("gone")
		}
		t.Errorf("asked %s", m.Point)
		return gib(0, 0), nil
	}
	r, err := p.Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	v := checkSeverity(t, r, problem.VolumeSpaceLow, "volume pvc-77", problem.Critical)
	if want := "volume pvc-77 of pod shop/db-0 and 1 more has 4 % of its 1000 GiB left"; v.Message != want {
		t.Errorf("%q, want %q", v.Message, want)
	}
	for _, ref := range []problem.Ref{"pod:shop/db-0", "pod:shop/db-1", "device:8:16", "device:sdb"} {
		if !slices.Contains(v.Touches, ref) {
			t.Errorf("touches %v, without %s", v.Touches, ref)
		}
	}
	v = checkSeverity(t, r, problem.VolumeSpaceLow, "volume vol-0a1b", problem.Warning)
	if want := "volume vol-0a1b has 14 % of its 1000000 inodes left"; v.Message != want {
		t.Errorf("%q, want %q", v.Message, want)
	}
	v = checkSeverity(t, r, problem.VolumeSpaceLow, "volume scratch of pod shop/db-0", problem.Critical)
	if want := "volume scratch of pod shop/db-0 has 2 % of its 1000 GiB left"; v.Message != want {
		t.Errorf("%q, want %q (a full XFS has no inodes either)", v.Message, want)
	}
	for _, v := range r.Verdicts {
		if v.Scope != problem.PodScope {
			t.Errorf("%s is not the pod's: %+v", v.Subject, v)
		}
		if v.Subject == "volume scratch of pod shop/db-1" && v.State != problem.Unknown {
			t.Errorf("%+v", v)
		}
	}
	if len(r.Verdicts) != 4 {
		t.Errorf("%d verdicts on four volumes: %+v", len(r.Verdicts), r.Verdicts)
	}
}

func TestVolumesNoKubelet(t *testing.T) {
	n := tree(t, map[string]string{"/proc/1/mountinfo": "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"})
	_, err := NewVolumes().Run(t.Context(), n)
	if na := new(problem.NotApplicableError); !errors.As(err, &na) {
		t.Errorf("error %v", err)
	}
}

func TestParseVolumeData(t *testing.T) {
	for raw, want := range map[string]string{
		`{"specVolID":"pvc-1","volumeHandle":"v"}`: "pvc-1",
		`{"volumeHandle":"v"}`:                     "",
	} {
		if d, ok := parseVolumeData([]byte(raw)); !ok || d.SpecVolID != want {
			t.Errorf("%s: %+v %v", raw, d, ok)
		}
	}
	for _, raw := range []string{"", "{", "[]", `{"specVolID":1}`, `{}`, `{"specVolID":"a b"}`, `{"specVolID":"a\u001b[31m"}`} {
		if d, ok := parseVolumeData([]byte(raw)); ok {
			t.Errorf("%s is of use: %+v", raw, d)
		}
	}
}

func FuzzParseVolumePath(f *testing.F) {
	f.Add("/var/lib/kubelet", "/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/pvc/mount", []byte(`{"specVolID":"pvc-1"}`))
	f.Add("/", "/plugins/kubernetes.io/csi/pv/x/globalmount", []byte(`{}`))
	f.Fuzz(func(t *testing.T, root, point string, raw []byte) {
		if m, ok := parseVolumePath(root, point); ok && m.pod == "" && m.name == "" && m.data == "" {
			t.Errorf("%q below %q is a volume without anything known of it", point, root)
		}
		if d, ok := parseVolumeData(raw); ok && d == (volumeData{}) {
			t.Errorf("%q: nothing of use", raw)
		}
	})
}
