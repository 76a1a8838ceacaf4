package probes

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const (
	old14 = "   8       0 sda 590 40 1260 143 24476 28410 1095560 9088 3 9060 16543\n"
	old18 = "   8       0 sda 590 40 1260 143 24476 28410 1095560 9088 3 9060 16543 7 0 0 11\n"
	now20 = "   8       0 sda 590 40 1260 143 24476 28410 1095560 9088 3 9060 16543 7 0 0 11 16356 7311\n"
)

func TestParseDiskstats(t *testing.T) {
	for name, tc := range map[string]struct {
		raw  string
		want map[string]diskStats
	}{
		"before 4.18": {old14, map[string]diskStats{"sda": {590 + 24476, 590 + 24476, 143 + 9088, 3, 9060}}},
		"before 5.5":  {old18, map[string]diskStats{"sda": {590 + 24476 + 7, 590 + 24476, 143 + 9088, 3, 9060}}},
		"now":         {now20, map[string]diskStats{"sda": {590 + 24476 + 7 + 16356, 590 + 24476, 143 + 9088, 3, 9060}}},
		"later":       {strings.TrimSpace(now20) + " 5 x\n", map[string]diskStats{"sda": {590 + 24476 + 7 + 16356, 590 + 24476, 143 + 9088, 3, 9060}}},
		"none":        {"\n", map[string]diskStats{}},
		"cut off":     {old14[:40], nil},
		"no number":   {strings.Replace(old14, "9060", "-9060", 1), nil},
	} {
		got, err := parseDiskstats([]byte(tc.raw))
		if !maps.Equal(got, tc.want) || (err != nil) != (tc.want == nil) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzParseDiskstats(f *testing.F) {
	f.Add([]byte(old14 + now20))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseDiskstats(b)
		if err != nil && all != nil {
			t.Errorf("%v beside %v", all, err)
		}
	})
}

// TestDiskHung: looks at a disk, ten seconds apart.
func TestDiskHung(t *testing.T) {
	const s = 10 * time.Second
	type look struct{ completed, inFlight, busy uint64 }
	for _, tc := range []struct {
		name   string
		leaks  bool // what is in flight is a counter that may leak
		looks  []look
		period time.Duration
		want   problem.Severity
	}{
		{"idle", false, []look{{5, 0, 0}, {5, 0, 0}, {5, 0, 0}}, s, 0},
		{"busy", false, []look{{5, 9, 0}, {6, 9, 0}, {7, 9, 0}}, s, 0},
		{"hung", false, []look{{5, 0, 0}, {5, 1, 0}, {5, 1, 0}}, s, problem.Critical},
		{"hung when we came", false, []look{{5, 1, 0}, {5, 1, 0}}, s, problem.Critical},
		{"hung with more and more", true, []look{{5, 0, 0}, {5, 1, 0}, {5, 4, 0}}, s, problem.Critical},
		{"hung since shortly after the last look", false, []look{{5, 0, 100}, {5, 1, 9600}}, s, problem.Critical},
		{"hung since shortly before this one", false, []look{{5, 0, 100}, {5, 1, 3600}}, s, problem.Warning},
		{"look-alike: busy before, and a request has just come", false, []look{{5, 0, 100}, {6, 1, 9600}}, s, 0},
		{"look-alike: a request of two seconds", false, []look{{5, 0, 100}, {5, 1, 2100}}, s, 0},
		{"look-alike: a counter that may leak, of a busy device", true, []look{{5, 0, 100}, {5, 1, 9600}}, s, 0},
		{"a counter that makes no sense", false, []look{{5, 0, 9600}, {5, 1, 100}}, s, 0},
		{"seen for a moment", false, []look{{5, 1, 0}, {5, 1, 0}}, 4 * time.Second, problem.Warning},
		{"look-alike: a request has just come", false, []look{{5, 0, 0}, {5, 0, 0}, {5, 1, 0}}, s, 0},
		{"look-alike: one of many seconds, while others complete", false, []look{{5, 1, 0}, {6, 1, 0}, {9, 1, 0}}, s, 0},
		{"look-alike: slow", false, []look{{5, 1, 0}, {5, 1, 0}}, time.Second, 0},
		{"look-alike: a counter that has leaked", true, []look{{5, 2, 0}, {5, 2, 0}, {5, 2, 0}}, s, 0},
		{"over", false, []look{{5, 1, 0}, {5, 1, 0}, {6, 0, 0}}, s, 0},
		{"and again", false, []look{{5, 1, 0}, {5, 1, 0}, {6, 1, 0}, {6, 1, 0}}, s, problem.Critical},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := watchedDisk{accurate: !tc.leaks}
			for i, l := range tc.looks {
				w = w.seen(diskStats{completed: l.completed, inFlight: l.inFlight, busy: l.busy}, time.Duration(i+1)*tc.period, i > 0)
			}
			v, ok := evaluateDisk("sda", w, NewDisks().Thresholds)
			if ok != (tc.want != 0) || v.Severity != tc.want {
				t.Fatalf("%v %+v", ok, v)
			}
		})
	}
}

