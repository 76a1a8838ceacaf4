package guest

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/helper"
)

const (
	userDir  = "NODEVITALS_TEST_DIR"
	userComm = "NODEVITALS_TEST_COMM"

	podUID    = "0d9a2a4e-7f1c-4a57-9a53-6f0b54a2c001"
	podCgroup = "/sys/fs/cgroup/kubepods/besteffort/pod" + podUID + "/4c0ffee4c0ffee4c0ffee4c0ffee4c0ffee4c0ffee4c0ffee4c0ffee4c0ffee4"
	podVolume = "/var/lib/kubelet/pods/" + podUID + "/volumes/kubernetes.io~nfs/data"
)

// user asks the file system of a folder at each order, and says so before and after.
func user() {
	if err := os.WriteFile("/proc/self/comm", []byte(os.Getenv(userComm)), 0); err != nil {
		helper.Fail(err)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println("asking")
		var s unix.Statfs_t
		fmt.Println("answered", unix.Statfs(os.Getenv(userDir), &s))
	}
}

// A pod's NFS server goes without a word, while three tasks of the pod use it, and
// comes back.
func TestNFSServerGone(t *testing.T) {
	if !inside(t, "nfsv4", "nfsd", "veth") {
		return
	}
	server := startNFS(t)
	for _, dir := range []string{podVolume, podCgroup} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mountNFS(t, podVolume)
	var users []*helper.Helper
	for _, comm := range []string{"stuck-a", "stuck-a", "stuck-b"} {
		u := helper.Start(t, "user", nil, userDir+"="+podVolume, userComm+"="+comm)
		if err := os.WriteFile(podCgroup+"/cgroup.procs", []byte(strconv.Itoa(u.Cmd.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
		users = append(users, u)
	}
	ask := func() {
		t.Helper()
		for _, u := range users {
			if said := u.Say("ask"); said != "asking" {
				t.Fatal(said)
			}
		}
	}
	answered := func() {
		t.Helper()
		for _, u := range users {
			if said := u.Line(); said != "answered <nil>" {
				t.Fatal(said)
			}
		}
	}
	kinds := []problem.Kind{problem.MountNotAnswering, problem.NFSServerNotResponding, problem.TasksStuckOnMount}

	ask()
	answered()
	d := startDaemon(t)
	for what, s := range map[string]problem.Snapshot{"agent --once": once(t), "the daemon": d.Snapshot()} {
		for _, kind := range kinds {
			if p := find(s, kind); p != nil {
				t.Errorf("%s, while it answers: %+v", what, p)
			}
		}
	}

	server.cut()
	ask()
	s := once(t)
	for _, kind := range kinds {
		p := find(s, kind)
		if p == nil {
			t.Fatalf("%s is not told", kind)
		}
		if kind != problem.NFSServerNotResponding && p.Subject != podVolume || p.Severity != problem.Critical {
			t.Errorf("%+v", p)
		}
		if len(p.Holders) != 2 || p.Holders[0].Process != "stuck-a" || p.Holders[0].Amount != 2 || !strings.Contains(p.Holders[0].Owner, podUID) {
			t.Errorf("held by %+v", p.Holders)
		}
	}

	if !slices.ContainsFunc(s.Measurements, func(m problem.Measurement) bool { return m.Resource == "filesystem_bytes" && m.Subject == "/" }) {
		t.Error("other file systems are not measured")
	}

	// The daemon's looks are further apart, and so long that the kernel says it, too.
	await(t, d, "the daemon tells", func(s problem.Snapshot) bool {
		p := find(s, problem.NFSServerNotResponding)
		return p != nil && p.Lines > 0 && find(s, problem.MountNotAnswering) != nil && find(s, problem.TasksStuckOnMount) != nil
	})

	server.mend()
	answered()
	await(t, d, "all is well again", func(s problem.Snapshot) bool {
		return !slices.ContainsFunc(kinds, func(k problem.Kind) bool { return find(s, k) != nil })
	})
	if err := d.End(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
