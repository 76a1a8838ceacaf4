package problem

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// What the agent promises to tell apart, written down apart from the literals: a
// kind that is lost or moved by mistake fails here.
func TestBuiltinHasEveryKindInItsCondition(t *testing.T) {
	conditions := []struct {
		condition string
		kinds     string
	}{
		{
			"KubeletUnhealthy", "KubeletDown KubeletNotAnswering PLEGUnhealthy FrequentKubeletRestart KubeletCertificateExpiring " +
				"QOSCgroupFailure NodeAllocatableFailure KubeletMemoryHigh APIServerUnreachable CgroupDriverMismatch ConfigSyncStarved " +
				"EvictionImminent ToolMissing",
		},
		{
			"ContainerRuntimeUnhealthy", "RuntimeDown RuntimeNotAnswering RuntimeDeadlineExceeded FrequentRuntimeRestart ShimFailure " +
				"ContainerNotStopping SandboxNameConflict RuntimeBinaryMismatch",
		},
		{"PIDExhaustion", "ForkRefused NodeThreadsNearLimit CgroupPIDsNearLimit UnitTasksNearLimit UserProcessesNearLimit ZombieProcesses"},
		{"FileHandleExhaustion", "SystemFileTableNearLimit DaemonFilesNearLimit"},
		{"DiskExhaustion", "FilesystemSpaceLow FilesystemInodesLow VolumeSpaceLow NoSpaceLeft DeletedFilesHoldSpace"},
		{"StorageFault", "ReadonlyFilesystem FilesystemCorruption BlockDeviceError DiskHung IOStall VolumeOperationStuck OrphanedPodVolumes"},
		{"MountHung", "MountNotAnswering NFSServerNotResponding FUSEServerNotAnswering TasksStuckOnMount MountTableLarge"},
		{"InotifyExhaustion", "InotifyInstancesNearLimit InotifyWatchesNearLimit InotifyRefused"},
		{"ConntrackExhaustion", "ConntrackNearLimit ConntrackDropping"},
		{"CgroupExhaustion", "CgroupLeak CgroupCreationRefused"},
		{"MemoryTrouble", "MemoryFragmented PageAllocationFailure MemoryStall NodeOOM NodeAllocatableOOM KernelMemoryGrowth"},
		{"KernelFault", "TaskHung SoftLockup KernelOops HardwareError NetdeviceStuck UncleanReboot CPUStarvation"},
		{
			"NodeNetworkFault", "CNIFailure CNINotReady CNIAgentDown KubeProxyDown PodIPsNearLimit ServiceIPUnreachable IPForwardingOff " +
				"BridgeNetfilterOff ForwardPolicyDrop IptablesFailure NeighbourTableNearLimit TCPMemoryNearLimit DefaultRouteMissing LinkFault " +
				"DNSFailure ResolvConfInvalid",
		},
		{"ClockFault", "ClockJumped ClockUnsynchronized"},
		{
			"", "ContainerOOM ImagePullFailure SandboxRecreated SandboxLimitTooSmall VolumeMountFailure SubpathMountFailure LogsSuppressed " +
				"ContainersRemovedExternally",
		},
	}
	c := Builtin()
	var order []string
	var want, got []Kind
	for _, row := range conditions {
		if row.condition != "" {
			order = append(order, row.condition)
		}
		for name := range strings.FieldsSeq(row.kinds) {
			want = append(want, Kind(name))
			if d, ok := c.Get(Kind(name)); !ok {
				t.Errorf("the catalogue lacks %s", name)
			} else if d.Condition != row.condition {
				t.Errorf("%s belongs to condition %q, not %q", name, row.condition, d.Condition)
			}
		}
	}
	for _, d := range c.All() {
		got = append(got, d.Kind)
	}
	if !slices.Equal(got, want) {
		t.Errorf("kinds, in order:\n got %v\nwant %v", got, want)
	}
	if !slices.Equal(c.Conditions(), order) {
		t.Errorf("conditions, in order:\n got %v\nwant %v", c.Conditions(), order)
	}
}

