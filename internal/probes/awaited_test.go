package probes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// TestAwaitedDevices: of a task that writes to dm-0, with dm-0, a partition and a
// file system in memory at hand.
func TestAwaitedDevices(t *testing.T) {
	const (
		fsync = "74 0x%x 0x0 0x0 0x0 0x0 0x0 0x7ffd0000 0x47af4e\n" // as Linux 6.1 showed it of a task at a suspended disk
		disk  = "device:254:0 device:dm-0 device:sdb"
	)
	for _, tc := range []struct {
		name                        string
		comm, state, wchan, syscall string
		kernel                      bool
		want                        string
	}{
		{"the device itself", "writer", "D", "folio_wait_bit_common", fmt.Sprintf(fsync, 7), false, disk},
		{"the same by a mapper's name", "writer", "D", "folio_wait_bit_common", fmt.Sprintf(fsync, 8), false, disk},
		{"a file on it", "etcd", "D", "jbd2_log_wait_commit", fmt.Sprintf(fsync, 9), false, disk},
		{"a file on a partition", "etcd", "D", "jbd2_log_wait_commit", fmt.Sprintf(fsync, 10), false, "device:8:1 device:sda1 device:sda"},
		{"look-alike: a file on no disk", "etcd", "D", "down_write", fmt.Sprintf(fsync, 11), false, ""},
		{"look-alike: a name below /dev that is no disk", "etcd", "D", "tty_wait", fmt.Sprintf(fsync, 12), false, ""},
		{"look-alike: a lock, and no descriptor", "etcd", "D", "rwsem_down_write_slowpath", "257 0xffffffffffffff9c 0x7ffd0000 0x0 0x0 0x0 0x0 0x7ffd0000 0x47af4e\n", false, ""},
		{"look-alike: not in a system call", "etcd", "D", "folio_wait_bit_common", "-1 0x7ffd0000 0x47af4e\n", false, ""},
		{"a descriptor that is gone", "etcd", "D", "folio_wait_bit_common", fmt.Sprintf(fsync, 99), false, ""},
		{"it goes on by now", "writer", "S", "pipe_read", fmt.Sprintf(fsync, 7), false, ""},
		{"reading syscall could block", "writer", "D", "exit_aio", fmt.Sprintf(fsync, 7), false, ""},
		{"it may not be seen", "writer", "D", "0", "", false, ""},
		{"ext4's journal", "jbd2/dm-0-8", "D", "jbd2_journal_commit_transaction", "", true, disk},
		{"ext4's journal, the name cut off", "jbd2/sda1-", "D", "0", "", true, "device:8:1 device:sda1 device:sda"},
		{"xfs's log", "xfsaild/dm-0", "D", "0", "", true, disk},
		{"a writer of dirty pages", "kworker/u8:1+flush-254:0", "D", "0", "", true, disk},
		{"look-alike: another kernel thread", "kworker/u8:1+events", "D", "0", "", true, ""},
		{"look-alike: a program of such a name", "jbd2/dm-0-8", "D", "futex_wait", "", false, ""},
		{"look-alike: of a disk that is gone", "jbd2/sdz1-8", "D", "0", "", true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			flags := 0x400000
			if tc.kernel {
				flags = 0x200000
			}
			files := map[string]string{
				"/proc/42/stat":      fmt.Sprintf("42 (%s) %s 1 1 1 0 -1 %d 1 0 0 0 10 5 0 0 20 0 1 0 500 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n", tc.comm, tc.state, flags),
				"/proc/42/wchan":     tc.wchan,
				"/proc/42/mountinfo": "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:6 / /dev rw - devtmpfs devtmpfs rw\n22 20 254:0 / /data rw - ext4 /dev/mapper/vg-data rw\n23 20 0:30 / /run rw - tmpfs tmpfs rw\n",
				"/sys/devices/pci0000:00/block/sda/sda1/dev":           "8:1\n",
				"/sys/devices/virtual/block/dm-0/dev":                  "254:0\n",
				"/sys/devices/virtual/block/dm-0/slaves/sdb/partition": "",
			}
			if tc.syscall != "" {
				files["/proc/42/syscall"] = tc.syscall
			}
			links := map[string]string{
				"/sys/dev/block/8:1":    "../../devices/pci0000:00/block/sda/sda1",
				"/sys/dev/block/254:0":  "../../devices/virtual/block/dm-0",
				"/sys/class/block/sda1": "../../devices/pci0000:00/block/sda/sda1",
				"/sys/class/block/dm-0": "../../devices/virtual/block/dm-0",
				"/dev/mapper/vg-data":   "../dm-0",
			}
			for fd, f := range map[int][2]string{
				7: {"/dev/dm-0", "21"}, 8: {"/dev/mapper/vg-data", "21"}, 9: {"/data/wal", "22"},
				10: {"/var/lib/etcd/wal", "20"}, 11: {"/run/x", "23"}, 12: {"/dev/pts/0", "21"},
			} {
				files[fmt.Sprintf("/proc/42/fdinfo/%d", fd)] = "pos:\t0\nflags:\t02\nmnt_id:\t" + f[1] + "\nino:\t9\n"
				links[fmt.Sprintf("/proc/42/fd/%d", fd)] = f[0]
			}
			n := tree(t, files)
			for at, to := range links {
				full := filepath.Join(n.Host.Root(), at)
				if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(to, full); err != nil {
					t.Fatal(err)
				}
			}
			var want []problem.Ref
			for r := range strings.FieldsSeq(tc.want) {
				want = append(want, problem.Ref(r))
			}
			if got := AwaitedDevices(n.Host, "/proc/42"); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}
