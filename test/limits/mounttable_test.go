package limits

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// A hundred mounts more than there were, by a threshold set for them.
func TestMountTable(t *testing.T) {
	needRoot(t)
	n, p := node(t), probes.NewMountTable()
	silent(t, look(t, p, n), problem.MountTableLarge, "")
	p.Thresholds.Mounts = look(t, p, n).Measurements[0].Used + 50
	dir := filepath.Join(t.TempDir(), "many")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const many = 100
	var made []string
	for i := range many {
		m := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(m, 0o755); err != nil {
			t.Fatal(err)
		}
		mount(t, "tmpfs", m, "tmpfs", "size=4k")
		made = append(made, m)
	}
	v := wrong(look(t, p, n), problem.MountTableLarge, "")
	if v == nil || v.Severity != problem.Warning || v.Refused {
		t.Fatalf("%+v", v)
	}
	holder := strings.Join(strings.Split(made[0], "/")[:5], "/")
	if len(v.Holders) == 0 || v.Holders[0].Owner != "mounts at "+holder || v.Holders[0].Amount != many {
		t.Errorf("held by %+v, want %d at %s", v.Holders, many, holder)
	}
	for _, m := range made {
		if err := unix.Unmount(m, 0); err != nil {
			t.Fatal(err)
		}
	}
	silent(t, look(t, p, n), problem.MountTableLarge, "")
}