// TestSuspendedDisk: a device of device mapper that keeps back what is asked of it.
func TestSuspendedDisk(t *testing.T) {
	const at = "/sys/block/dm-3/dm/suspended"
	n := tree(t, map[string]string{"/proc/diskstats": "253 3 dm-3 5 0 8 1 1 0 8 1 0 9 9 0 0 0 0 0 0\n", at: "0\n"})
	clock := &testClock{boot: time.Hour}
	n.Host.Clock = clock
	p := NewDisks()
	look := func(suspended string) problem.Result {
		t.Helper()
		clock.boot += 10 * time.Second
		writeFile(t, n.Host.Root(), at, suspended)
		return run(t, p, n)
	}
	for _, moment := range []string{"0\n", "1\n", "0\n", "1\n"} { // as when a snapshot is made
		if r := look(moment); len(r.Verdicts) > 0 {
			t.Fatalf("%+v", r.Verdicts)
		}
	}
	v := checkSeverity(t, look("1\n"), problem.DiskHung, "dm-3", problem.Critical)
	if v.Held != 10*time.Second || !strings.Contains(v.Message, "it is suspended") || !strings.HasPrefix(v.Evidence[0], at+": 1") {
		t.Errorf("%+v", v)
	}
	if r := look("0\n"); len(r.Verdicts) > 0 {
		t.Errorf("%+v", r.Verdicts)
	}
}

// TestDisksOfANode: whole disks only, with what is mounted from them.
func TestDisksOfANode(t *testing.T) {
	const (
		stuck    = " 1 0 8 1 1 0 8 1 4 9 9 0 0 0 0 0 0\n"
		sda      = "8 0 sda" + stuck + "8 1 sda1" + stuck
		sdb      = "8 16 sdb" + stuck
		other    = "11 0 sr0" + stuck + "104 0 cciss/c0d0" + stuck + "9 0 md0" + stuck
		pod      = "5382cf41-7a0b-4f7e-9a55-1b1f5a5c2a11"
		podMount = "/var/lib/kubelet/pods/" + pod + "/volumes/kubernetes.io~csi/pvc-1/mount"
	)
	n := tree(t, map[string]string{
		"/proc/diskstats":       sda + sdb + other,
		"/proc/1/mountinfo":     "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 8:16 / " + podMount + " rw - ext4 /dev/sdb rw\n",
		"/sys/block/sda/mq/0/x": "", "/sys/block/sdb/mq/0/x": "", "/sys/block/sr0/mq/0/x": "", "/sys/block/cciss!c0d0/mq/0/x": "", "/sys/block/md0/x": "",
	})
	clock := &testClock{boot: time.Hour}
	n.Host.Clock = clock
	p := NewDisks()
	first, err := p.Run(t.Context(), n)
	if err != nil || len(first.Verdicts) > 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	clock.boot += 10 * time.Second
	r, err := p.Run(t.Context(), n)
	if err != nil || len(r.Verdicts) != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	// The mounts' devices are not in this tree's /sys/dev: they go by their names.
	if v := checkSeverity(t, r, problem.DiskHung, "sdb", problem.Critical); v.Scope != problem.PodScope || slices.Contains(v.Touches, problem.RefNode) ||
		!slices.Contains(v.Touches, problem.NewRef(problem.RefPod, pod)) || !slices.Contains(v.Touches, problem.NewRef(problem.RefMount, podMount)) {
		t.Errorf("%+v", v)
	}
	if v := checkSeverity(t, r, problem.DiskHung, "cciss/c0d0", problem.Critical); v.Scope != problem.NodeScope {
		t.Errorf("%+v", v)
	}
	checkSeverity(t, r, problem.DiskHung, "sda", problem.Critical)
}