// All causes of each kind, nearest first. "!" marks one that must itself have
// refused, "@x" one that counts for the subject x, "~" one that is narrowed to
// causes that touch certain processes.
func TestBuiltinCauses(t *testing.T) {
	edges := map[Kind]string{
		PLEGUnhealthy: "RuntimeDown RuntimeNotAnswering RuntimeDeadlineExceeded TasksStuckOnMount~ DiskHung IOStall MemoryStall CPUStarvation",
		RuntimeNotAnswering: "TasksStuckOnMount~ MountNotAnswering ForkRefused ForkRefused~ DiskHung IOStall NoSpaceLeft NoSpaceLeft~ MemoryStall " +
			"DaemonFilesNearLimit!~ CgroupLeak",
		RuntimeDeadlineExceeded: "RuntimeNotAnswering TasksStuckOnMount~ MountNotAnswering ForkRefused ForkRefused~ DiskHung IOStall NoSpaceLeft NoSpaceLeft~ MemoryStall " +
			"DaemonFilesNearLimit!~ CgroupLeak CNIFailure",
		SandboxRecreated:           "CNIFailure RuntimeDeadlineExceeded CgroupCreationRefused NodeAllocatableOOM SandboxLimitTooSmall",
		CNIFailure:                 "PodIPsNearLimit! CNIAgentDown CNINotReady ForkRefused IptablesFailure",
		RuntimeDown:                "RuntimeNotAnswering NoSpaceLeft ReadonlyFilesystem NodeOOM~",
		KubeletDown:                "NodeOOM~ CgroupDriverMismatch QOSCgroupFailure NoSpaceLeft KubeletCertificateExpiring!",
		ForkRefused:                "CgroupPIDsNearLimit! UnitTasksNearLimit! NodeThreadsNearLimit! UserProcessesNearLimit!",
		MountNotAnswering:          "NFSServerNotResponding FUSEServerNotAnswering",
		TasksStuckOnMount:          "MountNotAnswering",
		NFSServerNotResponding:     "DefaultRouteMissing LinkFault",
		ContainerNotStopping:       "TasksStuckOnMount MountNotAnswering DiskHung",
		TaskHung:                   "TasksStuckOnMount MountNotAnswering DiskHung",
		VolumeOperationStuck:       "MountNotAnswering BlockDeviceError DiskHung",
		NodeThreadsNearLimit:       "ZombieProcesses~",
		CgroupPIDsNearLimit:        "ZombieProcesses",
		UnitTasksNearLimit:         "ZombieProcesses",
		FilesystemSpaceLow:         "DeletedFilesHoldSpace",
		NoSpaceLeft:                "FilesystemSpaceLow! FilesystemInodesLow! DeletedFilesHoldSpace",
		InotifyRefused:             "InotifyInstancesNearLimit! InotifyWatchesNearLimit!",
		CgroupCreationRefused:      "CgroupLeak! MemoryFragmented=ENOMEM MemoryStall=ENOMEM KernelMemoryGrowth=ENOMEM",
		PageAllocationFailure:      "MemoryFragmented MemoryStall KernelMemoryGrowth",
		ConntrackDropping:          "ConntrackNearLimit!",
		DNSFailure:                 "ConntrackDropping IPForwardingOff ForwardPolicyDrop ToolMissing~ KubeProxyDown ResolvConfInvalid DefaultRouteMissing NeighbourTableNearLimit",
		ServiceIPUnreachable:       "KubeProxyDown IptablesFailure ConntrackDropping ForwardPolicyDrop",
		IptablesFailure:            "ForkRefused",
		APIServerUnreachable:       "DNSFailure DefaultRouteMissing LinkFault KubeletCertificateExpiring! ClockJumped",
		KubeletCertificateExpiring: "ClockJumped",
		ReadonlyFilesystem:         "FilesystemCorruption",
		FilesystemCorruption:       "BlockDeviceError",
		SandboxNameConflict:        "RuntimeDeadlineExceeded MountNotAnswering",
		QOSCgroupFailure:           "CgroupDriverMismatch CgroupCreationRefused",
		FrequentKubeletRestart:     "NodeOOM~ CgroupDriverMismatch QOSCgroupFailure NoSpaceLeft KubeletCertificateExpiring! InotifyRefused",
		EvictionImminent: "FilesystemSpaceLow@nodefs.available FilesystemSpaceLow@imagefs.available FilesystemInodesLow@nodefs.inodesFree " +
			"FilesystemInodesLow@imagefs.inodesFree NodeThreadsNearLimit@pid.available MemoryStall@memory.available",
	}
	for _, d := range Builtin().All() {
		var got []string
		for _, e := range d.Causes {
			s := string(e.Kind)
			if e.Refused {
				s += "!"
			}
			if e.Subject != "" {
				s += "@" + e.Subject
			}
			if e.Error != "" {
				s += "=" + string(e.Error)
			}
			if len(e.Touching) > 0 {
				s += "~"
			}
			got = append(got, s)
		}
		if s := strings.Join(got, " "); s != edges[d.Kind] {
			t.Errorf("causes of %s:\n got %q\nwant %q", d.Kind, s, edges[d.Kind])
		}
	}
}

