package agent

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v3/common"
	gohost "github.com/shirou/gopsutil/v3/host"
	"github.com/shirou/gopsutil/v3/mem"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// readFacts gathers the report's header. What cannot be had stays empty: no
// verdict depends on it. Of gopsutil only calls that read files are used; some
// others run programs.
func readFacts(n *probes.Node, version string) problem.HostFacts {
	h := n.Host
	ctx := context.WithValue(context.Background(), common.EnvKey, common.EnvMap{
		common.HostProcEnvKey: h.Path("/proc"), common.HostSysEnvKey: h.Path("/sys"), common.HostEtcEnvKey: h.Path("/etc"),
	})
	f := problem.HostFacts{Agent: version, CPUs: runtime.NumCPU(), OS: osName(h)}
	f.Node, _ = h.Hostname()
	f.BootID, _ = h.BootID()
	f.Kernel, _ = h.ReadString("/proc/sys/kernel/osrelease")
	if n.Cgroups != nil {
		f.Cgroup = string(n.Cgroups.Mode())
	}
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		f.Memory = m.Total
	}
	if system, role, err := gohost.VirtualizationWithContext(ctx); err == nil && role == "guest" {
		f.Virt = system
	}
	return f
}

// refreshFacts updates what changes while the node runs.
func refreshFacts(h *host.Host, f *problem.HostFacts, now time.Duration) {
	f.Uptime, f.UptimeS = now, now.Seconds()
	if s, err := h.ReadString("/proc/loadavg"); err == nil {
		first, _, _ := strings.Cut(s, " ")
		f.Load1, _ = strconv.ParseFloat(first, 64)
	}
}

// osName is the PRETTY_NAME of os-release(5).
func osName(h *host.Host) string {
	for _, p := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		raw, err := h.ReadFile(p)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(raw)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				return strings.Trim(v, `"'`)
			}
		}
	}
	return ""
}