func TestFilesystemCorruption(t *testing.T) {
	const boot = 1_700_000_000
	for _, tc := range []struct {
		name        string
		first, then map[string]string
		want        problem.Severity
	}{
		{"well", map[string]string{"errors_count": "0\n"}, nil, 0},
		{"found since the boot", map[string]string{"errors_count": "2\n", "last_error_time": "1700000100\n", "last_error_func": "ext4_lookup\n"}, nil, problem.Critical},
		{"found while we look", map[string]string{"errors_count": "0\n"}, map[string]string{"errors_count": "1\n"}, problem.Critical},
		{"found, with a clock that went wrong", map[string]string{"errors_count": "1\n", "last_error_time": "5\n"}, map[string]string{"errors_count": "2\n", "last_error_time": "6\n"}, problem.Critical},
		{"look-alike: old errors", map[string]string{"errors_count": "7\n", "last_error_time": "1699999000\n"}, nil, 0},
		{"look-alike: old errors of an old kernel", map[string]string{"errors_count": "7\n"}, nil, 0},
		{"repaired", map[string]string{"errors_count": "7\n", "last_error_time": "1700000100\n"}, map[string]string{"errors_count": "0\n"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := tree(t, map[string]string{"/proc/diskstats": "", "/sys/block/x": "", "/sys/fs/ext4/features/x": ""})
			n.Host.Clock = &testClock{boot: 1000 * time.Second, wall: time.Unix(boot+1000, 0)}
			p := NewDisks()
			var r problem.Result
			for _, files := range []map[string]string{tc.first, tc.then} {
				for name, content := range files {
					writeFile(t, n.Host.Root(), "/sys/fs/ext4/sda1/"+name, content)
				}
				var err error
				if r, err = p.Run(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			checkSeverity(t, r, problem.FilesystemCorruption, "sda1", tc.want)
		})
	}
	n := tree(t, map[string]string{"/proc/diskstats": "", "/sys/block/x": "", "/sys/fs/ext4/sda1/errors_count": "many"})
	r, err := NewDisks().Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, r, problem.FilesystemCorruption, "sda1", problem.Unknown)
}

func TestNoDiskstats(t *testing.T) {
	if r, err := NewDisks().Run(t.Context(), tree(t, nil)); err == nil {
		t.Fatalf("%+v", r)
	}
}

// TestDiskWait: looks at a disk, a minute apart.
func TestDiskWait(t *testing.T) {
	th := NewPressure().Thresholds.Disk
	slow := func(minutes int) (all []diskStats) {
		for i := range minutes + 1 {
			all = append(all, diskStats{completed: uint64(100 * i), served: uint64(100 * i), waited: uint32(60_000 * i)})
		}
		return all
	}
	var wraps []diskStats // after two minutes
	for i, s := range slow(6) {
		wraps = append(wraps, diskStats{completed: s.completed, served: s.served, waited: uint32(1<<32 - 150_000 + 60_000*i)})
	}
	for _, tc := range []struct {
		name  string
		looks []diskStats
		want  problem.Severity
	}{
		{"late, and the time wraps around", wraps, problem.Warning},
		{"fast", []diskStats{{}, {100, 100, 900, 0, 0}, {200, 200, 1800, 0, 0}}, 0},
		{"late for five minutes", slow(5), problem.Warning},
		{"late for four", slow(4), 0},
		{"late, and then none completes", append(slow(4), diskStats{400, 400, 240_000, 2, 0}), problem.Warning},
		{"late, and then idle", append(slow(4), diskStats{400, 400, 240_000, 0, 0}), 0},
		{"late, and then well", append(slow(6), diskStats{10_600, 10_600, 361_000, 0, 0}), 0},
		{"look-alike: one late request among many", []diskStats{{}, {1000, 1000, 9000, 0, 0}}, 0},
		{"look-alike: trimmed, which takes long", []diskStats{{}, {900, 10, 90, 1, 0}, {1800, 20, 180, 1, 0}, {2700, 30, 270, 1, 0}, {3600, 40, 360, 1, 0}, {4500, 50, 450, 1, 0}, {5400, 60, 540, 1, 0}}, 0},
		{"reset", append(slow(6), diskStats{1, 1, 1, 1, 0}), problem.Warning},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var d lateDisk
			now := time.Hour
			for i, s := range tc.looks {
				if i == 0 {
					d.last = s
				}
				now += time.Minute
				d = d.seen(s, now-time.Minute, th)
			}
			checkSeverity(t, evaluateDiskWait("sda", d, now, th), problem.IOStall, "sda", tc.want)
		})
	}
}