// A stuck or killed task explains kubelet or the runtime only if it is one of them.
func TestBuiltinCausesTouchTheRightProcesses(t *testing.T) {
	for _, tc := range []struct {
		effect, cause Kind
		has, hasNot   []string
	}{
		{PLEGUnhealthy, TasksStuckOnMount, []string{"kubelet", "containerd", "dockerd", "crio", "containerd-shim", "conmon", "runc", "k3s-server"}, []string{"python3"}},
		{RuntimeNotAnswering, TasksStuckOnMount, []string{"kubelet", "containerd", "containerd-shim", "runc:[2:INIT]"}, []string{"python3"}},
		{RuntimeDown, NodeOOM, []string{"containerd", "dockerd", "crio"}, []string{"kubelet", "containerd-shim"}},
		{KubeletDown, NodeOOM, []string{"kubelet", "k3s-server"}, []string{"containerd"}},
		{FrequentKubeletRestart, NodeOOM, []string{"kubelet", "k3s-server"}, []string{"containerd"}},
		{DNSFailure, ToolMissing, []string{"conntrack"}, []string{"socat"}},
	} {
		d, _ := Builtin().Get(tc.effect)
		i := slices.IndexFunc(d.Causes, func(e Edge) bool { return e.Kind == tc.cause })
		if i < 0 {
			t.Errorf("%s is no cause of %s", tc.cause, tc.effect)
			continue
		}
		for _, comm := range tc.has {
			if !slices.Contains(d.Causes[i].Touching, NewRef(RefProcess, comm)) {
				t.Errorf("%s of %s should explain %s", tc.cause, comm, tc.effect)
			}
		}
		for _, comm := range tc.hasNot {
			if slices.Contains(d.Causes[i].Touching, NewRef(RefProcess, comm)) {
				t.Errorf("%s of %s should not explain %s", tc.cause, comm, tc.effect)
			}
		}
		for _, r := range d.Causes[i].Touching {
			// The kernel cuts a command name off: a longer one would never match.
			if r.Type() != RefProcess || len(r.ID()) > 15 {
				t.Errorf("%s, caused by %s: %q is no command name of at most 15 bytes", tc.effect, tc.cause, r)
			}
		}
	}
}

func TestBuiltinCausesHaveNoCycle(t *testing.T) {
	c := Builtin()
	done := map[Kind]bool{}
	var visit func(k Kind, path []Kind)
	visit = func(k Kind, path []Kind) {
		if slices.Contains(path, k) {
			t.Fatalf("a kind causes itself: %v", append(path, k))
		}
		if done[k] {
			return
		}
		d, _ := c.Get(k)
		for _, e := range d.Causes {
			visit(e.Kind, append(slices.Clip(path), k))
		}
		done[k] = true
	}
	for _, d := range c.All() {
		visit(d.Kind, nil)
	}
}

func TestBuiltinColumnsAreComplete(t *testing.T) {
	for _, d := range Builtin().All() {
		for column, text := range map[string]string{
			"Summary": d.Summary, "Meaning": d.Meaning, "LookAlike": d.LookAlike, "Remedy": d.Remedy,
		} {
			if !sentence(text) {
				t.Errorf("%s: %s is no sentence: %q", d.Kind, column, text)
			}
		}
		if d.Next == "" || len(d.Evidence) == 0 {
			t.Errorf("%s: no command to run next, or none to look at it by hand", d.Kind)
		}
		for _, command := range append(slices.Clone(d.Evidence), d.Next) {
			if n := utf8.RuneCountInString("  " + command); n > explainWidth || strings.TrimSpace(command) != command {
				t.Errorf("%s: command of %d columns: %q", d.Kind, n, command)
			}
		}
		if strings.Contains(strings.Join(d.Evidence, ""), "{subject}") {
			t.Errorf("%s: only Next has its subject filled in", d.Kind)
		}
		if err := consistent(d); err != nil {
			t.Errorf("%s: %v", d.Kind, err)
		}
	}
}

func sentence(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	// Names keep their case, even where they begin a sentence.
	named := strings.HasPrefix(s, "kube") || strings.HasPrefix(s, "journald") || strings.HasPrefix(s, "cgroup") ||
		strings.HasPrefix(s, "docker") || strings.HasPrefix(s, "fstrim") || strings.HasPrefix(s, "slabtop") ||
		strings.HasPrefix(s, "squashfs") || strings.HasPrefix(s, "tmpfs") || strings.HasPrefix(s, "runc") ||
		strings.HasPrefix(s, "veth") || strings.HasPrefix(s, "uid") || strings.HasPrefix(s, "df") ||
		strings.HasPrefix(s, "memfd") || strings.HasPrefix(s, "pids") || strings.HasPrefix(s, "systemd") ||
		strings.HasPrefix(s, "healthz")
	starts := unicode.IsUpper(first) || unicode.IsDigit(first) || first == '"' || first == '`' || named
	return starts && strings.HasSuffix(s, ".") && !strings.Contains(s, "  ")
}

