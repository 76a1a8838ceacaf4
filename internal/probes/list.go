package probes

import "time"

// All are the probes with their schedules and default thresholds, made anew at
// each call. Cheap looks come every 10 to 15 s, so that a limit that is hit is
// told within one scrape interval; walks over processes, cgroups or file
// systems come less often.
func All() []Spec {
	threads, processes, files := NewThreads(), NewProcesses(), NewFiles()
	specs := []Spec{
		{Probe: threads, Period: 10 * time.Second, Counters: true, Thresholds: &threads.Thresholds},
		{Probe: processes, Period: time.Minute, Thresholds: &processes.Thresholds},
		{Probe: files, Period: 15 * time.Second, Thresholds: &files.Thresholds},
	}
	for i := range specs {
		specs[i].Enabled = true
		if specs[i].Timeout == 0 {
			specs[i].Timeout = 10 * time.Second
		}
	}
	return specs
}
