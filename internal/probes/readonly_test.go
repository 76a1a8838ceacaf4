package probes

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

const rootRW = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"

func TestReadonlyRun(t *testing.T) {
	for _, tc := range []struct {
		name  string
		looks []string // mountinfo of each run, beside the root's
		want  problem.Severity
		says  string
	}{
		{"healthy", []string{"30 20 8:16 / /data rw - ext4 /dev/sdb rw", "30 20 8:16 / /data rw - ext4 /dev/sdb rw"}, 0, ""},
		{
			"flips",
			[]string{"30 20 8:16 / /data rw - xfs /dev/sdb rw", "30 20 8:16 / /data rw - xfs /dev/sdb ro"},
			problem.Critical, "/data (xfs on /dev/sdb) has become read-only (it was writable before)",
		},
		{
			"stays", []string{
				"30 20 8:16 / /data rw - ext4 /dev/sdb rw", "30 20 8:16 / /data ro - ext4 /dev/sdb ro", "30 20 8:16 / /data ro - ext4 /dev/sdb ro",
			}, problem.Critical, "has become read-only",
		},
		{"is writable again", []string{
			"30 20 8:16 / /data rw - ext4 /dev/sdb rw", "30 20 8:16 / /data ro - ext4 /dev/sdb ro", "30 20 8:16 / /data rw - ext4 /dev/sdb rw",
		}, 0, ""},
		{"was unmounted, and mounted read-only elsewhere", []string{
			"30 20 8:16 / /data rw - ext4 /dev/sdb rw", "30 20 8:16 / /data ro - ext4 /dev/sdb ro", "", "31 20 8:16 / /check ro - ext4 /dev/sdb ro",
		}, 0, ""},
		{"look-alike: another mount got the same device number", []string{
			"30 20 7:0 / /a rw - ext4 /dev/loop0 rw", "30 20 7:0 / /snap/core ro - squashfs /dev/loop0 ro",
		}, 0, ""},
		{"look-alike: read-only by design", []string{"30 20 8:16 / /data ro - ext4 /dev/sdb ro"}, 0, ""},
		{"look-alike: read-only mount point of a writable file system", []string{
			"30 20 8:16 / /data rw - ext4 /dev/sdb rw", "30 20 8:16 / /data ro - ext4 /dev/sdb rw",
		}, 0, ""},
		{"look-alike: squashfs, mounted without a wish", []string{"30 20 7:0 / /data rw - squashfs /dev/loop0 ro"}, 0, ""},
		{"look-alike: read-only volume bound without ro", []string{
			"30 20 8:16 / /global ro - ext4 /dev/sdb ro\n31 20 8:16 / /data rw - ext4 /dev/sdb ro",
		}, 0, ""},
		{"look-alike: credentials in memory", []string{"30 20 0:40 / /data rw - ramfs ramfs rw", "30 20 0:40 / /data ro - ramfs ramfs ro"}, 0, ""},
		{"look-alike: shutdown is part of another option", []string{"30 20 8:16 / /data rw - ext4 /dev/sdb rw,noshutdown,x=shutdown"}, 0, ""},
		{
			"at first sight: after an error",
			[]string{"30 20 8:16 / /data rw - ext4 /dev/sdb ro,errors=remount-ro"},
			problem.Critical, "is read-only although it was mounted to be written to",
		},
		{
			"at first sight: ext4 since 6.15",
			[]string{"30 20 8:16 / /data rw - ext4 /dev/sdb rw,errors=remount-ro,emergency_ro"},
			problem.Critical, "takes no more writes after an error (emergency_ro)",
		},
		{
			"at first sight: shutdown",
			[]string{"30 20 8:16 / /data rw - ext4 /dev/sdb rw,shutdown"},
			problem.Critical, "has shut itself down",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := tree(t, map[string]string{"/sys/fs/ext4/sdb/errors_count": "3\n"})
			p := NewReadonly()
			var r problem.Result
			for _, look := range tc.looks {
				writeFile(t, n.Host.Root(), "/proc/1/mountinfo", rootRW+look+"\n")
				var err error
				if r, err = p.Run(t.Context(), n); err != nil && look != "" {
					t.Fatal(err)
				}
			}
			v := checkSeverity(t, r, problem.ReadonlyFilesystem, "/data", tc.want)
			if !strings.Contains(v.Message, tc.says) {
				t.Errorf("%q, want %q", v.Message, tc.says)
			}
			if tc.want != 0 && (v.Scope != problem.NodeScope || !slices.Contains(v.Touches, "device:sdb") || !slices.Contains(v.Touches, "mount:/data")) {
				t.Errorf("%+v", v)
			}
			if strings.Contains(tc.says, "emergency") && !slices.Contains(v.Evidence, "/sys/fs/ext4/sdb/errors_count: 3") {
				t.Errorf("evidence %q", v.Evidence)
			}
			if tc.want == 0 && len(r.Verdicts) != 0 {
				t.Errorf("%+v", r.Verdicts)
			}
		})
	}
}

func TestReadonlyVolumeIsThePods(t *testing.T) {
	n := tree(t, map[string]string{
		"/proc/1/mountinfo": rootRW + "30 20 8:16 / /var/lib/kubelet/pods/" + podA +
			"/volumes/kubernetes.io~csi/pvc-1/mount rw - ext4 /dev/sdb rw,emergency_ro\n",
		"/var/log/pods/shop_db-0_" + podA + "/postgres/0.log": "",
	})
	r, err := NewReadonly().Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Verdicts) != 1 || r.Verdicts[0].Scope != problem.PodScope || !slices.Contains(r.Verdicts[0].Touches, "pod:shop/db-0") {
		t.Errorf("%+v", r.Verdicts)
	}
}

// A line that cannot be read hides a mount: what was wrong may be so still.
func TestReadonlyPartial(t *testing.T) {
	n := tree(t, map[string]string{"/proc/1/mountinfo": rootRW + "garbage\n"})
	r, err := NewReadonly().Run(t.Context(), n)
	if err != nil || !strings.Contains(r.Partial, "line 2") {
		t.Errorf("%+v, %v", r, err)
	}
	if err := os.Remove(n.Host.Path("/proc/1/mountinfo")); err != nil {
		t.Fatal(err)
	}
	if r, err := NewReadonly().Run(t.Context(), n); err == nil {
		t.Errorf("%+v without a mount table", r)
	}
}

func TestReadonlyRecordedNodes(t *testing.T) {
	for _, state := range fixtures.States(t) {
		if state == "container-view-k6.12" {
			continue // has no tree
		}
		n := nodeAt(t, fixtures.Node(t, state))
		p := NewReadonly()
		for range 2 {
			r, err := p.Run(t.Context(), n)
			if err != nil || len(r.Verdicts) != 0 || r.Partial != "" {
				t.Errorf("%s: %+v, %v", state, r, err)
			}
		}
	}
}

func TestReadonlyHealthyHere(t *testing.T) {
	p := NewReadonly()
	n := nodeAt(t, "/")
	for range 2 {
		r, err := p.Run(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range r.Verdicts {
			// Other tests break file systems of their own at the same time.
			if !strings.HasPrefix(v.Subject, os.TempDir()+"/") {
				t.Errorf("%+v", v)
			}
		}
	}
}