func consistent(d Definition) error {
	switch {
	case d.Scope != NodeScope && d.Scope != PodScope, d.Severity < Info, d.Severity > Critical:
		return fmt.Errorf("scope %v, severity %v", d.Scope, d.Severity)
	case d.Sources == 0 || d.Sources&^(Level|Log) != 0:
		return fmt.Errorf("sources %b", d.Sources)
	case d.Sources&Level == 0 && (d.Warn != Persist{} || d.Crit != Persist{}):
		return fmt.Errorf("hold times without level evidence")
	case d.Sources&Level == 0 && len(d.Resources) > 0:
		return fmt.Errorf("measurements without level evidence")
	case d.Sources&Log != 0 && (d.Logs.N < 1 || d.Logs.Within <= 0):
		return fmt.Errorf("log evidence with a count of %+v", d.Logs)
	case d.Sources&Log == 0 && (d.Logs != Count{} || d.Quiet != 0):
		return fmt.Errorf("a count of lines or a quiet time without log evidence")
	case d.Condition == "" && d.Severity != Info:
		return fmt.Errorf("told by Events only, and yet %v", d.Severity)
	case d.NeedsBoth && (d.Kind != PLEGUnhealthy || d.Sources != Level|Log):
		return fmt.Errorf("needs both level and log to clear")
	}
	return nil
}

// A condition that nothing can turn True would be of no use.
func TestBuiltinConditionsCanBeTrue(t *testing.T) {
	can := map[string]bool{}
	for _, d := range Builtin().All() {
		if d.Severity == Critical && d.Scope == NodeScope {
			can[d.Condition] = true
		}
	}
	for _, condition := range Builtin().Conditions() {
		if !can[condition] {
			t.Errorf("no kind of %s is critical and of node scope", condition)
		}
	}
}

