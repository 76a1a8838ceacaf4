package probes

import "time"

// All are the probes with their schedules and default thresholds, made anew at
// each call. Cheap looks come every 10 to 15 s, so that a limit that is hit is
// told within one scrape interval; walks over processes, cgroups or file
// systems come less often.
func All() []Spec {
	threads, processes := NewThreads(), NewProcesses()
	files := NewFiles()
	filesystems, volumes, eviction, mountTable := NewFilesystems(), NewVolumes(), NewEviction(), NewMountTable()
	deletedFiles, stuckMounts := NewDeletedFiles(filesystems), NewStuckMounts()
	inotify, conntrack, neighbours, tcpMemory := NewInotify(), NewConntrack(), NewNeighbours(), NewTCPMemory()
	daemonFiles, clock := NewDaemonFiles(), NewClock()
	cgroupLeak, fragmentation, oom := NewCgroupLeak(), NewFragmentation(), NewOOM()
	kernelMemory, pressure := NewKernelMemory(), NewPressure()
	links, forwardPolicy, disks := NewLinks(), NewForwardPolicy(), NewDisks()
	runtime, sandboxLimit := NewRuntime(), NewSandboxLimit()
	units, kubeletHealth, certificates := NewUnits(), NewKubeletHealth(), NewCertificates()
	kubeletMemory, reboot, hardware := NewKubeletMemory(), NewReboot(), NewHardware()
	specs := []Spec{
		{Probe: threads, Period: 10 * time.Second, Counters: true, Thresholds: &threads.Thresholds},
		{Probe: processes, Period: time.Minute, Thresholds: &processes.Thresholds},
		{Probe: files, Period: 15 * time.Second, Thresholds: &files.Thresholds},
		{Probe: daemonFiles, Period: 30 * time.Second, Thresholds: &daemonFiles.Thresholds},
		{Probe: filesystems, Period: 30 * time.Second, Thresholds: &filesystems.Thresholds},
		{Probe: volumes, Period: time.Minute, Thresholds: &volumes.Thresholds},
		{Probe: deletedFiles, Period: time.Minute, Thresholds: &deletedFiles.Thresholds},
		{Probe: eviction, Period: 15 * time.Second, Thresholds: &eviction.Thresholds},
		{Probe: mountTable, Period: 30 * time.Second, Thresholds: &mountTable.Thresholds},
		{Probe: NewReadonly(), Period: 15 * time.Second},
		{Probe: stuckMounts, Period: 15 * time.Second, Counters: true, Thresholds: &stuckMounts.Thresholds},
		{Probe: disks, Period: 10 * time.Second, Counters: true, Thresholds: &disks.Thresholds},
		{Probe: NewHungTasks(), Period: 30 * time.Second},
		{Probe: hardware, Period: time.Minute, Thresholds: &hardware.Thresholds},
		{Probe: inotify, Period: 15 * time.Second, Thresholds: &inotify.Thresholds},
		{Probe: conntrack, Period: 10 * time.Second, Counters: true, Thresholds: &conntrack.Thresholds},
		{Probe: neighbours, Period: 15 * time.Second, Counters: true, Thresholds: &neighbours.Thresholds},
		{Probe: tcpMemory, Period: 15 * time.Second, Thresholds: &tcpMemory.Thresholds},
		{Probe: NewForwarding(), Period: 30 * time.Second},
		{Probe: forwardPolicy, Period: 30 * time.Second, Counters: true, Thresholds: &forwardPolicy.Thresholds},
		{Probe: NewResolvConf(), Period: 30 * time.Second},
		{Probe: NewRoutes(), Period: 15 * time.Second},
		{Probe: links, Period: 15 * time.Second, Counters: true, Thresholds: &links.Thresholds},
		{Probe: cgroupLeak, Period: time.Minute, Thresholds: &cgroupLeak.Thresholds},
		{Probe: fragmentation, Period: 15 * time.Second, Counters: true, Thresholds: &fragmentation.Thresholds},
		{Probe: oom, Period: 15 * time.Second, Counters: true, Thresholds: &oom.Thresholds},
		{Probe: kernelMemory, Period: time.Minute, Thresholds: &kernelMemory.Thresholds},
		{Probe: pressure, Period: 15 * time.Second, Counters: true, Thresholds: &pressure.Thresholds},
		{Probe: units, Period: 15 * time.Second, Thresholds: &units.Thresholds},
		{Probe: kubeletHealth, Period: 15 * time.Second, Thresholds: &kubeletHealth.Thresholds},
		{Probe: certificates, Period: time.Minute, Thresholds: &certificates.Thresholds},
		{Probe: kubeletMemory, Period: time.Minute, Thresholds: &kubeletMemory.Thresholds},
		{Probe: NewAllocatable(), Period: time.Minute},
		{Probe: NewTools(), Period: 10 * time.Minute},
		{Probe: reboot, Period: 10 * time.Minute, Thresholds: &reboot.Thresholds},
		{Probe: clock, Period: 15 * time.Second, Thresholds: &clock.Thresholds},
		// It waits for the runtime within its own, shorter time.
		{Probe: runtime, Period: 15 * time.Second, Timeout: 12 * time.Second, Thresholds: &runtime.Thresholds},
		{Probe: NewRuntimeBinary(), Period: time.Minute},
		{Probe: sandboxLimit, Period: time.Minute, Thresholds: &sandboxLimit.Thresholds},
	}
	for i := range specs {
		specs[i].Enabled = true
		if specs[i].Timeout == 0 {
			specs[i].Timeout = 10 * time.Second
		}
	}
	return specs
}
