package probes

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// daemon adds a process with open descriptors and a soft limit to a tree.
func daemon(files map[string]string, pid int, comm string, open int, limit string) {
	dir := fmt.Sprintf("/proc/%d", pid)
	files[dir+"/stat"] = statLine(pid, 1, comm)
	files[dir+"/limits"] = "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max processes             unlimited            unlimited            processes \n" +
		"Max open files            " + limit + "                 1048576              files     \n"
	for i := range open {
		files[fmt.Sprintf("%s/fd/%d", dir, i)] = ""
	}
}

func TestDaemonFiles(t *testing.T) {
	for _, tc := range []struct {
		name    string
		open    int
		limit   string
		want    problem.Severity
		refused bool
	}{
		{"healthy", 10, "100", 0, false},
		{"just below", 79, "100", 0, false},
		{"warning", 80, "100", problem.Warning, false},
		{"critical", 95, "100", problem.Critical, false},
		{"full", 100, "100", problem.Critical, true},
		{"no limit", 100, "unlimited", 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := map[string]string{}
			daemon(files, 4, "kubelet", 5, "100")
			daemon(files, 5, "containerd", 3, "100") // docker's own
			daemon(files, 6, "containerd", tc.open, tc.limit)
			daemon(files, 7, "java", 100, "100") // not a daemon of the node
			r, err := NewDaemonFiles().Run(t.Context(), tree(t, files))
			if err != nil {
				t.Fatal(err)
			}
			v := checkSeverity(t, r, problem.DaemonFilesNearLimit, "containerd", tc.want)
			checkSeverity(t, r, problem.DaemonFilesNearLimit, "kubelet", 0)
			checkSeverity(t, r, problem.DaemonFilesNearLimit, "java", 0)
			if v.Refused != tc.refused {
				t.Errorf("refused %t, want %t", v.Refused, tc.refused)
			}
			if tc.want != 0 && (len(v.Holders) != 1 || v.Holders[0].PID != 6 || !problem.AnyReaches(v.Touches, []problem.Ref{"process:containerd"})) {
				t.Errorf("holders %+v, touches %v", v.Holders, v.Touches)
			}
			if len(r.Measurements) != 2 {
				t.Errorf("measured %+v, want one for each name", r.Measurements)
			}
		})
	}
}

func TestDaemonFilesUnread(t *testing.T) {
	var na *problem.NotApplicableError
	if _, err := NewDaemonFiles().Run(t.Context(), tree(t, nil)); !errors.As(err, &na) {
		t.Errorf("no daemon: %v, want not applicable", err)
	}
	files := map[string]string{}
	daemon(files, 4, "kubelet", 5, "many")
	daemon(files, 5, "crio", 5, "100")
	r, err := NewDaemonFiles().Run(t.Context(), tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	if v := checkState(t, r, problem.DaemonFilesNearLimit, "kubelet", problem.Unknown); !strings.Contains(v.Message, "/proc/4/limits") {
		t.Errorf("the reason does not name the file: %q", v.Message)
	}
	checkSeverity(t, r, problem.DaemonFilesNearLimit, "crio", 0)
}