// The counts and times that are promised in the documentation.
func TestBuiltinCounts(t *testing.T) {
	const m = time.Minute
	runs := func(n int) Persist { return Persist{Runs: n} }
	lasting := func(d time.Duration) Persist { return Persist{For: d} }
	for _, tc := range []struct {
		kind       Kind
		warn, crit Persist
		logs       Count
		quiet      time.Duration
	}{
		{ForkRefused, Persist{}, Persist{}, Count{N: 1, Within: 5 * m}, 5 * m},
		{ZombieProcesses, runs(3), runs(3), Count{}, 5 * m},
		{FilesystemSpaceLow, lasting(15 * m), runs(3), Count{}, 5 * m},
		{FilesystemInodesLow, lasting(15 * m), runs(3), Count{}, 5 * m},
		{DiskHung, lasting(30 * time.Second), lasting(m), Count{}, 5 * m},
		{FUSEServerNotAnswering, runs(2), runs(2), Count{}, 5 * m},
		{TasksStuckOnMount, lasting(30 * time.Second), lasting(30 * time.Second), Count{}, 5 * m},
		{VolumeOperationStuck, Persist{}, Persist{}, Count{N: 3, Within: 10 * m}, 30 * m},
		{OrphanedPodVolumes, Persist{}, Persist{}, Count{N: 2, Within: 5 * m, Lasting: 30 * m}, 10 * m},
		{MemoryFragmented, lasting(5 * m), lasting(5 * m), Count{}, 5 * m},
		{KernelMemoryGrowth, lasting(time.Hour), lasting(time.Hour), Count{}, 5 * m},
		{KubeletMemoryHigh, lasting(10 * m), lasting(10 * m), Count{}, 5 * m},
		{PLEGUnhealthy, Persist{}, Persist{}, Count{N: 1, Within: 5 * m}, 15 * m},
		{KubeletDown, runs(3), runs(3), Count{N: 1, Within: 5 * m}, 15 * m},
		{KubeletNotAnswering, runs(3), runs(3), Count{}, 5 * m},
		{RuntimeDown, runs(3), runs(3), Count{N: 3, Within: 5 * m}, 15 * m},
		{RuntimeNotAnswering, runs(3), runs(3), Count{}, 5 * m},
		{RuntimeDeadlineExceeded, Persist{}, Persist{}, Count{N: 5, Within: 5 * m}, 15 * m},
		{FrequentKubeletRestart, Persist{}, Persist{}, Count{N: 5, Within: 20 * m}, 60 * m},
		{FrequentRuntimeRestart, Persist{}, Persist{}, Count{N: 5, Within: 20 * m}, 60 * m},
		{ConfigSyncStarved, Persist{}, Persist{}, Count{N: 10, Within: 5 * m, Apart: 5 * time.Second}, 15 * m},
		{APIServerUnreachable, Persist{}, Persist{}, Count{N: 5, Within: 5 * m, Apart: 9 * time.Second}, 2 * m},
		{ShimFailure, Persist{}, Persist{}, Count{N: 3, Within: 10 * m}, 30 * m},
		{SandboxNameConflict, Persist{}, Persist{}, Count{N: 3, Within: 5 * m}, 15 * m},
		{ContainerNotStopping, Persist{}, Persist{}, Count{N: 3, Within: 10 * m}, 30 * m},
		{ContainersRemovedExternally, Persist{}, Persist{}, Count{N: 10, Within: 5 * m}, 15 * m},
		{NetdeviceStuck, Persist{}, Persist{}, Count{N: 3, Within: 5 * m}, 15 * m},
		{CNIFailure, Persist{}, Persist{}, Count{N: 3, Within: 5 * m}, 15 * m},
		{CNINotReady, runs(2), runs(2), Count{N: 10, Within: m, Lasting: 3 * m}, 2 * m},
		{CNIAgentDown, runs(3), runs(3), Count{}, 5 * m},
		{KubeProxyDown, runs(3), runs(3), Count{}, 5 * m},
		{ServiceIPUnreachable, Persist{}, Persist{}, Count{N: 5, Within: 5 * m}, 15 * m},
		{IPForwardingOff, runs(2), runs(2), Count{}, 5 * m},
		{BridgeNetfilterOff, runs(2), runs(2), Count{}, 5 * m},
		{ForwardPolicyDrop, runs(2), runs(2), Count{}, 5 * m},
		{IptablesFailure, Persist{}, Persist{}, Count{N: 3, Within: 5 * m}, 15 * m},
		{DefaultRouteMissing, runs(2), runs(2), Count{}, 5 * m},
		{LinkFault, runs(2), runs(2), Count{}, 5 * m},
		{DNSFailure, Persist{}, Persist{}, Count{N: 5, Within: 5 * m}, 15 * m},
		{ResolvConfInvalid, runs(2), runs(2), Count{N: 1, Within: 5 * m}, 15 * m},
		{ClockUnsynchronized, lasting(5 * m), lasting(5 * m), Count{}, 5 * m},
	} {
		d, _ := Builtin().Get(tc.kind)
		if d.Warn != tc.warn || d.Crit != tc.crit || d.Logs != tc.logs || d.QuietTime() != tc.quiet {
			t.Errorf("%s: got warn %+v, crit %+v, logs %+v, quiet %v", tc.kind, d.Warn, d.Crit, d.Logs, d.QuietTime())
		}
	}
}

// resources are all measurements that a kind may name.
const resources = "pid_max threads_max cgroup_pids unit_tasks user_processes zombie_processes file_handles daemon_files " +
	"filesystem_bytes filesystem_inodes volume_bytes volume_inodes deleted_bytes eviction mounts inotify_instances " +
	"inotify_watches conntrack_entries neighbour_entries tcp_memory tcp_orphans cgroups_empty cgroups_dying " +
	"cgroup_memory_ids memory_fragmentation pressure_memory_full pressure_io_full disk_await pressure_cpu_some cpu_steal " +
	"slab_unreclaimable kubelet_memory clock_error link_carrier_changes " +
	"kubelet_restarts certificate_life runtime_restarts " +
	"runtime_answer pod_ips"

func TestBuiltinResources(t *testing.T) {
	var got []string
	for _, d := range Builtin().All() {
		got = append(got, d.Resources...)
	}
	want := strings.Fields(resources)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestCatalogueRefusesUnsoundDefinitions(t *testing.T) {
	for name, d := range map[string]Definition{
		"twice":         {Kind: ForkRefused},
		"no name":       {},
		"unknown cause": {Kind: "Mine", Causes: []Edge{{Kind: "Nothing"}}},
	} {
		if _, err := Builtin().With(d); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Builtin().With(Definition{Kind: "Mine", Causes: []Edge{{Kind: ForkRefused}}}); err != nil {
		t.Errorf("a sound one: %v", err)
	}
}
